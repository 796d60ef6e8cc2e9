"""Faults on the pages: failed, missing, broken and stale runs, smaller batches and resumed runs, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterbook.common.formatting import Language
from adapterbook.pages import write_pages
from tests.support.factory import ADAPTERS
from tests.support.report_pages import (
    LANGUAGES,
    MadePages,
    Qmd,
    analyse_project,
    each_node,
    make_study_pages,
    plan_without_drawing,
)

ONE_VARIANT = {"submitted": {"title": {"zh": "原設定", "en": "As submitted"}}}
# Every page that shows numbers of runs, but the adapters' and the runs' own.
PAGES = ("index", "method", "mechanism-lora", "mechanism-ia3", "comparison", "reproduction")
FAILED, BROKEN, STALE, SMALLER = (f"{adapter}/submitted/seed-224" for adapter in ADAPTERS)
MISSING = "lora_1/lr-1e-3/seed-224"
OUT_OF_MEMORY = "CUDA out of memory: tried <b>2 GiB</b> {{< env HOME >}}"
SMALLER_BATCH = {
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "message": OUT_OF_MEMORY,
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """One of each: failed, missing, broken, stale, and one that ran out of memory and was interrupted."""
    return make_study_pages(
        tmp_path_factory.mktemp("faults"),
        failed=[FAILED],
        missing=[MISSING],
        truncated=[BROKEN],
        stale={STALE: ("code", "packages")},
        changes={
            FAILED: {"error": {"type": "DeadKernel", "message": "died: <i>x</i> | y", "cell": 2}},
            SMALLER: {"smaller_batch": SMALLER_BATCH, "resumed_after": [3.0, 7.0]},
        },
    )


def text_of(page: Qmd) -> str:
    return page.text_of(page.tree["blocks"])


def boxes(page: Qmd, kind: str) -> list[str]:
    """Return the texts of a page's callouts of a kind."""
    return [page.text_of(node) for node in page.elements("Div") if f"callout-{kind}" in node["c"][0][1]]


def run_page(made: MadePages, language: str, run: str) -> Qmd:
    return made.page(f"{language}/notebooks/{run.replace('/', '-')}")


WORDS: dict[Language, dict[str, str]] = {
    "zh": {
        FAILED: "失敗。2026 年 3 月 1 日 22:38（UTC）停在它的 notebook 第 2 格（從 0 數起），"
        "kernel 中途停止了（DeadKernel）。原訊息：「died: <i>x</i> | y」",
        MISSING: "尚未執行。還沒有執行過。",
        BROKEN: "紀錄損壞。紀錄讀不出來。原訊息：「",
        STALE: "過期。做於 2026 年 3 月 1 日 17:14（UTC），之後改過：程式碼、套件版本。",
    },
    "en": {
        FAILED: "failed. On 1 March 2026, 22:38 UTC, in its notebook, cell 2 (counting from 0): the kernel died "
        "(DeadKernel), “died: <i>x</i> | y”",
        MISSING: "not run. The run has not been made yet.",
        BROKEN: "record unreadable. The record of the run cannot be read. “",
        STALE: "stale. Made on 1 March 2026, 17:14 UTC; changed since then: code, package versions.",
    },
}


def test_every_page_says_at_its_top_what_is_wrong(faults: MadePages) -> None:
    """When, where and why a run failed, what is not there, by which stamps a run is stale; on cover and PDF too."""
    for language in LANGUAGES:
        cover = faults.page("index").text.split(" .cover lang")[1 + LANGUAGES.index(language)]
        cover = cover.partition("\n::: {#")[0]  # up to the other language
        document = faults.page(f"pdf/report-{language}")
        pages = [faults.page(f"{language}/{name}") for name in PAGES]
        for page in (*pages, document, Qmd(faults.paths.root / "index.qmd", f"::: {{.cover lang{cover}")):
            shown = boxes(page, "warning")[0].replace("\u2060", "")  # the PDF's guards
            for run, words in WORDS[language].items():
                assert f"{run}{'：' if language == 'zh' else ': '}{words}" in shown, (page.path, run)
            mixed = {"zh": "與最新的執行並列", "en": "beside those of runs that are up to date"}[language]
            assert mixed in shown
        for page in pages:
            assert page.text.index("callout-warning") < page.text.index("\n## ")


def test_a_box_is_about_its_page_s_own_runs(faults: MadePages) -> None:
    """An adapter's page and a run's page tell of their own runs only, and a page where all is well has no box."""
    for language in LANGUAGES:
        for run, words in WORDS[language].items():
            own = boxes(run_page(faults, language, run), "warning")
            assert len(own) == 1
            assert words in own[0]
            assert words in boxes(faults.page(f"{language}/adapters/{run.split('/')[0]}"), "warning")[0]
        assert not boxes(run_page(faults, language, "lora_2/lr-1e-3/seed-224"), "warning")
        assert WORDS[language][FAILED] not in text_of(faults.page(f"{language}/adapters/lora_3"))


