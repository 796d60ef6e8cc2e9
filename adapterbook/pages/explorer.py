"""Write the scripts and the data of the interactive pages, above all of the curve explorer.

The script gets every number with the text that the pages show for it, the link to its record, the look of its line, and
all words. No text in the block can end a script, a fence or a shortcode, and the script inserts texts as texts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, Curve, Group, Report, RunReport, Spread
from adapterbook.common.cache import Cache
from adapterbook.common.formatting import Language, format_number
from adapterbook.figures.style import baselines_of, style_of
from adapterbook.figures.vega_charts import QUANTITIES, chart_spec, line_look
from adapterbook.figures.words import FigureWords
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR, anchor_of
from adapterbook.pages.numbers.record_link import RecordLink
from adapterbook.pages.writing.escape import html_entities, isolate_text
from adapterbook.runs.record import Record

# Below report/: assets/ is written by hand, scripts/ is made.
VEGA: Final = "scripts/vega.js"
STYLE: Final = "assets/interactive.css"
# These could act in HTML, or end a fence or a line of a script. In JSON they occur only in texts.
ACTIVE: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&`\u2028\u2029"})


def head_of(scripts: Sequence[str], up: str) -> list[str]:
    """Return the tags that load a page's scripts and their style.

    Parameters
    ----------
    scripts : sequence of str
        Paths below ``report/``, in the order in which they run.
    up : str
        The way from the page to ``report/``.
    """
    if not scripts:
        return []
    style = f'<link rel="stylesheet" href="{up}{STYLE}">'
    return [style, *(f'<script src="{up}{script}" defer></script>' for script in scripts)]


def vega_script(cache: Cache) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, of the version that Altair writes for.

    The script is part of the site, so that a page asks nothing of another host.
    """
    versions = [f"{name} {metadata.version(name)}" for name in ("altair", "vl-convert-python")]
    return cache.get("vega", versions, lambda: _bundle().encode()).decode()


@functools.cache
def _bundle() -> str:
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]  # a snippet is optional


def script_block(name: str, content: Mapping[str, Any], without: str) -> Markup:
    """Return a raw HTML block: an element of class `name` that holds the data of the script of that name.

    The data are of type ``application/json``, which no browser executes. No character in them can end the element or
    the block, or begin one of Quarto's shortcodes.

    Parameters
    ----------
    without : str
        The text for readers whose browser runs no script.
    """
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).translate(ACTIVE)
    data = data.replace("{{", r"{\u007b")  # JSON's own syntax never has two of them in a row
    return Markup(
        "```{=html}\n"
        f'<div class="{name}">\n<p class="without-script">{html_entities(without)}</p>\n'
        f'<script type="application/json">{data}</script>\n</div>\n```'
    )


# With more runs than this, only means over seeds are in the page, because every reader has to load it.
MAX_SEED_LINES: Final = 400
WORDS: Final = ("adapters", "all", "none", "setting", "metric", "seeds", "mean", "mean_of", "each", "best", "rates",
                "variants", "losses", "range", "comma", "download", "file", "status", "missing", "nothing", "failed",
                "chart", "table")  # fmt: skip
COLUMNS: Final = ("adapter", "variant", "learning_rate", "seed", "n_seeds", "epoch", "low", "high", *QUANTITIES)
FORMATS: Final = {"train_loss": "loss", "validation_loss": "loss", "validation_accuracy": "percent"}
# The choices of a reader: one quantity, or both losses in two panels.
VIEWS: Final[Mapping[str, Sequence[str]]] = {
    "validation_loss": ["validation_loss"],
    "train_loss": ["train_loss"],
    "losses": ["train_loss", "validation_loss"],
    "validation_accuracy": ["validation_accuracy"],
}

# Returns the address of the page with the source of a line's numbers, None if that page does not exist.
Address = Callable[[RecordLink], str | None]


