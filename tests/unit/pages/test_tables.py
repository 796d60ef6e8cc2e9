"""Check the tables of the report: their columns and captions, missing values, and that a text stays a text."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from adapterbook.common.formatting import Language
from adapterbook.config.phrases import load_phrases
from adapterbook.pages.tables.writer import fill_in
from adapterbook.pages.writing.escape import escape_text
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, HOSTILE_TEXTS, PROJECT
from tests.support.report_pages import MadePages, Qmd, make_study_pages

HOSTILE = "a|b *c* {{< env HOME >}} [d](e) {#tbl-x}"
PAIRS = ["Pair", "Points (95% interval)", "p", "p, same", "Verdict"]
ABLATION = [
    "Lowest validation loss",
    "Epoch of lowest loss",
    "Final validation loss",
    "Overfitting from",
    "Test accuracy",
]
RUNS = ["Run", "State", "Why", "Record"]
# By page and identifier, what each table's columns are called.
COLUMNS = {
    ("index", "adapters"): ["Adapter", "Configuration", "Adapter parameters", "Accuracy as submitted",
                            "Accuracy at own best learning rate", "Training time"],
    ("comparison", "accuracies"): ["Adapter", "as submitted", "learning rate 1e-3"],
    ("comparison", "pairs-best"): PAIRS,
    ("comparison", "pairs-submitted"): PAIRS,
    ("comparison", "calibration"): ["Adapter", "Accuracy", "Confidence", "Confidence minus accuracy (95% interval)",
                                    "Calibration error (95% interval)", "Answers with 90% confidence or more",
                                    "Of these right"],
    ("comparison", "costs-1"): ["Adapter", "Test accuracy (95% interval)", "Parameters", "CPU time", "One prediction",
                                "One prediction, merged", "File"],
    ("method", "splits"): ["Split", "Sentences", "Positive"],
    ("method", "learning-rate"): ["Adapter", "Learning rate", *ABLATION],
    ("method", "batch-size"): ["Adapter", "Batch size", *ABLATION],
    ("method", "travel"): ["Adapter", "Checkpoints", "Runs", "Rank correlation", "Least travel", "Most travel",
                           "Highest accuracy", "No longer rises from"],
    ("method", "eval-views"): ["Strategy", "Evaluations", "Epoch kept", "Validation loss", "Right", "Test accuracy",
                               "Below the best (points)"],
    ("method", "rule-costs"): ["Adapter", "Runs", "Last epoch", "Lowest validation loss",
                               "Lowest loss minus last (points)"],
    ("mechanism-lora", "formula"): ["Adapter", "Module", "In → out", "Rank r", "Each", "Layers", "Sum"],
    ("mechanism-ia3", "formula"): ["Adapter", "Module", "In → out", "Scales the", "Each", "Layers", "Sum"],
    ("mechanism-lora", "params"): ["Adapter", "Adapter parameters", "Head parameters", "Trainable parameters",
                                   "All parameters"],
    ("mechanism-lora", "directions"): ["Adapter", "Rank r", "Stable rank", "Directions for 90%", "Directions for 99%"],
    ("mechanism-lora", "settings"): ["Adapter", "r", "α / r", "dropout", "Acts on", "Adapter parameters"],
    ("adapters/ia3", "differences"): ["Setting", "LoRA 1", "IA³"],
    ("adapters/ia3", "variants"): ["Variant", "Test accuracy (95% interval)", "F1", "Test loss", "Epoch kept",
                                   "Training time", "Peak memory"],
    ("adapters/ia3", "runs"): RUNS,
    ("notebooks/index", "runs"): RUNS,
    ("reproduction", "protocol"): ["Setting", "Value"],
    ("reproduction", "variants"): ["Variant", "Title", "Changes", "Adapters"],
    ("reproduction", "identities"): ["Item", "Name", "Revision", "SHA-256"],
    ("reproduction", "environment"): ["Item", "Value"],
    ("reproduction", "runs"): RUNS,
}  # fmt: skip
UNNUMBERED = {
    "adapters/ia3": [
        ["Epoch", "Train loss", "Validation loss", "Validation accuracy", "Kept"],
        ["Sentence", "Actually", "Prediction", "P(positive)"],
        [
            "Module",
            "Norm of the update",
            "Norm of the weight",
            "Mean distance of the vector from 1",
            "Stable rank",
            "Directions for 90%",
            "Directions for 99%",
        ],
    ],
    "notebooks/lora_1-submitted-seed-224": [["Item", "Value"]],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Return the pages of a study with every kind of table: a failed run, a hostile title, a device of that name."""
    rates = {"submitted": {"title": "as submitted"},
             "lr-1e-3": {"title": "learning rate 1e-3", "training": {"learning_rate": 1.0e-3}},
             "hostile": {"title": HOSTILE, "training": {"weight_decay": 0.5}}}  # fmt: skip
    return make_study_pages(
        tmp_path_factory.mktemp("tables"), adapters=("lora_1", "ia3"), variants=rates,
        extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS, failed=["ia3/hostile/seed-224"],
        changes={"lora_1/submitted/seed-224": {"environment__device_name": HOSTILE}},
    )  # fmt: skip


