"""Write the data of the curve explorer.

The script gets every number with the text that the pages show for it, the link to its record, the look of its line, and
all words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, Curve, Group, Report, RunReport, Spread
from adapterbook.analysis.travel import steps_until
from adapterbook.common.formatting import Language, format_number
from adapterbook.figures.style import baselines_of, style_of
from adapterbook.figures.vega_charts import QUANTITIES, RAMP, chart_spec, line_look
from adapterbook.figures.words import FigureWords
from adapterbook.pages.numbers.number import plain
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR, anchor_of
from adapterbook.pages.numbers.record_link import RecordLink
from adapterbook.pages.scripts import script_block
from adapterbook.pages.writing.escape import isolate_text
from adapterbook.runs.record import Record, StepResult

# With more runs than this, only means over seeds are in the page, because every reader has to load it.
MAX_SEED_LINES: Final = 400
# So many steps of all lines together, and so many of one line, are in the page.
MAX_STEPS: Final = 20_000
MAX_STEPS_OF_LINE: Final = 400
# What a chart by epoch, step or seconds may show: one quantity, or several beside each other.
VIEWS: Final = {"validation_loss": ("validation_loss",), "train_loss": ("train_loss",),
                "losses": ("train_loss", "validation_loss"), "validation_accuracy": ("validation_accuracy",),
                "step_loss": ("step_loss",), "step_rate": ("step_rate",)}  # fmt: skip
FORMATS: Final = {"train_loss": "loss", "validation_loss": "loss", "validation_accuracy": "percent"}
# What a table of runs, and a chart by learning rate or rank, shows of a run.
RESULTS: Final = {"test_accuracy": "percent", "best_validation_loss": "loss", "last_validation_loss": "loss",
                  "best_validation_accuracy": "percent", "last_validation_accuracy": "percent",
                  "last_train_loss": "loss", "train_time_s": "duration"}  # fmt: skip
AXES: Final = ("epoch", "step", "seconds", "learning_rate", "rank")
# Settings that follow from others, or that no result depends on.
NOT_SHOWN: Final = frozenset({"save_strategy", "save_steps", "load_best_model_at_end", "per_device_eval_batch_size"})
COLUMNS: Final = ("adapter", "variant", "learning_rate", "seed", "n_seeds", "epoch", "low", "high", *QUANTITIES)

Address = Callable[[RecordLink], str | None]


def explorer_block(
    report: Report, words: FigureWords, short_names: Mapping[str, str], address: Address
) -> Markup | None:
    """Return the data of every curve as a block of a page, `None` if no run has left a curve.

    Parameters
    ----------
    short_names : mapping
        Of adapters, by id.
    address : callable
        Returns the address of a place on the pages, or `None` if it has none.
    """
    phrases, language = words.phrases, words.language
    groups = [(adapter, group) for adapter in report.adapters.values() for group in adapter.groups.values()
              if group.n_completed]  # fmt: skip
    with_seeds = sum(group.n_completed for _, group in groups) <= MAX_SEED_LINES
    n_lines = sum(group.n_completed + 1 if with_seeds else 1 for _, group in groups)
    most = max(20, min(MAX_STEPS_OF_LINE, MAX_STEPS // max(1, n_lines)))
    lines = [line for adapter, group in groups for line in _lines(adapter, group, language, address, with_seeds, most)]
    if not lines:
        return None
    shown = {line["adapter"] for line in lines}
    variants = [variant for variant in report.variants if any(line["variant"] == variant.name for line in lines)]
    styles = {name: style_of(report, name) for name in report.adapters if name in shown}
    levels = baselines_of(report)
    ids = [variant.name for variant in variants]
    content = {
        "adapters": [{"id": name, "name": isolate_text(short_names[name]), "rank": _rank(report.adapters[name]),
                      **line_look(style)} for name, style in styles.items()],
        "variants": [
            {
                "id": variant.name,
                "title": isolate_text(variant.title.in_language(language)),
                "rate": variant.training.learning_rate,
                "rate_text": format_number(variant.training.learning_rate, "rate", language),
                "rate_title": words.rate_label(variant.training.learning_rate),
            }
            for variant in variants
        ],
        "factors": {name: [id for id in ablation.variants if id in ids] for name, ablation in
                    (("rates", report.ablations["learning_rate"]), ("batch_sizes", report.ablations["batch_size"]))},
        "best": {name: report.adapters[name].best_variant for name in styles},
        "seeds": sorted({line["seed"] for line in lines if line["seed"] is not None}),
        "ramp": RAMP,
        "spec": chart_spec(),
        "quantities": QUANTITIES,
        "levels": levels,
        "formats": {**FORMATS, "step_loss": "loss", "step_rate": "rate", **RESULTS},
        "views": [{"id": name, "quantities": list(parts)} for name, parts in VIEWS.items()
                  if not name.startswith("step") or any(line["steps"] for line in lines)],
        "results": [name for name in RESULTS if name != "last_train_loss"],
        "axes": [name for name in AXES if name not in ("step", "seconds") or any(line["steps"] for line in lines)],
        "lines": lines,
        "runs": _runs(groups, language, address),
        "chance": words.say("axes.baselines"),
        "words": {name: phrases.text("explorer", name, language) for name in phrases.explorer if name != "without"},
        "columns": {name: phrases.text("headings", name, language) for name in COLUMNS},
    }  # fmt: skip
    return script_block("explorer", content, phrases.text("explorer", "without", language))


def _rank(adapter: AdapterReport) -> float | None:
    rank = adapter.config.settings.get("r")
    return rank if isinstance(rank, int | float) and not isinstance(rank, bool) else None


def _runs(groups: Sequence[tuple[AdapterReport, Group]], language: Language, address: Address) -> dict[str, Any]:
    """Return the results of every adapter in every variant, and the settings in which they differ, as texts."""
    settings = [
        {**group.training.model_dump(exclude_none=True), **adapter.config.settings} for adapter, group in groups
    ]
    keys = [key for key in dict.fromkeys(key for own in settings for key in own) if key not in NOT_SHOWN]
    texts = [{key: _setting(key, own[key], language) for key in keys if key in own} for own in settings]
    differing = [key for key in keys if len({own.get(key) for own in texts}) > 1]
    rows = [
        {
            "adapter": adapter.id,
            "variant": group.variant,
            "link": address(RecordLink(adapter, "runs")),
            "settings": [own.get(key, "") for key in differing],
            "results": {name: _result(group, name, language) for name in RESULTS},
        }
        for (adapter, group), own in zip(groups, texts, strict=True)
    ]
    return {"settings": differing, "rows": rows}


def _setting(key: str, value: Any, language: Language) -> str:
    value = plain(value)
    if isinstance(value, list | tuple):
        return isolate_text(", ".join(map(str, value)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return isolate_text(str(value))
    return format_number(value, "rate" if "learning_rate" in key else "plain", language)


def _result(group: Group, name: str, language: Language) -> list[Any] | None:
    """Return a result as a cell: its value and its text, then the ends of its interval where there is one."""
    when, _, quantity = name.partition("_")
    if quantity in QUANTITIES:
        values = [spread.mean for _, spread in group.curve.values(quantity)]
        if not values:
            return None
        value = values[-1] if when == "last" else max(values) if quantity == "validation_accuracy" else min(values)
        if name == "best_validation_loss" and group.best_validation_loss is not None:
            value = group.best_validation_loss.mean
        return [value, format_number(value, RESULTS[name], language)]
    spread = getattr(group, name)
    if spread is None:
        return None
    ends = (
        [group.test_interval.low, group.test_interval.high] if name == "test_accuracy" and group.test_interval else []
    )
    return [part for value in (spread.mean, *ends) for part in (value, format_number(value, RESULTS[name], language))]


def _lines(
    adapter: AdapterReport, group: Group, language: Language, address: Address, with_seeds: bool, most: int
) -> Iterator[dict[str, Any]]:
    """Yield the mean over a group's seeds, if there are several, and each seed's own line."""
    runs = {run.run.seed: (run, run.record) for run in group.runs if run.completed and run.record is not None}
    records = [record for _, record in runs.values()]
    common = {"adapter": adapter.id, "variant": group.variant}
    if len(records) > 1:
        link = address(RecordLink(adapter, "runs"))
        points = [[point[0], point[1], "", *point[2:]] for point in _mean_points(group.curve, records, language)]
        yield {
            **common,
            "seed": None,
            "n": len(records),
            "link": link,
            "points": points,
            **_steps(records, most, language),
        }
    for seed, (run, record) in runs.items() if with_seeds or len(records) == 1 else ():
        yield {**common, "seed": seed, "n": 1, "link": _page_of(run, address),
               "points": list(_points(record, language)), **_steps([record], most, language)}  # fmt: skip


def _page_of(run: RunReport, address: Address) -> str | None:
    """Return the address of the record on its page, to which a line adds the rest of its anchor."""
    return address(RecordLink(run, RECORD_ANCHOR))


def _points(record: Record, language: Language) -> Iterator[list[Any]]:
    """Yield a run's points: epoch, as shown, the end of its anchor in the record, seconds, then each quantity."""
    part = "evaluations" if record.evaluations else "epochs"
    for index, point in enumerate(record.curve):
        anchor = anchor_of([part, index]).removeprefix(RECORD_ANCHOR)
        values = [(name, getattr(point, name)) for name in QUANTITIES]
        cells = [None if value is None else [value, format_number(value, FORMATS[name], language)]
                 for name, value in values]  # fmt: skip
        shown = format_number(point.epoch, "plain", language)
        yield [point.epoch, shown, anchor, _seconds_at([record], point.epoch, language), *cells]