def explorer_block(
    report: Report, words: FigureWords, short_names: Mapping[str, str], address: Address
) -> Markup | None:
    """Return a raw HTML block with the explorer's data, ``None`` if there is no curve.

    Parameters
    ----------
    short_names : mapping
        By adapter's id, in this language.
    address : callable
        Gives a place's address from the page.
    """
    language, phrases = words.language, words.phrases
    with_seeds = sum(run.completed for run in report.runs) <= MAX_SEED_LINES
    lines = [line for adapter in report.adapters.values() for group in adapter.groups.values()
             for line in _lines(adapter, group, language, address, with_seeds)]  # fmt: skip
    if not lines:
        return None
    shown = {line["adapter"] for line in lines}
    variants = [variant for variant in report.variants if any(line["variant"] == variant.name for line in lines)]
    styles = {name: style_of(report, name) for name in report.adapters if name in shown}
    levels = baselines_of(report)
    content = {
        "adapters": [{"id": name, "name": isolate_text(short_names[name]), **line_look(style)}
                     for name, style in styles.items()],
        "variants": [
            {
                "id": variant.name,
                "title": isolate_text(variant.title.in_language(language)),
                "rate": variant.training.learning_rate,
                "rate_title": words.rate_label(variant.training.learning_rate),
            }
            for variant in variants
        ],
        "rates": [name for name in report.ablations["learning_rate"].variants
                  if any(variant.name == name for variant in variants)],
        "best": {name: report.adapters[name].best_variant for name in styles},
        "seeds": sorted({line["seed"] for line in lines if line["seed"] is not None}),
        "quantities": {name: {"title": words.say(f"axes.{name}"), "chance": levels[name],
                              "spec": chart_spec(name, words.say("axes.epoch"), styles, levels[name])}
                       for name in QUANTITIES},
        "views": [{"id": name, "quantities": list(parts)} for name, parts in VIEWS.items()],
        "lines": lines,
        "chance": words.say("axes.baselines"),
        "words": {name: phrases.text("explorer", name, language) for name in WORDS},
        "columns": {name: phrases.text("headings", name, language) for name in COLUMNS},
    }  # fmt: skip
    return script_block("explorer", content, phrases.text("explorer", "without", language))


def _lines(
    adapter: AdapterReport, group: Group, language: Language, address: Address, with_seeds: bool
) -> Iterator[dict[str, Any]]:
    """Yield the mean over a group's seeds, if there are several, and each seed's own line."""
    completed = [run for run in group.runs if run.completed]
    common = {"adapter": adapter.id, "variant": group.variant}
    if len(completed) > 1:
        link = address(RecordLink(adapter, "runs"))
        points = [[point[0], point[1], "", *point[2:]] for point in _mean_points(group.curve, language)]
        yield {**common, "seed": None, "n": len(completed), "link": link, "points": points}
    for run in completed if with_seeds or len(completed) == 1 else []:
        if run.record is not None:
            yield {**common, "seed": run.run.seed, "n": 1, "link": _page_of(run, address),
                   "points": list(_points(run.record, language))}  # fmt: skip


def _page_of(run: RunReport, address: Address) -> str | None:
    """Return the address of the record on its page, to which a line adds the rest of its anchor."""
    return address(RecordLink(run, RECORD_ANCHOR))


def _points(record: Record, language: Language) -> Iterator[list[Any]]:
    """Yield the points of one run: epoch, as shown, the end of its anchor in the record, then each quantity."""
    part = "evaluations" if record.evaluations else "epochs"
    for index, point in enumerate(record.curve):
        anchor = anchor_of([part, index]).removeprefix(RECORD_ANCHOR)
        values = [(name, getattr(point, name)) for name in QUANTITIES]
        cells = [None if value is None else [value, format_number(value, FORMATS[name], language)]
                 for name, value in values]  # fmt: skip
        yield [point.epoch, format_number(point.epoch, "plain", language), anchor, *cells]


def _mean_points(curve: Curve, language: Language) -> Iterator[list[Any]]:
    """Yield the points of a mean: epoch, as shown, then each quantity with its lowest and highest where known."""
    for point in curve.points:
        cells = [_mean_cell(getattr(point, name), FORMATS[name], language) for name in QUANTITIES]
        yield [point.epoch, format_number(point.epoch, "plain", language), *cells]


def _mean_cell(spread: Spread | None, kind: str, language: Language) -> list[Any] | None:
    if spread is None:
        return None
    values = [spread.mean, spread.low, spread.high] if spread.known else [spread.mean]
    shown = [format_number(value, kind, language) for value in values]
    return [part for pair in zip(values, shown, strict=True) for part in pair]
