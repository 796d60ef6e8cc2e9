"""Build a site again: what did not change is not made again, and the result equals a build with an empty cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterbook.common import fonts
from adapterbook.common.errors import RenderError
from adapterbook.site import build_site
from tests.support.site_sample import built_sample, write_sample

PACKAGE = Path(__file__).parents[3] / "adapterbook"
Files = dict[str, bytes]


def files_of(root: Path) -> Files:
    """Return every file that a build writes."""
    folders = (root / "_site", root / "report" / "fonts")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def changed(before: Files, after: Files) -> set[str]:
    """Return the names of files that are new, gone or different."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def build(root: Path) -> Files:
    build_site(root, "embedded", say=lambda line: None)
    return files_of(root)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the sample project as it was built once, with its site and its cache."""
    root = tmp_path / "project"
    shutil.copytree(built_sample(), root)
    return root


def entries_of(root: Path) -> dict[str, int]:
    """Return the entries of the site's cache with the time at which each was made."""
    return {entry.name: entry.stat().st_mtime_ns for entry in (root / ".cache" / "build" / "site").iterdir()}


def test_nothing_changed_nothing_made(project: Path) -> None:
    """A second build makes nothing that the cache has, and gives the same bytes."""
    before, entries = files_of(project), entries_of(project)
    assert changed(before, build(project)) == set()
    assert entries_of(project) == entries


def test_one_word_is_made_again_and_nothing_else(project: Path) -> None:
    """A word with a new character changes its page, its fonts and the PDF of its language, and nothing in English."""
    for name in ("zh/index.qmd", "pdf/report-zh.qmd"):
        edit(project / "report" / name, "批次大小是一步看幾筆資料", "批次大小是一步瞧幾筆資料")
    before, entries = files_of(project), entries_of(project)
    after = build(project)
    made = entries_of(project).keys() - entries.keys()
    assert 0 < len(made) < len(entries) / 3
    assert "瞧幾筆資料" in after["_site/report/zh/index.html"].decode("utf-8")
    assert "_site/report-zh.pdf" in changed(before, after)
    assert not {name for name in changed(before, after) if "/en/" in name or name.endswith(("-en.js", "-en.pdf"))}


@pytest.mark.slow
def test_many_changes_equal_a_build_from_nothing(project: Path, tmp_path: Path) -> None:
    """Each kind of input that changes shows at once; after all of them the site is what an empty cache gives."""
    (project / "report/head.html").write_text('<meta name="one">', "utf-8")
    zh, en = project / "report/zh/index.qmd", project / "report/en/index.qmd"
    navigation, picture = project / "report/_navigation.yml", project / "report/figures/en/loss.svg"

    steps: list[tuple[Callable[[], None], set[str]]] = [
        (lambda: edit(zh, "學習率是每一步走多遠。", "學習率是每一步的步長。"), {"report/zh/index.html"}),
        (
            lambda: edit(en, "number-sections: true", "number-sections: false"),
            {"report/en/index.html"},
        ),
        (lambda: edit(en, "include-in-header:\n", "include-in-header:\n      - file: ../head.html\n"), set()),
        (lambda: edit(project / "report/head.html", "one", "two"), {"report/en/index.html"}),
        (lambda: edit(picture, "#1f77b4", "#d62728"), {"report/figures/en/loss.svg", "report-en.pdf"}),
        (
            lambda: edit(picture, 'width="320pt"', 'width="300pt"'),
            {"report/figures/en/loss.svg", "report-en.pdf", "report/en/index.html"},
        ),
        (lambda: edit(navigation, '"English"', '"Englisch"'), {"index.html"}),
        (lambda: edit(navigation, "AdapterBook · ", "*AdapterBook* · "), {"index.html"}),
        (
            lambda: edit(project / "report/en/adapters/ia3.qmd", 'title: "Adapter ia3', 'title: "*Another* ia3'),
            {"report/en/adapters/lora_1.html", "assets/search-en.js"},
        ),
        (lambda: edit(project / "report/en/_metadata.yml", "sidebar: en", "sidebar: zh"), {"report/en/index.html"}),
        (
            lambda: edit(project / "_quarto.yml", "toc: true", "toc: false"),
            {"report/zh/adapters/ia3.html"},
        ),
        (lambda: edit(project / "report/zh/record.json", "completed", "failed"), {"report/zh/record.json"}),
        (lambda: edit(project / "report/pdf/report-en.qmd", "papersize: a4", "papersize: a5"), {"report-en.pdf"}),
    ]
    before = files_of(project)
    for change, shown in steps:
        change()
        after = build(project)
        assert {f"_site/{name}" for name in shown} <= changed(before, after)
        before = after
    shutil.rmtree(project / ".cache")
    assert changed(before, build(project)) == set()