def tables_of(page: Qmd) -> dict[str, list[list[str]]]:
    """Return the rows of each table by the end of its identifier, or by a number; the headings are the first row."""
    tables: dict[str, list[list[str]]] = {}
    in_divs = {id(block): node["c"][0][0] for node in page.elements("Div") for block in node["c"][1]}
    for node in page.elements("Table"):
        attributes, _, _, head, bodies, _ = node["c"]
        rows = [*head[1], *(row for body in bodies for row in body[3])]
        # A table whose caption has braces carries its identifier on a Div around it.
        name = (attributes[0] or in_divs.get(id(node), "")).removeprefix("tbl-") or str(len(tables))
        tables[name] = [[page.text_of(cell[4]) for cell in row[1]] for row in rows]
    return tables


def test_each_table_has_its_columns(made: MadePages) -> None:
    """Every table of the report is there with its own columns, by its page and identifier."""
    for (name, table), columns in COLUMNS.items():
        page = made.page(f"en/{name}")
        headings = tables_of(page)[f"{name.replace('/', '-').replace('_', '-')}-{table}"][0]
        assert columns == [heading.replace("\u00a0", " ") for heading in headings], (name, table)
    for name, expected in UNNUMBERED.items():
        found = [rows[0] for rows in tables_of(made.page(f"en/{name}")).values()]
        assert [columns for columns in expected if columns not in found] == []


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_caption_and_the_headings_are_those_of_the_phrases(made: MadePages, language: Language) -> None:
    """A table's words are in phrases.yaml alone, in both languages."""
    phrases = load_phrases(PROJECT.templates)
    page = made.page(f"{language}/method")
    rows = tables_of(page)["method-batch-size"]
    keys = ("adapter", "batch_size", "best_validation_loss", "best_epoch", "final_validation_loss", "onset_epoch",
            "test_accuracy")  # fmt: skip
    assert rows[0] == [phrases.heading("batch_size", key, language) for key in keys]
    assert phrases.caption("batch_size", language) in page.text_of(page.tree)


def test_a_hostile_text_in_a_cell_or_a_caption_is_text(made: MadePages) -> None:
    """A title with pipes, marks and a shortcode fills one cell, and a device of such a name leaves a caption whole."""
    rows = tables_of(made.page("en/adapters/lora_1"))["adapters-lora-1-variants"]
    assert HOSTILE in [row[0].replace("\u2060", "") for row in rows]
    assert {len(row) for row in rows} == {7}
    page = made.page("en/comparison")
    costs = [tables_of(page)[f"comparison-costs-{number}"] for number in (1, 2)]
    assert [{len(row) for row in table} for table in costs] == [{7}, {7}]
    caption = f"Costs on {HOSTILE}. CPU times are medians, with the fastest and the slowest run in brackets."
    assert caption in page.text_of(page.tree).replace("\u2060", "")


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_placeholder_is_filled_in_once_and_escaped(text: str) -> None:
    """What fills a caption is escaped, and a placeholder in it is text; Markup stands as it is."""
    assert fill_in("on {device}.", {"device": text}) == f"on {escape_text(text)}&#46;"
    assert fill_in("{a} {b}", {"a": "{b}", "b": Markup("*b*")}) == "&#123;b&#125; *b*"
    assert fill_in("a {b}", {}) == "a &#123;b&#125;"


def test_what_is_missing_is_a_dash_and_a_failed_group_leads_to_its_run(made: MadePages) -> None:
    """A group without a result says what became of its run; its other cells are dashes."""
    page = made.page("en/adapters/ia3")
    rows = tables_of(page)["adapters-ia3-variants"]
    assert ["failed", *["–"] * 5] in [row[1:] for row in rows]
    assert "[failed](../notebooks/ia3-hostile-seed-224.qmd)" in page.text


def test_the_pdf_has_one_link_a_row_and_no_column_of_records(made: MadePages) -> None:
    """In the combined document a row's first number alone is a link, and the list of runs has no link to records."""
    text = (made.paths.report / "pdf" / "report-en.qmd").read_text("utf-8")
    assert "| Run | State | Why |\n" in text and "| Record |" not in text
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    assert lines and max(line.count("]{.n ") for line in lines) > 2
    assert all(line.count("}](") <= 1 for line in lines)