def _mean_points(curve: Curve, records: Sequence[Record], language: Language) -> Iterator[list[Any]]:
    """Yield a mean's points: epoch, as shown, seconds, then each quantity, with its lowest and highest where known."""
    for point in curve.points:
        cells = [_mean_cell(getattr(point, name), FORMATS[name], language) for name in QUANTITIES]
        shown = format_number(point.epoch, "plain", language)
        yield [point.epoch, shown, _seconds_at(records, point.epoch, language), *cells]


def _mean_cell(spread: Spread | None, kind: str, language: Language) -> list[Any] | None:
    if spread is None:
        return None
    values = [spread.mean, spread.low, spread.high] if spread.known else [spread.mean]
    shown = [format_number(value, kind, language) for value in values]
    return [part for pair in zip(values, shown, strict=True) for part in pair]


def _seconds_at(records: Sequence[Record], epoch: float, language: Language) -> str | None:
    """Return the mean seconds of training after so many epochs, None where a record has no steps."""
    places = [steps_until(record, epoch) for record in records]
    if any(not 1 <= place <= len(record.steps) for place, record in zip(places, records, strict=True)):
        return None
    times = [record.steps[place - 1].seconds for place, record in zip(places, records, strict=True)]
    return format_number(fmean(times), "decimal", language)


def _steps(records: Sequence[Record], most: int, language: Language) -> dict[str, Any]:
    """Return the steps of one run, or their means over seeds: number, loss, learning rate and seconds as shown.

    Of very many steps some at even distances are taken. Runs with different numbers of steps have no mean.
    """
    counts = {len(record.steps) for record in records}
    if counts == {0} or len(counts) > 1:
        return {"per_epoch": None, "steps": []}
    n = counts.pop()
    taken = range(n) if n <= most else sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})
    rows = (tuple(record.steps[i] for record in records) for i in taken)
    return {"per_epoch": n / records[0].epochs[-1].epoch, "steps": [_step(row, language) for row in rows]}


def _step(row: Sequence[StepResult], language: Language) -> list[Any]:
    return [
        row[0].step,
        format_number(fmean(step.loss for step in row), "loss", language),
        format_number(fmean(step.learning_rate for step in row), "rate", language),
        format_number(fmean(step.seconds for step in row), "decimal", language),
    ]
