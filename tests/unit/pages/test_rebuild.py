"""Pages that were rendered before: known again, never stale, and the same as from scratch; and very many runs."""

from __future__ import annotations

import html
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import meta
from rich.console import Console

from adapterbook.analysis import comparison
from adapterbook.commands import report as commands
from adapterbook.common.cache import open_cache
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_study
from adapterbook.pages import build, outline, tools, write_pages
from adapterbook.pages import cache_key as identity
from adapterbook.pages.cache_key import hash_page_inputs, hash_templates
from adapterbook.runs.record import load_record, seal_record, write_record
from tests.support.factory import PROJECT, write_results
from tests.support.report_pages import analyse_project, make_study_pages, plan_without_drawing

VARIANTS = {
    "submitted": {"title": "As submitted"},
    "lr-1e-3": {"title": "1e-3", "training": {"learning_rate": 1.0e-3}},
}
RUN = "lora_1/submitted/seed-224"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = write_results(tmp_path / "p", adapters=["lora_1", "ia3"], variants=VARIANTS, seeds=[224])
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copy(PROJECT.book, paths.book)
    shutil.copy(PROJECT.notebook, paths.notebook)
    return paths


def build_pages(paths: Paths) -> set[str]:
    """Make the pages with what was kept, and return which files are not the very files that were there before."""
    before = {path: path.stat().st_mtime_ns for path in _files(paths)}
    report = analyse_project(paths)
    cache = open_cache(paths.root, "pages")
    write_pages(report, plan_without_drawing(report, paths), paths, cache)
    cache.forget_unused()
    return {_name(path, paths) for path in _files(paths) if before.get(path) != path.stat().st_mtime_ns}


def _files(paths: Paths) -> list[Path]:
    pages = [path for path in paths.report.rglob("*") if path.is_file()]
    return sorted(path for path in [*pages, paths.root / "index.qmd"] if path.exists())


def _name(path: Path, paths: Paths) -> str:
    return path.relative_to(paths.root).as_posix()


def contents(paths: Paths) -> dict[str, bytes]:
    return {_name(path, paths): path.read_bytes() for path in _files(paths)}


def from_scratch(paths: Paths) -> dict[str, bytes]:
    """Return what a build gives that remembers nothing."""
    shutil.rmtree(paths.root / ".cache")
    shutil.rmtree(paths.report)
    build_pages(paths)
    return contents(paths)


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def change_loss(paths: Paths) -> None:
    folder = paths.results / "embedded" / RUN
    record = load_record(folder)
    assert record.test is not None
    changed = record.model_copy(update={"test": record.test.model_copy(update={"loss": 0.123456})})
    write_record(seal_record(changed, folder), folder)


def change_word(paths: Paths) -> None:
    replace_in(paths.templates / "pages" / "overview.qmd.j2", "預訓練過的", "已經預訓練過的")


def change_sentence(paths: Paths) -> None:
    replace_in(paths.templates / "sentences.j2", "Every adapter was trained", "Each adapter was trained")


def change_label(paths: Paths) -> None:
    replace_in(paths.templates / "phrases.yaml", "test_accuracy: {zh: 測試準確率,", "test_accuracy: {zh: 測試集準確率,")


def change_author(paths: Paths) -> None:
    replace_in(paths.book, "author: null", "author: {zh: 李明, en: Ming Li}")


def change_title(paths: Paths) -> None:
    file = paths.experiments / "adapters" / "ia3.yaml"
    content = yaml.safe_load(file.read_text("utf-8")) | {"title": {"zh": "另一個名字", "en": "Another name"}}
    file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")


def change_notebook(paths: Paths) -> None:
    replace_in(paths.results / "embedded" / RUN / "notebook.ipynb", "print(adapter)", "print(adapter, 1)")


def change_prose(paths: Paths) -> None:
    notebook = paths.results / "embedded" / RUN / "notebook.ipynb"
    replace_in(notebook, "This cell is English only.", "Prose of the project.")
    replace_in(paths.notebook, '"cells": [', '"cells": [{"cell_type": "markdown", "metadata": {}, "source": '
               '["# One run\\n", "\\n", "Prose of the project."]}, ')  # fmt: skip


def remove_predictions(paths: Paths) -> None:
    (paths.results / "embedded" / RUN / "predictions.parquet").unlink()


def remove_run(paths: Paths) -> None:
    shutil.rmtree(paths.results / "embedded" / RUN)


CHANGES: list[Callable[[Paths], None]] = [change_loss]
MORE_CHANGES: list[Callable[[Paths], None]] = [
    change_word, change_title, change_sentence, change_label, change_author, change_notebook, change_prose,
    remove_predictions, remove_run,
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [*CHANGES, *(pytest.param(change, marks=pytest.mark.slow) for change in MORE_CHANGES)],
    ids=lambda change: change.__name__,
)
def test_a_rebuild_is_a_build_from_scratch(change: Callable[[Paths], None], paths: Paths) -> None:
    """Whatever kind of input changes, the pages change, and are byte by byte those that remember nothing."""
    build_pages(paths)
    old = contents(paths)
    change(paths)
    touched = build_pages(paths)
    new = contents(paths)
    assert touched == {name for name in new if old.get(name) != new[name]} != set()
    assert new == from_scratch(paths)


