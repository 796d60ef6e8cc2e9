"""Show the numbers behind a figure as a table, for readers who cannot see it or want the digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from adapterbook.common.formatting import Language, format_number
from adapterbook.config.phrases import Phrases
from adapterbook.figures import Figure
from adapterbook.pages.writing.escape import escape_text
from adapterbook.pages.writing.markdown import make_table

# Makes a row's first cell a link to the source of the row's numbers.
Lead = Callable[[Mapping[str, Any], Markup], Markup]

# Ends of column names, tried in this order, and the format of such a column.
FORMATS_BY_END = (
    ("loss_difference", "signed_loss"),
    ("accuracy_difference", "points"),
    ("loss", "loss"),
    ("learning_rate", "rate"),
    ("travel", "travel"),
    ("accuracy", "percent"),
    ("_low", "percent"),
    ("_high", "percent"),
    ("params", "count"),
    ("time_s", "duration"),
    ("confidence", "percent"),
    ("share_right", "percent"),
    ("singular_value", "norm"),
    ("bytes", "bytes"),
    ("relative_update", "norm"),
    ("scale_deviation", "norm"),
)


def make_figure_table(
    figure: Figure,
    language: Language,
    phrases: Phrases,
    short_names: Mapping[str, str],
    lead: Lead,
    classes: Sequence[str] = (),
) -> Markup | None:
    """Return the numbers drawn as a table, ``None`` where the figure has none.

    The heading of a column is in ``phrases.yaml``, or is the adapter that the column is named after, or one of the
    labels, whose names are `classes`. The first cell of
    each row links to the source of its numbers, because hundreds of numbers would be too many links. The style sheets
    align the columns, so that the cells need no attributes.
    """
    if not figure.rows:
        return None
    names = list(figure.rows[0])
    labels = {str(number): name for number, name in enumerate(classes)}
    labels["others"] = phrases.text("labels", "others", language)
    columns = []
    for name in names:
        if name in phrases.headings:
            columns.append(phrases.text("headings", name, language))
        elif name.startswith("predicted_"):
            label = labels.get(name.removeprefix("predicted_"), name)
            columns.append(phrases.text("labels", "predicted", language).replace("{label}", label))
        else:
            columns.append(short_names.get(name, name))
    rows = []
    for row in figure.rows:
        shown = {name: labels.get(value, value) if name == "truth" else value for name, value in row.items()}
        cells = [_cell(name, value, language, phrases, short_names) for name, value in shown.items()]
        rows.append([lead(row, cells[0]), *cells[1:]])
    table = make_table(columns, rows, align="-" * len(names))
    return Markup(f'::: {{.figure-numbers data-from="Figure.{figure.id}"}}\n{table}\n:::')


def _cell(name: str, value: Any, language: Language, phrases: Phrases, short_names: Mapping[str, str]) -> Markup:
    if name == "pareto":
        costs = [phrases.text("labels", ["pareto", cost], language) for cost in value.split(", ") if cost]
        return escape_text(("、" if language == "zh" else ", ").join(costs) or "–")
    if isinstance(value, str):
        return escape_text(short_names.get(value, value) if name == "adapter" else value)
    if isinstance(value, bool):
        return escape_text(phrases.text("labels", "yes" if value else "no", language))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Markup("–")
    kind = next((kind for end, kind in FORMATS_BY_END if name.endswith(end)), "plain")
    return Markup(format_number(value, kind, language))
