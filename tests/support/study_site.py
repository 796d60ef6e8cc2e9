"""Render the site of a made-up study, with every kind of page in both languages, for tests of whole pages.

If ``ADAPTERBOOK_SITE`` names another site, such as a finished ``_site/``, the tests look at every page of that site
instead, not at one of each kind.
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import yaml
from filelock import FileLock

from adapterbook.figures.catalogue import plan_report
from adapterbook.figures.render import render_pictures
from adapterbook.pages import write_pages
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, PHRASES, write_results
from tests.support.report_pages import (
    analyse_project,
    few_run_pages,
    render_site,
    write_blank_figures,
    write_site_files,
)

GIVEN_SITE: Final = os.environ.get("ADAPTERBOOK_SITE")
# Kinds with many pages, and the pages that represent each.
OF_MANY: Final = {
    "adapters": ("lora_1", "ia3", "head_only"),
    "notebooks": ("index", "lora_1-submitted-seed-1", "ia3-submitted-seed-1", "ia3-lr-1e-3-seed-1"),
}
VOID: Final = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def build_study_site(shared: Path) -> Path:
    """Return the given site, or the site built by the first of the test processes that share a folder."""
    if GIVEN_SITE:
        return Path(GIVEN_SITE)
    root = shared / "study-site"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            fresh = shared / "study-site-fresh"
            _build(fresh)
            fresh.rename(root)
    return root / "_site"


def _build(root: Path) -> None:
    """Build a site with one seed on the homework's source, four methods, every ablation, and each fault of a run."""
    paths = write_results(
        root,
        source="hub",
        seeds=(1,),
        n_test=96,
        adapters=("lora_1", "ia3", "head_only", "lokr"),
        extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS,
        failed=["lora_1/submitted/seed-1"],
        missing=["ia3/submitted/seed-1"],
        truncated=["ia3/lr-2e-4/seed-1"],
    )
    other_method = paths.experiments / "adapters" / "lokr.yaml"
    other_method.write_text(other_method.read_text("utf-8").replace("peft_type: LORA", "peft_type: LOKR"), "utf-8")
    write_site_files(paths)
    report = analyse_project(paths, "hub", {"lora_1/lr-2e-4/seed-1": ["code"]})
    figures, pictures = plan_report(report, paths.report / "figures", PHRASES)
    write_blank_figures(figures)
    for file, picture in pictures.items():
        if picture.id == "answer":  # the one that tests look at
            file.write_text(render_pictures([picture])[0], "utf-8")
    with few_run_pages(6):
        write_pages(report, figures, paths)
    render_site(root)
    navigation = yaml.safe_load((paths.report / "_navigation.yml").read_text("utf-8"))
    for language in ("zh", "en"):  # every page's footer links to the PDFs, whose contents other tests check
        assert f"report-{language}.pdf" in str(navigation)
        (root / "_site" / f"report-{language}.pdf").write_bytes(b"%PDF-1.7\n")


def pages_of(site: Path) -> list[str]:
    """Return every page of a site, by its path from the root."""
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def pages_of_each_kind(site: Path) -> list[str]:
    """Return one page of each kind in both languages, or a few if they differ; all pages of a given site."""
    return [name for name in pages_of(site) if GIVEN_SITE or _stands_for_its_kind(name)]


def _stands_for_its_kind(name: str) -> bool:
    folder, stem = name.removesuffix(".html").split("/")[-2:] if "/" in name else ("", name)
    return folder not in OF_MANY or stem in OF_MANY[folder]


def both_languages(site: Path) -> list[str]:
    """Return the pages that exist in each language, by their path below ``report/en/``."""
    return [name.removeprefix("report/en/") for name in pages_of(site) if name.startswith("report/en/")]


class _TreeBuilder(HTMLParser):
    """Build an element tree of a page that closes its elements, as ours do."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.builder = ET.TreeBuilder()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        self.builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        self.builder.data(data)


def parse_page(path: Path) -> ET.Element:
    """Return a page as an element tree."""
    parser = _TreeBuilder()
    parser.feed(path.read_text("utf-8").partition(">")[2].strip())  # the tree has no place for a doctype
    parser.close()
    return parser.builder.close()


def main_of(page: ET.Element) -> ET.Element:
    """Return a page's ``<main>``."""
    main = page.find(".//main")
    assert main is not None
    return main
