"""Test pages of a data set with more than two labels, and with the data's own names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapterbook.pages import write_pages
from adapterbook.runs.predictions import load_predictions, prediction_columns
from adapterbook.runs.record import Record, load_record, write_record
from tests.support.factory import write_results
from tests.support.report_pages import MadePages, analyse_project, make_study_pages, plan_without_drawing

ONE_VARIANT = {"submitted": {"title": "as submitted"}}
N_TEST = 60


def _give_labels(folder: Path, n_labels: int) -> None:
    """Rewrite the record and the predictions of a made-up run for another number of labels."""
    rng = np.random.default_rng(7)
    labels = np.arange(N_TEST) % n_labels
    scores = rng.random((N_TEST, n_labels)) + 1.5 * (np.arange(n_labels) == labels[:, None])
    table = load_predictions(folder)[["row_id", "text"]].assign(label=labels, prediction=scores.argmax(axis=1))
    names = [*prediction_columns(n_labels)][4:]
    shares = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=names)
    pd.concat([table, shares], axis=1).to_parquet(folder / "predictions.parquet", index=False)
    content = load_record(folder).model_dump(mode="json")
    content["source"]["dataset"] = "news"
    content["source"]["labels"] = [f"c{i}" for i in range(n_labels)]
    titles = [{"zh": f"第{i}版", "en": f"section {i}"} for i in range(n_labels)]
    content["wording"] = {"task": {"zh": "判斷新聞的版面", "en": "tell the section of a news item"}, "labels": titles}
    for split in content["splits"].values():
        if split is not None:
            split["n_by_label"] = [split["n"] - (n_labels - 1), *[1] * (n_labels - 1)]
    content["splits"]["test"]["n_by_label"] = np.bincount(labels, minlength=n_labels).tolist()
    content["test"]["accuracy"] = float((table["label"] == table["prediction"]).mean())
    write_record(Record.model_validate(content), folder)


@pytest.fixture(scope="module", params=[5, 20], ids=["five", "twenty"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """The pages of a study of two adapters whose data have five or twenty labels."""
    root = tmp_path_factory.mktemp("labels")
    first = make_study_pages(root, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, n_test=N_TEST)
    for record in first.paths.results.glob("*/*/*/*/record.json"):
        _give_labels(record.parent, request.param)
    report = analyse_project(first.paths)
    figures = plan_without_drawing(report, first.paths)
    return MadePages(report, figures, first.paths, write_pages(report, figures, first.paths))


@pytest.mark.parametrize(
    ("language", "name", "task"), [("zh", "第2版", "判斷新聞的版面"), ("en", "section 2", "tell the section")]
)
def test_pages_speak_of_the_data_s_task_and_labels(made: MadePages, language: str, name: str, task: str) -> None:
    """The labels and the task have their own names in each language, and no page speaks of good reviews."""
    folder = made.paths.report / language
    pages = {page.path.relative_to(folder).as_posix(): page.text for page in made.pages if folder in page.path.parents}
    assert name in pages["adapters/lora_1.qmd"] and name in pages["sentences.qmd"] and task in pages["index.qmd"]
    for text in pages.values():
        assert not [turn for turn in ("positive class", "good reviews", "正面", "褒") if turn in text]


def test_statistics_of_many_labels_are_there(made: MadePages) -> None:
    """Confusion, calibration, majority and verdict are computed as for two labels."""
    report = made.report
    n_labels = report.source.n_labels
    run = report.run("lora_1/submitted/seed-224")
    assert run.confusion is not None and len(run.confusion.counts) == n_labels and run.confusion.n == N_TEST
    assert report.baseline("chance").accuracy == 1 / n_labels
    assert report.baseline("majority").accuracy == max(run.confusion.n_with) / N_TEST
    assert set(report.calibration.adapters) == {"lora_1", "ia3"}
    assert report.headline.kind != "not_comparable"
    rows = report.sentences.rows
    assert [row.label for row in rows] == sorted(row.label for row in rows)
    confusion = made.figures["confusion-lora-1"]
    assert len(confusion.rows) == min(n_labels, 12)
    assert _right_answers(confusion.alt.en) == run.confusion.n_correct


def _right_answers(text: str) -> int:
    """Return the sum of the right answers that an alternative text names, the labels drawn as one included."""
    return sum(int(n) for n in re.findall(r"(\d+) of \d+ ", text))


def test_a_study_of_two_labels_reads_as_before(tmp_path: Path) -> None:
    """Without labels in the source's file the record's own words name the two labels."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, n_test=N_TEST)
    wording = analyse_project(paths).source.wording
    assert wording is not None and [label.en for label in wording.labels] == ["negative", "positive"]