def test_a_failed_run_leads_to_the_cell_where_it_failed(faults: MadePages) -> None:
    """The link goes to an anchor in the executed notebook, right before that cell; so does the run's own page."""
    for language in LANGUAGES:
        own = run_page(faults, language, FAILED)
        target = f"notebooks/{own.path.name}#failed-cell"
        assert f"({target})" in faults.page(f"{language}/index").text
        assert f"(../{target})" in faults.page(f"{language}/adapters/lora_1").text
        assert "(#failed-cell)" in own.text
        before, after = own.text.split('<span id="failed-cell"></span>')
        assert 'adapter = "lora_1"' in after
        assert "```python" not in before
        assert "failed-cell" not in run_page(faults, language, STALE).text


KINDS = {
    "DeadKernel": ("kernel 中途停止了", "the kernel died"),
    "DiskFull": ("磁碟滿了", "the disk was full"),
    "Interrupted": ("訓練中斷了", "training was interrupted"),
    "KernelStart": ("kernel 啟動不了", "the kernel did not start"),
    "OutOfMemory": ("記憶體不足", "memory ran out"),
    "RecordError": ("沒有留下有效的紀錄", "no valid record was left"),
    "Timeout": ("有一格跑得太久", "a cell took too long"),
    "ZeroDivisionError": ("錯誤為 ZeroDivisionError", "ZeroDivisionError, “why & how"),
}


def test_each_kind_of_failure_has_words(tmp_path: Path) -> None:
    """A kind that is known is said in the page's language, any other by its name; the message stands beside it."""
    errors = {kind: {"type": kind, "message": f"why & how {place}", "cell": None} for place, kind in enumerate(KINDS)}
    runs = {f"lora_1/submitted/seed-{seed}": error for seed, error in enumerate(errors.values())}
    made = make_study_pages(
        tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, seeds=tuple(range(len(KINDS))), failed=list(runs),
        changes={run: {"error": error} for run, error in runs.items()},
    )  # fmt: skip
    for number, language in enumerate(LANGUAGES):
        page = made.page(f"{language}/index")
        (box,) = [node for node in page.elements("Div") if "callout-warning" in node["c"][0][1]]
        said = [page.text_of(node) for node in each_node(box) if node["t"] == "Plain"]
        for place, ((kind, words), run) in enumerate(zip(KINDS.items(), runs, strict=True)):
            (line,) = [line for line in said if f"why & how {place}" in line]
            assert words[number] in line
            assert kind in line
            assert f"notebooks/{run.replace('/', '-')}.qmd)" in page.text
        assert "failed-cell" not in page.text


@pytest.mark.parametrize("notebook", [None, '{"cells": []}'])
def test_the_place_of_a_failure_is_there_without_its_cell(tmp_path: Path, notebook: str | None) -> None:
    """A notebook that is gone, or shorter than the record says, still has the anchor that pages link to."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, failed=[FAILED])
    file = made.report.run(FAILED).run.folder(made.paths) / "notebook.ipynb"
    file.unlink() if notebook is None else file.write_text(notebook)
    write_pages(made.report, made.figures, made.paths)
    for language in LANGUAGES:
        text = run_page(made, language, FAILED).text
        assert text.count("{#failed-cell}") + text.count('id="failed-cell"') == 1


def test_a_run_without_result_is_a_row_of_the_comparison(faults: MadePages) -> None:
    """In the table of accuracies the failed, missing and broken run stand with their state, as a link."""
    for language, words in (
        ("zh", ("失敗", "尚未執行", "紀錄損壞")),
        ("en", ("failed", "not run", "record unreadable")),
    ):
        page = faults.page(f"{language}/comparison")
        tables = [page.text_of(node) for node in page.elements("Table")]
        for run, word in zip((FAILED, MISSING, BROKEN), words, strict=True):
            link = f"**[{word}](notebooks/{run.replace('/', '-')}.qmd)**"
            assert page.text.count(link) == 1, (language, run)
        assert sum(all(word in table for word in words) for table in tables) == 1


def test_an_adapter_without_any_result_is_a_row_of_the_costs(tmp_path: Path) -> None:
    """It stands there with the state of its run, and a dash for each cost."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, failed=[FAILED])
    page = made.page("en/comparison")
    costs = page.text[page.text.index("{#sec-comparison-costs}") :]
    assert f"**[failed](notebooks/{FAILED.replace('/', '-')}.qmd)** | – | – | – | – | – |" in costs