def test_nothing_changed_touches_no_file(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is known again: no template is read by Jinja2, and each file stays the file that it was."""
    assert len(build_pages(paths)) > 20
    monkeypatch.setattr(build, "make_environment", None)
    assert build_pages(paths) == set()


def test_a_word_of_one_template_touches_its_page_alone(paths: Paths) -> None:
    """And the document of its language, which holds the page too."""
    build_pages(paths)
    change_word(paths)
    assert build_pages(paths) == {"report/zh/index.qmd", "report/pdf/report-zh.qmd"}


def test_what_is_kept_does_not_grow(paths: Paths) -> None:
    """Texts of pages that have changed since are forgotten."""
    build_pages(paths)
    kept = paths.root / ".cache" / "build" / "pages"
    before = len(list(kept.iterdir()))
    change_sentence(paths)
    build_pages(paths)
    assert len(list(kept.iterdir())) == before > 20


@pytest.mark.slow
def test_workflow_builds_the_same_again(paths: Paths) -> None:
    """`make pages` twice, with a record changed in between: figures, pages and all are those from scratch."""
    console = Console(file=io.StringIO(), width=200)

    def make() -> dict[str, bytes]:
        commands.update_pages(paths.root, "embedded", None, console)
        return contents(paths)

    first = make()
    change_loss(paths)
    second = make()
    assert first != second
    shutil.rmtree(paths.root / ".cache" / "build")
    shutil.rmtree(paths.report)
    assert make() == second


def test_every_template_that_jinja_would_load_is_in_the_identity() -> None:
    """Imports and includes, all of them by name; what the text names is at least what Jinja2 finds."""
    environment = jinja2.Environment()
    for file in sorted(PROJECT.templates.rglob("*.j2")):
        text = file.read_text("utf-8")
        loaded = set(meta.find_referenced_templates(environment.parse(text)))
        assert loaded <= set(identity.NAME_OF_TEMPLATE.findall(text)), file.name


def test_a_template_deep_down_is_part_of_it(tmp_path: Path) -> None:
    """a imports b imports c: a change in c is one in a, and so is a template that comes or goes."""
    for name, text in {"a": '{% import "b.j2" as b %}', "b": "{% include 'c.j2' %}", "c": "x"}.items():
        (tmp_path / f"{name}.j2").write_text(text, "utf-8")
    first = hash_templates([tmp_path], "a.j2")
    (tmp_path / "c.j2").write_text("y", "utf-8")
    second = hash_templates([tmp_path], "a.j2")
    (tmp_path / "c.j2").unlink()
    assert len({first, second, hash_templates([tmp_path], "a.j2")}) == 3


def test_all_of_the_report_is_in_a_page_s_identity(paths: Paths) -> None:
    """A state, a verdict, a seed, a hidden folder: each changes the hash; the same report read again does not."""
    report = analyse_project(paths)
    figures = plan_without_drawing(report, paths)
    base = hash_page_inputs(report, figures, paths, {"/home/me": "~"})
    assert base == hash_page_inputs(analyse_project(paths), figures, paths, {"/home/me": "~"})
    others = [
        replace(report, runs=(replace(report.runs[0], stale=("code",)), *report.runs[1:])),
        replace(report, headline=replace(report.headline, p=0.5)),
        replace(report, n_seeds=7),
        replace(report, ablations={}),
        replace(report, study=load_study(PROJECT.study)),
    ]
    hashes = [hash_page_inputs(other, figures, paths, {"/home/me": "~"}) for other in others]
    hashes.append(hash_page_inputs(report, figures, paths, {"/home/you": "~"}))
    hashes.append(hash_page_inputs(report, {}, paths, {"/home/me": "~"}))
    assert len({base, *hashes}) == len(hashes) + 1


def test_of_very_many_runs_a_choice_has_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with faults first, then one of each group; the others lead to their records, and the page says so."""
    monkeypatch.setattr(outline, "MAX_RUN_PAGES", 5)
    bad = "ia3/lr-1e-3/seed-226"
    made = make_study_pages(
        tmp_path, adapters=["lora_1", "ia3"], variants=VARIANTS, seeds=[224, 225, 226], failed=[bad]
    )
    names = {path.stem for path in (made.paths.report / "en" / "notebooks").glob("*-seed-*.qmd")}
    assert names == {f"{a}-{v}-seed-224" for a in ("lora_1", "ia3") for v in VARIANTS} | {bad.replace("/", "-")}
    index = made.page("en/notebooks/index").text
    assert "Of 12 runs, 5 have their own page" in index
    assert "../../../experiments/results/embedded/lora_1/submitted/seed-225/record.json" in index
    assert "12 次執行當中，5 次有自己的頁面" in made.page("zh/notebooks/index").text
    menu = (made.paths.report / "_navigation.yml").read_text("utf-8")
    assert "notebooks/index.qmd" in menu and "seed-" not in menu


def test_the_pdf_of_a_very_large_study_is_no_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No chapters of so many adapters, no list of so many runs but of those with faults; both are said."""
    options: dict[str, Any] = {"adapters": ["lora_1", "ia3"], "variants": VARIANTS, "failed": ["ia3/lr-1e-3/seed-224"]}
    whole = make_study_pages(tmp_path / "whole", **options)
    monkeypatch.setattr(outline, "MAX_ADAPTER_CHAPTERS", 1)
    monkeypatch.setattr(tools, "MAX_RUNS_IN_PDF", 3)
    large = make_study_pages(tmp_path / "large", **options)
    said = {
        "en": (
            "so the page about each is only on the site",
            "The site lists all 4 runs. Failed, missing or stale runs: 1; listed here: 1.",
        ),
        "zh": ("各自的頁面只放在網站上", "全部 4 次執行列在網站上；狀況有異的有 1 次，這裡列出 1 次"),
    }
    for language, sentences in said.items():
        before, after = (
            (made.paths.report / "pdf" / f"report-{language}.qmd").read_text("utf-8") for made in (whole, large)
        )
        assert all(sentence in after and sentence not in before for sentence in sentences)
        assert "{#sec-adapters-ia3}" in before and "{#sec-adapters-ia3}" not in after
        lists = [text.partition("{#sec-reproduction-runs}")[2] for text in (before, after)]
        every, some = (html.unescape(text).replace("\u2060", "") for text in lists)
        assert RUN in every and RUN not in some and "ia3/lr-1e-3/seed-224" in some
        page = large.page(f"{language}/reproduction").text
        assert "seed" in page and sentences[1] not in page


def test_a_box_of_very_many_faults_names_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed before stale, as many as there is room for, and how many there are."""
    monkeypatch.setattr(tools, "MAX_FAULTS_NAMED", 2)
    stale = {f"lora_1/{variant}/seed-224": ["code"] for variant in VARIANTS}
    made = make_study_pages(tmp_path, adapters=["lora_1", "ia3"], variants=VARIANTS, stale=stale,
                            failed=["ia3/lr-1e-3/seed-224"])  # fmt: skip
    for language, sentence in {"en": "These are 2 of 3 such runs", "zh": "以上是 3 次當中的 2 次"}.items():
        page = made.page(f"{language}/comparison").text
        box = page[: page.index(sentence)]
        assert box.index("ia3-lr-1e-3-seed-224") < box.index("lora_1-submitted-seed-224")
        assert "lora_1-lr-1e-3-seed-224.qmd): **" not in box


def test_few_runs_all_have_pages(paths: Paths) -> None:
    """A study of ordinary size has a page a run, all in the list of notebooks, and no word about a choice."""
    build_pages(paths)
    assert len(list((paths.report / "zh" / "notebooks").glob("*-seed-*.qmd"))) == 4
    listed = (paths.report / "zh" / "notebooks" / "index.qmd").read_text("utf-8")
    assert len(set(re.findall(r"[\w-]+-seed-224\.qmd", listed))) == 4
    assert "their own page" not in (paths.report / "en" / "notebooks" / "index.qmd").read_text("utf-8")


def test_of_very_many_adapters_pairs_are_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each against the reference, the baseline and the two that stand for their methods; the pages name them."""
    options: dict[str, Any] = {"adapters": ["lora_1", "lora_2", "lora_3", "ia3", "head_only", "new"],
                               "variants": VARIANTS}  # fmt: skip
    whole = make_study_pages(tmp_path / "all", **options)
    assert len(whole.report.comparisons["best"].pairs) == 15 and not whole.report.comparisons["best"].against
    assert "not every pair" not in whole.page("en/comparison").text
    monkeypatch.setattr(comparison, "MAX_ADAPTERS_IN_PAIRS", 5)
    some = make_study_pages(tmp_path / "some", **options)
    best = some.report.comparisons["best"]
    assert {"lora_1", "ia3", "head_only"} <= set(best.against) and len(best.against) <= 4
    assert all(pair.a in best.against or pair.b in best.against for pair in best.pairs)
    assert len(best.pairs) == 15 - (6 - len(best.against)) * (5 - len(best.against)) // 2 < 15
    corrected = ("p_holm", "p_same_holm", "smallest_detectable")  # for fewer pairs
    same = {name: getattr(some.report.headline, name) for name in corrected}
    assert some.report.headline == replace(whole.report.headline, **same)
    for language, words in {"en": "not every pair is tested", "zh": "並沒有每一對都檢定"}.items():
        assert words in some.page(f"{language}/comparison").text
