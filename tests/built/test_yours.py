"""Made one's own: another title, author and adapter set, and nothing of the old is left anywhere on the site."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.config.adapters import load_adapters
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from tests.support.factory import PROJECT, write_results
from tests.support.small_project import run_adapterbook

VARIANTS = {
    "submitted": {"title": "As submitted"},
    "lr-1e-3": {"title": "Higher", "training": {"learning_rate": 1.0e-3}},
}
OLD: dict[str, Any] = {
    "title": {"zh": "舊書名甲", "en": "Oldtitle"},
    "subtitle": {"zh": "舊副標乙", "en": "Oldsubtitle"},
    "author": {"zh": "舊作者丙", "en": "Oldauthor"},
    "course": {"zh": "舊課程丁", "en": "Oldcourse"},
    "repository": "https://github.com/oldowner/oldproject",
    "site_url": "https://oldowner.github.io/oldproject",
    "licence": {"zh": "舊授權戊", "en": "Oldlicence"},
    "licence_url": "https://example.org/oldterms",
}
NEW: dict[str, Any] = {
    "title": {"zh": "新書名", "en": "A new title"},
    "subtitle": {"zh": "新副標", "en": "A new subtitle"},
    "author": {"zh": "王小明", "en": "Xiaoming Wang"},
    "course": {"zh": "新課程", "en": "A new course"},
    "repository": "https://github.com/xiaoming/new",
    "site_url": "https://xiaoming.github.io/new",
    "licence": {"zh": "創用 CC 姓名標示 4.0 國際", "en": "CC BY 4.0"},
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
}
TEXTS = (".html", ".js", ".css", ".json", ".ipynb", ".svg", ".xml", ".txt", "")


def make_project(root: Path, adapters: list[str], book: Mapping[str, Any]) -> Paths:
    """Put made-up results of some adapters, and a book, into a copy of the project."""
    shutil.rmtree(root / "experiments", ignore_errors=True)
    paths = write_results(root, adapters=adapters, variants=VARIANTS, n_test=64)
    for name in adapters:
        file = paths.experiments / "adapters" / f"{name}.yaml"
        content = yaml.safe_load(file.read_text("utf-8")) | {"title": {"zh": f"轉接器 {name}", "en": f"Adapter {name}"}}
        file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    shutil.copy(PROJECT.notebook, paths.notebook)
    paths.book.write_text(yaml.safe_dump(dict(book), allow_unicode=True), "utf-8")
    return paths


def build(paths: Paths) -> None:
    """Make the pages and the site, as `make site` does."""
    for command in ("pages", "site"):
        done = run_adapterbook(paths, command)
        assert done.returncode == 0, done.stdout + done.stderr


def text_of(path: Path) -> str:
    """Return what a file says: of a PDF its pages and its properties."""
    if path.suffix == ".pdf":
        commands = (["pdftotext", str(path), "-"], ["pdfinfo", str(path)])
        return "".join(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands
        )
    return path.read_text("utf-8") if path.suffix in TEXTS else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a project that was somebody else's, built there too, and then made one's own."""
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (Debian: apt install poppler-utils)")
    root = tmp_path_factory.mktemp("clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if not name.startswith(("tests/", "adapterbook/", "benchmarks/", "examples/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT.root / name, root / name)
    build(make_project(root, ["oldlora", "olddora"], OLD))
    words = "".join(text_of(path) for path in (root / "_site").rglob("*") if path.is_file())
    for old in ("舊書名甲", "Oldtitle", "舊作者丙", "Oldauthor", "oldowner/oldproject", "Oldcourse", "oldlora"):
        assert old in words, f"{old} was never there: the test would find nothing"
    build(make_project(root, ["newlora", "newdora"], NEW))
    return root / "_site"


def test_nothing_of_the_old_is_left(site: Path) -> None:
    """Neither title nor author, course, address, licence or adapter of before, in no page, script, picture or PDF."""
    old = {text for value in OLD.values() for text in (value.values() if isinstance(value, dict) else [value])}
    old |= {"oldlora", "olddora", "oldowner"}
    shipped = load_book(PROJECT.book)
    old |= {shipped.title.zh, shipped.title.en, shipped.subtitle.zh, shipped.subtitle.en}
    adapters = load_adapters(PROJECT.experiments / "adapters")
    old |= {name for name in adapters if "_" in name}  # ia3 is what PEFT calls the method, too
    old |= {title for adapter in adapters.values() for title in (adapter.title.zh, adapter.title.en) if len(title) > 3}
    found = {}
    for path in sorted(site.rglob("*")):
        if path.is_file():
            text = path.relative_to(site).as_posix() + text_of(path)
            left = sorted(word for word in old if word.lower() in text.lower())
            if left:
                found[path.relative_to(site).as_posix()] = left
    assert found == {}


def test_the_new_is_on_every_page_in_its_language(site: Path) -> None:
    """The foot of a page names author, course, licence and repository, the head the title; the PDF's cover both."""
    for language, tag, author in (("zh", "zh-TW", "王小明"), ("en", "en", "Xiaoming Wang")):
        known = [author, NEW["licence_url"], NEW["repository"]]
        known += [NEW[name][language] for name in ("course", "licence")]
        pages = sorted((site / "report" / language).rglob("*.html"))
        assert len(pages) > 10
        for page in pages:
            text = page.read_text("utf-8")
            assert f"– {NEW['title'][language]}</title>" in text
            part = re.search(rf'<span class="imprint" lang="{tag}">(.*?)</span>', text, re.DOTALL)
            assert part is not None
            assert [piece for piece in known if piece not in part[1]] == []
        cover = text_of(site / f"report-{language}.pdf").partition("\f")[0]
        assert NEW["title"][language] in cover
        assert author in cover
        assert NEW["course"][language] in cover


def test_a_page_leads_to_the_commit_of_its_numbers(site: Path) -> None:
    """The last line of each page has a link to the repository as it was."""
    page = (site / "report" / "en" / "index.html").read_text("utf-8")
    assert re.search(r'href="https://github.com/xiaoming/new/tree/[0-9a-f]{40}"><code>[0-9a-f]{8}</code>', page)


def test_pages_say_where_they_will_be(site: Path) -> None:
    """The address of the site makes each page's canonical link."""
    page = (site / "report" / "zh" / "method.html").read_text("utf-8")
    assert '<link rel="canonical" href="https://xiaoming.github.io/new/report/zh/method.html">' in page