def test_a_stale_number_is_marked_in_every_table(faults: MadePages) -> None:
    """Beside the accuracy of a stale run stands the word, which leads to its page; no fresh one has it."""
    for language, word in (("zh", "過期"), ("en", "stale")):
        for name, up, n in (("index", "", 1), ("comparison", "", 1), ("adapters/lora_3", "../", 1)):
            page = faults.page(f"{language}/{name}")
            mark = f"[[{word}]({up}notebooks/lora_3-submitted-seed-224.qmd)]{{.beside}}"
            assert page.text.count(mark) == n, name
            lines = [line for line in page.text.splitlines() if "]{.beside}" in line]
            assert len(lines) == n


def test_seeds_without_result_are_counted_where_a_mean_stands(tmp_path: Path) -> None:
    """A mean of two seeds of three says so."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, seeds=(1, 2, 3),
                            failed=["ia3/submitted/seed-2"])  # fmt: skip
    for language, words in (("zh", "種子數 2/3"), ("en", "Seeds 2/3")):
        for name in ("index", "comparison", "adapters/ia3"):
            page = made.page(f"{language}/{name}")
            assert words in text_of(page), name
            assert not [line for line in page.text.splitlines() if "2/3" in line and "ia3" not in line]


def test_smaller_batches_are_said_wherever_numbers_are_compared(faults: MadePages) -> None:
    """The run, its batch and how often it is accumulated, on every page of results; the message on the run's own."""
    for language, words in (
        ("zh", "記憶體不足過一次，之後把每批拆開，一次 8 列，累積 2 次才更新一步。"),
        ("en", "memory ran out once, so each batch was split: 8 rows at a time, 2 times for each step."),
    ):
        own = run_page(faults, language, SMALLER)
        for page in (*(faults.page(f"{language}/{name}") for name in PAGES),
                     faults.page(f"{language}/adapters/ia3"), own):  # fmt: skip
            assert any(f"{SMALLER}{'：' if language == 'zh' else ': '}{words}" in box for box in boxes(page, "note"))
        assert OUT_OF_MEMORY in text_of(own)
        assert not any(words in box for box in boxes(faults.page(f"{language}/adapters/lora_2"), "note"))


def test_a_resumed_run_says_so_on_its_page(faults: MadePages) -> None:
    """After which epochs it was interrupted, and nowhere else."""
    for language, words in (
        ("zh", "訓練曾在第 3 與 7 輪之後中斷，再從當時的檢查點接著做完。"),
        ("en", "Training was interrupted after epoch 3 and 7 and continued from the checkpoint made there."),
    ):
        assert words in text_of(run_page(faults, language, SMALLER))
        assert words not in text_of(run_page(faults, language, STALE))


def test_predictions_that_cannot_be_used_are_a_fault_too(tmp_path: Path) -> None:
    """A completed run whose predictions are gone is named at the top of the pages that lack what they would show."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT)
    (made.report.run(FAILED).run.folder(made.paths) / "predictions.parquet").unlink()
    report = analyse_project(made.paths)
    write_pages(report, plan_without_drawing(report, made.paths), made.paths)
    for language, words in (
        ("zh", "紀錄在，但測試預測的檔案不在或讀不出來。"),
        ("en", "its test predictions are missing"),
    ):
        for name in ("index", "comparison", "adapters/lora_1"):
            assert words in boxes(made.page(f"{language}/{name}"), "warning")[0]


def test_only_stale_runs_are_called_stale(tmp_path: Path) -> None:
    """Where every run is there, the box's title says no more than that; where all are stale, none is up to date."""
    stale: dict[str, Any] = dict.fromkeys((FAILED, SMALLER), ("data",))
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, stale=stale)
    for language, title, mixed in (("zh", "有些執行過期了", "並列"), ("en", "Some runs are stale", "up to date")):
        page = made.page(f"{language}/index")
        assert f'title="{title}"' in page.text
        assert mixed not in boxes(page, "warning")[0]


def test_every_page_carries_commit_and_dates(faults: MadePages) -> None:
    """Each page of the site, the cover in both languages and each PDF end with the runs' commit and days."""
    states = [run.record.git for run in faults.report.runs if run.record is not None]
    assert states[0] is not None
    commit = states[0].commit[:8]
    for language, day in (("zh", "2026 年 3 月"), ("en", "March 2026")):
        own = [page for page in faults.pages if language in page.path.relative_to(faults.paths.root).parts]
        for page in (*own, faults.page(f"pdf/report-{language}")):
            found = [page.text_of(node) for node in page.elements("Div") if "provenance" in node["c"][0][1]]
            on_paper = page.path.parent.name == "pdf"  # below the cover and at the end
            assert len(found) == 1 + on_paper, page.path
            none = {"zh": "都沒有紀錄", "en": "has a record"}[language]
            run = next((run for run in (MISSING, BROKEN) if run.replace("/", "-") == page.path.stem), None)
            assert (none in found[0]) if run else (commit in found[0] and day in found[0]), page.path
    cover = faults.page("index")
    assert sum("provenance" in node["c"][0][1] for node in cover.elements("Div")) == len(LANGUAGES)
