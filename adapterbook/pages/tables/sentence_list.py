"""Write the test sentences with the adapters' predictions: data for the page's script, and the first few without it."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import SentenceRow
from adapterbook.common.formatting import format_number
from adapterbook.figures.style import style_of
from adapterbook.figures.vega_charts import line_look
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR
from adapterbook.pages.numbers.record_link import RecordLink
from adapterbook.pages.scripts import script_block
from adapterbook.pages.tables.cells import Cells
from adapterbook.pages.words import language_of
from adapterbook.pages.writing.escape import as_markup, isolate_text
from adapterbook.pages.writing.markdown import EDGE

N_WITHOUT_SCRIPT: Final = 24


def sentence_block(cells: Cells) -> Markup:
    """Return the data of the page's script: every sentence, with every adapter's probability as the pages show it."""
    table, words, report = cells.report.sentences, cells.words, cells.report
    adapters = []
    for run in table.runs:
        id = run.run.adapter.id
        link = cells.tools.address(RecordLink(run, RECORD_ANCHOR))
        look = line_look(style_of(report, id))
        adapters.append({"id": id, "name": isolate_text(words.short_names[id]), "link": link, "color": look["color"]})
    texts = words.phrases.test_sentences
    said = {key: words.phrases.text("test_sentences", key, words.language) for key in texts if key != "without"}
    content = {
        "adapters": adapters,
        "labels": [_plain(words.class_name(label)) for label in range(report.source.n_labels)],
        "sentences": [_data_of(row, cells) for row in table.rows],
        "words": said,
    }
    return script_block("sentences", content, words.phrases.text("test_sentences", "without", words.language))


def _plain(name: str) -> str:
    """Return a name as a script shows it, without the marks of a Chinese sentence."""
    return isolate_text(name.replace(EDGE, ""))


def _data_of(row: SentenceRow, cells: Cells) -> list[Any]:
    """Return a sentence: number of its row, text, label, each adapter's probability and predicted label, language."""
    guesses = [
        [format_number(probability, "percent", cells.words.language), prediction]
        for probability, prediction in zip(row.probabilities, row.predictions, strict=True)
    ]
    text = cells.words.shortened(row.text)
    return [row.row_id, isolate_text(text), row.label, guesses, language_of(text)]


def first_sentences(cells: Cells) -> Markup:
    """Return the first sentences as a list, which stands where no script runs."""
    shown = range(min(N_WITHOUT_SCRIPT, len(cells.report.sentences.rows)))
    return Markup("\n\n").join([Markup("::: {.sentence-list}"), *(_item(i, cells) for i in shown), Markup(":::")])


def _item(index: int, cells: Cells) -> Markup:
    table, words = cells.report.sentences, cells.words
    row = table.rows[index]
    row_id = cells.tools.derived(table, ["rows", index, "row_id"], "plain")
    truth = words.label("truth").replace("{label}", words.class_name(row.label))
    about = f"{as_markup(truth)}{cells.comma}{as_markup(words.label('test_row'))} {row_id}"
    names = [words.name(run.run.adapter.id) for run in table.runs]
    guesses = [f"- {as_markup(name)} {_guess(index, place, cells)}" for place, name in enumerate(names)]
    head = f"{words.quoted(row.text)} [{about}]{{.test-row}}"
    return Markup("\n".join([head, "", *guesses]))


def _guess(index: int, place: int, cells: Cells) -> Markup:
    """Return an adapter's probability, marked where its prediction is wrong."""
    table = cells.report.sentences
    row = table.rows[index]
    probability = cells.tools.derived(table, ["rows", index, "probabilities", place], "percent")
    cross, wrong = (" ✗", " .wrong") if row.predictions[place] != row.label else ("", "")
    return Markup(f"[{probability}{cross}]{{.guess{wrong}}}")
