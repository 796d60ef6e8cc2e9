"""Make the cells of tables; templates also put some of them into sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from markupsafe import Markup

from adapterbook.analysis.shapes import (
    AdapterReport,
    CostRow,
    EvalView,
    Group,
    Report,
    RunReport,
    TravelFinding,
    VariantReport,
    Verdict,
)
from adapterbook.common.formatting import format_number
from adapterbook.pages.numbers.number import look_up, plain
from adapterbook.pages.tools import PageTools
from adapterbook.pages.words import Words
from adapterbook.pages.writing.escape import as_markup, escape_attribute, inline_code

NBSP: Final = "\N{NO-BREAK SPACE}"
MAX_WHOLE: Final = 24  # letters of a name that stays on one line
NONE: Final = "–"  # the cell of a missing value
METHOD_NAMES: Final = {"LORA": "LoRA", "IA3": "IA³"}  # any other method has PEFT's name
# A reason that is a run's own state is shown as that state, with a link to the run.
STATES: Final = ("failed", "missing", "broken")


@dataclass(frozen=True)
class Row:
    """Identify the part of the report that one row of a table is about.

    Attributes
    ----------
    of : object
        The part of the report whose numbers the row shows; with ``in_record`` a run, whose record holds them.
    path : tuple
        Where in it the row's fields begin.
    """

    of: Any
    path: tuple[str | int, ...] = ()
    in_record: bool = False

    @property
    def thing(self) -> Any:
        """Return the object that has the row's fields."""
        return look_up(self.of.record if self.in_record else self.of, self.path)


@dataclass(frozen=True)
class Column:
    """Describe one column of a table.

    Attributes
    ----------
    key : str
        Of its heading in ``phrases.yaml``.
    kind : str, optional
        The format of its numbers; without it ``cell`` makes the cells.
    field : str, optional
        Dotted path to the number, from the row's thing; by default the key.
    cell : callable, optional
        Makes a cell from the row's thing. ``None`` becomes a dash, and a ``str`` is escaped.
    align : str
        ``l`` or ``r``.
    heading : str, optional
        A heading that the report gives, such as an adapter's name.
    """

    key: str
    kind: str = ""
    field: str = ""
    cell: Callable[[Any, Any], str | None] | None = None
    align: Literal["l", "r"] = "r"
    heading: str | None = None