def test_another_font_shows_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Web fonts and PDFs use a text font named by the user, and another file of the same name after it."""
    math = fonts.find_font(fonts.MATH)
    assert math is not None
    own = project / "own.ttf"
    shutil.copyfile(math, own)
    before = files_of(project)
    monkeypatch.setenv(fonts.TEXT.variable, str(own))
    after = build(project)
    cut = {"report/fonts/report-zh/NotoSansTC-Bold.ttf", "_site/report-zh.pdf", "_site/assets/text-front.woff2"}
    assert cut <= changed(before, after)
    own.write_bytes(math.read_bytes().replace("STIX Two".encode("utf-16-be"), "STIX Too".encode("utf-16-be")))
    assert own.read_bytes() != math.read_bytes()
    assert {"report/fonts/report-zh/NotoSansTC-Bold.ttf"} <= changed(after, build(project))


def test_the_memo_does_not_grow(project: Path) -> None:
    """After each build the cache has the entries of that build, and those of the old word are gone."""
    cache = project / ".cache" / "build" / "site"
    n_before = len(list(cache.iterdir()))
    for word in ("每一步走多少", "每一步邁多遠", "每一步走多遠"):
        path = project / "report/zh/index.qmd"
        path.write_text(path.read_text("utf-8").replace("學習率是", f"學習率是{word}，", 1), "utf-8")
        build(project)
        assert len(list(cache.iterdir())) == n_before


def test_a_broken_page_is_an_error_until_it_is_mended(project: Path) -> None:
    """A failure is not cached, the old site stays, and after the page is mended little more than that page is made."""
    before, page = files_of(project), project / "report/zh/index.qmd"
    sound = page.read_text("utf-8")
    page.write_text(sound + "\n見 @fig-gone 。\n", "utf-8")
    for _ in range(2):
        with pytest.raises(RenderError, match="fig-gone"):
            build(project)
        assert files_of(project) == before
    page.write_text(sound + "\n修好了。\n", "utf-8")
    entries = entries_of(project)
    after = build(project)
    assert "修好了" in after["_site/report/zh/index.html"].decode("utf-8")
    assert 0 < len(entries_of(project).keys() - entries.keys()) < len(entries) / 3


def test_a_damaged_memo_harms_nothing(project: Path) -> None:
    """With damaged cache entries the site comes out the same."""
    before = files_of(project)
    entries = sorted((project / ".cache" / "build" / "site").iterdir())
    for number, entry in enumerate(entries):
        data = entry.read_bytes()
        entry.write_bytes([b"", data[:-1], b"\0" * len(data), entries[0].read_bytes()][number % 4])
    assert changed(before, build(project)) == set()


OURS = [
    ("embedded/labels.yml", "menu: 選單", "menu: 目錄單", {"report/zh/index.html"}),
    ("embedded/page.html", "</main>", "<!-- another --></main>", {"index.html", "report/en/index.html"}),
    ("embedded/site.css", ":root", "/* another */ :root", {"assets/site.css"}),
    ("embedded/search.py", 'frozenset({"script", ', 'frozenset({"p", "script", ', {"assets/search-en.js"}),
    ("typst/typst-template.typ", "#0b5a8f", "#0b5a00", {"report-zh.pdf", "report-en.pdf"}),
    ("embedded/qmd.lua", "fig='Figure'", "fig='Picture'", {"report/en/index.html"}),
]
BUILD = "from adapterbook.site import build_site; from pathlib import Path; build_site(Path.cwd(), 'embedded')"


@pytest.mark.slow
def test_our_own_files_show_at_once(tmp_path: Path) -> None:
    """The next process sees a changed filter, layout, style, module or template."""
    shutil.copytree(PACKAGE, tmp_path / "code" / "adapterbook", ignore=shutil.ignore_patterns("__pycache__"))
    root = write_sample(tmp_path / "project")
    # A small font is cut faster than the Chinese one.
    small = str(fonts.find_font(fonts.MATH))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "code"), fonts.TEXT.variable: small}
    before: Files = {}
    for name, old, new, shown in [("embedded/site.css", "", "", {"index.html"}), *OURS]:
        edit(tmp_path / "code" / "adapterbook" / "site" / name, old, new)
        done = subprocess.run(
            [sys.executable, "-c", BUILD], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        after = files_of(root)
        assert {f"_site/{file}" for file in shown} <= changed(before, after), name
        before = after


def test_site_loads_no_more_than_it_needs() -> None:
    """A rebuild loads no library of training or figures, and none for fonts that it does not cut."""
    heavy = ("torch", "transformers", "pandas", "numpy", "matplotlib", "scipy", "pydantic", "fontTools")
    script = f"import sys, adapterbook.site; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