class Cells:
    """Make the cells of the tables of one page."""

    def __init__(self, tools: PageTools, words: Words) -> None:
        self.tools = tools
        self.words = words

    @property
    def report(self) -> Report:
        """Return the report that the tables are about."""
        return self.words.report

    @cached_property
    def comma(self) -> Markup:
        """Return the separator between two items of a list."""
        return Markup("、" if self.words.language == "zh" else ", ")

    def glue(self, last: bool) -> Markup:
        """Return the separator after an item of a list in a template's loop."""
        return Markup() if last else self.comma

    def listed(self, items: Iterable[str]) -> Markup:
        """Return items with commas between them."""
        return self.comma.join(map(as_markup, items))

    def value(self, row: Row, field: str, kind: str) -> Markup | None:
        """Return a number of a row, ``None`` if the report or the record does not have it."""
        parts = field.split(".")
        value = row.thing
        for part in parts:
            value = None if value is None else look_up(value, [part])
        if value is None:
            return None
        show = self.tools.number if row.in_record else self.tools.derived
        return show(row.of, (*row.path, *parts), kind)

    def over_seeds(self, group: Group, of_run: str, of_group: str, kind: str) -> Markup:
        """Return the record's own number if there is one seed, else the mean over the seeds."""
        if group.n_completed == 1 and group.representative is not None:
            return self.tools.number(group.representative, of_run, kind)
        return self.tools.derived(group, of_group, kind)

    def accuracy(self, group: Group) -> Markup:
        """Return the test accuracy of a group that has a result."""
        return self.over_seeds(group, "test.accuracy", "test_accuracy.mean", "percent")

    def time(self, group: Group) -> Markup:
        """Return the training time of a group that has a result."""
        return self.over_seeds(group, "train_time_s", "train_time_s.mean", "duration")

    def interval(self, thing: Any, field: str = "interval", kind: str = "percent") -> Markup:
        """Return an interval for a sentence: ``80.0% to 95.0%``."""
        low, high = (self.tools.derived(thing, [field, end], kind) for end in ("low", "high"))
        return Markup(" ").join([low, as_markup(self.words.label("to")), high])

    def bracketed(self, thing: Any, field: str) -> Markup:
        """Return an interval for a cell, in which it stays on one line: ``(80.0–95.0%)``."""
        low = self.tools.derived(thing, [field, "low"], "percent_bare")
        return Markup(f"[({low}–{self.tools.derived(thing, [field, 'high'], 'percent')})]{{.whole}}")

    def strategy(self, view: EvalView) -> Markup:
        """Return an evaluation strategy, with what it chooses by where that is not the validation loss."""
        metric = view.metric if view.metric not in (None, "validation_loss") else None
        return inline_code(view.strategy) + (Markup(f" {inline_code(metric)}") if metric else Markup())

    def mean_with_range(self, thing: Any, field: str) -> Markup:
        """Return the mean difference of several runs, with the lowest and the highest: ``+2.1 (−1.0 to +4.3)``."""
        mean, low, high = (self.tools.derived(thing, [field, part], "points") for part in ("mean", "low", "high"))
        return Markup(f"{mean} [({low} {as_markup(self.words.label('to'))} {high})]{{.whole}}")

    def place_of(self, found: TravelFinding, end: str) -> Markup:
        """Return travel and accuracy of one of the points that a finding names."""
        travel = self.tools.derived(found, [end, "travel"], "travel")
        return Markup(f"{travel} → {self.tools.derived(found, [end, 'accuracy'], 'percent')}")

    def accuracy_with_interval(self, group: Group) -> Markup:
        """Return the test accuracy of a group and its interval, of several seeds also their spread."""
        return Markup(f"{self.accuracy(group)} {self.bracketed(group, 'test_interval')}") + self.spread(group)

    def spread(self, group: Group) -> Markup:
        """Return standard deviation, lowest and highest of several seeds' test accuracies; nothing for one seed."""
        if group.n_completed < 2 or group.test_accuracy is None:
            return Markup()
        low = self.tools.derived(group, ["test_accuracy", "low"], "percent_bare")
        high = self.tools.derived(group, ["test_accuracy", "high"], "percent")
        parts = [Markup(f"{as_markup(self.words.label('seeds_range'))} {low}–{high}")]
        if group.test_accuracy.sd is not None:
            sd = self.tools.derived(group, ["test_accuracy", "sd"], "points_unsigned")
            parts.insert(0, Markup(f"{as_markup(self.words.label('seeds_sd'))} {sd}{self.comma.strip()}"))
        gap = self.comma.removeprefix(self.comma.strip())  # none after a Chinese comma, where a line may break anyway
        return Markup(" ") + Markup(gap).join(Markup(f"[{part}]{{.beside}}") for part in parts)

    def mark(self, group: Group) -> Markup:
        """Return a warning about a result: a run is stale, or seeds are missing."""
        stale = [run for run in group.runs if run.completed and run.stale]
        links = [self.tools.link(run, self.words.state("stale")) for run in stale[:1]]
        if group.n_completed < len(group.runs):
            counts = [format_number(n, "count", self.words.language) for n in (group.n_completed, len(group.runs))]
            text = Markup(f"{as_markup(self.words.heading('n_seeds'))} {'/'.join(counts)}")
            links.append(self.tools.link(self.words.report.adapters[group.adapter], text, "runs"))
        return Markup().join(Markup(f" [{link}]{{.beside}}") for link in links)

    def marked_accuracy(self, group: Group) -> Markup:
        """Return the test accuracy of a group, with the warnings about it."""
        return self.accuracy(group) + self.mark(group)

    def result(self, group: Group) -> Markup:
        """Return the test accuracy of a group with its interval, and the warnings about it."""
        return self.accuracy_with_interval(group) + self.mark(group)

    def no_result(self, group: Group | None) -> Markup:
        """Return why a result is missing: the state of the run, as a link to it."""
        if group is None:
            return Markup(NONE)
        if group.reason in STATES:
            return _bold(self.tools.link(group.runs[0], self.words.state(group.reason)))
        return _bold(self.words.reason(str(group.reason)))

    def result_or_reason(self, group: Group | None) -> Markup:
        """Return the result of a group, or why there is none."""
        return self.result(group) if group is not None and group.n_completed else self.no_result(group)

    def kept_whole(self, text: str) -> Markup:
        """Return a short text, such as a name or a setting, that no line break parts."""
        shown = as_markup(text)
        return Markup(f"[{shown}]{{.whole}}") if len(text) <= MAX_WHOLE else shown

    def adapter_link(self, adapter: AdapterReport) -> Markup:
        """Return an adapter's short name, a link to its page."""
        return self.tools.link(adapter, self.kept_whole(self.words.name(adapter)))

    def setting(self, adapter: AdapterReport, key: str) -> Markup | None:
        """Return a number among an adapter's PEFT settings, ``None`` if PEFT's default applies."""
        return self.value(Row(adapter), f"config.settings.{key}", "plain") if key in adapter.config.settings else None

    def kept_epoch(self, group: Group) -> Markup | None:
        """Return the epoch of the checkpoint that was tested; one that nothing was evaluated for was not chosen."""
        run = group.representative
        if run is None or run.record is None or run.record.best is None:
            return None
        epoch = self.tools.number(run, "best.epoch", "plain")
        if run.record.best.value is not None:
            return epoch
        return Markup(f"{epoch} [{as_markup(self.words.label('last_mark'))}]{{.beside}}")

    def configuration(self, adapter: AdapterReport) -> Markup:
        """Return the method of an adapter with the settings that matter most: LoRA's r, alpha and dropout."""
        if adapter.baseline is not None:
            return Markup(NONE)
        short = {"r": "r", "lora_alpha": "α", "lora_dropout": "dropout"}
        settings = {name: self.setting(adapter, key) for key, name in short.items()}
        shown = [Markup(f"{name}{NBSP}{value}") for name, value in settings.items() if value is not None]
        return self.listed([METHOD_NAMES.get(adapter.config.peft_type, adapter.config.peft_type), *shown])

    def modules(self, adapter: AdapterReport) -> Markup:
        """Return the modules that an adapter touches: their names, or the pattern that PEFT was given."""
        modules = adapter.config.settings.get("target_modules")
        if isinstance(modules, str):
            return inline_code(modules)
        return self.listed([inline_code(module) for module in modules]) if modules else Markup(NONE)

    def setting_value(self, value: object) -> Markup:
        """Return a setting as Python code; a list's items one by one, so that a line may break between them."""
        value = plain(value)
        if isinstance(value, list | tuple) and value:
            return self.listed([self.words.literal(item) for item in value])
        return self.words.literal(value)

    def cost(self, row: CostRow, kind: Literal["params", "time"], field: str, format: str) -> Markup:
        """Return a cost, with a mark before it if the row is on the front of accuracy against it."""
        title = escape_attribute(self.words.label(["pareto", kind]))
        mark = Markup(f'[✓]{{title="{title}"}}{NBSP}') if kind in row.pareto else Markup()
        return mark + self.tools.derived(row, field, format)

    def cost_in_time(self, row: CostRow) -> Markup:
        """Return the median training time of an adapter, and of several runs the lowest and the highest."""
        median = self.cost(row, "time", "time_s.median", "duration")
        if row.time_s.n == 1:
            return median
        low, high = (self.tools.derived(row, ["time_s", end], "duration") for end in ("low", "high"))
        return Markup(f"{median} [({low}–{high})]{{.whole}}")

    def with_interval(self, thing: Any, field: str, interval: str, format: str) -> Markup:
        """Return a number of the analysis with its interval."""
        number = self.tools.derived(thing, field, format)
        return Markup(f"{number} [({self.interval(thing, interval, format)})]{{.whole}}")

    def names_of(self, pair: Verdict) -> Markup:
        """Return the two adapters of a comparison, the second taken from the first."""
        return Markup(" − ").join(self.kept_whole(self.words.name(str(id))) for id in (pair.a, pair.b))

    def difference(self, pair: Verdict) -> Markup | None:
        """Return the difference of two adapters with its interval."""
        if pair.kind == "not_comparable":
            return None
        return self.with_interval(pair, "difference", "interval", "points")

    def argument(self, thing: Any, path: Sequence[str], value: object) -> Markup:
        """Return a training argument that lies at a path in a part of the report."""
        if isinstance(value, str | bool):
            return self.words.literal(value)
        return self.tools.derived(thing, path, "rate" if path[-1] == "learning_rate" else "plain")

    def changes(self, variant: VariantReport) -> Markup | None:
        """Return the training arguments that a variant changes."""
        shown = []
        for key in variant.changed:
            value = self.words.literal(getattr(variant.training, key))
            if key == "learning_rate":
                value = self.tools.derived(variant, ["training", key], "rate")
            shown.append(Markup(f"{inline_code(key)} = {value}"))
        return self.listed(shown) if shown else None

    def truth(self, label: int) -> str:
        """Return the name of a label."""
        return self.words.class_name(label)

    def state(self, run: RunReport) -> Markup:
        """Return the state of a run, in bold if the run has a fault."""
        if run.completed and not run.stale:
            return as_markup(self.words.state(run.state))
        return _bold(self.words.state("stale" if run.completed else run.state))


def _bold(text: str) -> Markup:
    return Markup(f"**{as_markup(text)}**")
