"""Draw one Transformer block of DistilBERT or BERT, and which of its linear modules each adapter touches."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import AdapterReport, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import GREY, MAX_NAMED, ink_on, on_phone, style_of
from adapterbook.figures.words import FigureWords, Labels, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Rows of the picture from the input down; those with a key are linear modules that an adapter may touch.
DISTILBERT = {
    "q_lin": "distilbert.transformer.layer.0.attention.q_lin",
    "k_lin": "distilbert.transformer.layer.0.attention.k_lin",
    "v_lin": "distilbert.transformer.layer.0.attention.v_lin",
    "out_lin": "distilbert.transformer.layer.0.attention.out_lin",
    "ffn.lin1": "distilbert.transformer.layer.0.ffn.lin1",
    "ffn.lin2": "distilbert.transformer.layer.0.ffn.lin2",
}
BERT = {
    "query": "bert.encoder.layer.0.attention.self.query",
    "key": "bert.encoder.layer.0.attention.self.key",
    "value": "bert.encoder.layer.0.attention.self.value",
    "attention.output.dense": "bert.encoder.layer.0.attention.output.dense",
    "intermediate.dense": "bert.encoder.layer.0.intermediate.dense",
    "output.dense": "bert.encoder.layer.0.output.dense",
}
Layout = Mapping[str, str]  # names as the picture shows them → whole names; of six modules, in the order of the rows
# A number is the place of a module in a layout, a text the key of a label.
FLOW: tuple[int | str, ...] = (0, 1, 2, "attention", 3, "add_norm", 4, "gelu", 5, "add_norm")

MAX_ON_PHONE = 6  # columns whose letters still fit
LEGEND_LETTERS = 56  # in a line, on a phone
UPRIGHT_NAMES = 5  # adapters beside each other whose names still fit above their columns
# The meanings of the letters in the cells, as keys of labels.
LEGEND = {"r =": "rank", "× l": "vector"}


@dataclass(frozen=True)
class _Column:
    """Describe one adapter: what it does to each module that it touches, in a few letters."""

    name: str
    color: str
    modules: Mapping[str, str]


def find_touched(target_modules: Any, layout: Layout = DISTILBERT) -> frozenset[str]:
    """Return the modules of a block that ``target_modules`` names, by PEFT's own rules.

    Parameters
    ----------
    target_modules : list of str, str or None
        A list of endings, a regular expression for the whole name, or ``all-linear``.

    Examples
    --------
    >>> sorted(find_touched(["q_lin", "lin1"]))
    ['ffn.lin1', 'q_lin']
    >>> sorted(find_touched(["key", "output.dense"], BERT))
    ['attention.output.dense', 'key', 'output.dense']
    """
    if target_modules == "all-linear":
        return frozenset(layout)
    if isinstance(target_modules, str):
        try:
            return frozenset(name for name, path in layout.items() if re.fullmatch(target_modules, path))
        except re.error:
            return frozenset()  # training refused it, with a message
    endings = target_modules or ()
    return frozenset(name for name, path in layout.items() if any(path.endswith(f".{ending}") for ending in endings))


def plan_block(report: Report, words: FigureWords) -> Drawing:
    """Return the block from its input down, and beside it a column an adapter."""
    id, title = "block", words.say("block.title")
    trained = [adapter for adapter in report.adapters.values() if adapter.baseline is None]
    layout = _layout_of([_targets(adapter) for adapter in trained])
    touched = {adapter.id: find_touched(_targets(adapter), layout) for adapter in trained}
    if not any(touched.values()):
        return Drawing(id, title, title, None, reason="other_layout" if touched else "no_runs")

    names = short_names(report, words)
    columns = [
        _Column(
            names[adapter],
            style_of(report, adapter).color,
            {module: _what(report.adapters[adapter], module, layout) for module in layout if module in modules},
        )
        for adapter, modules in touched.items()
    ]
    cells = [what for column in columns for what in column.modules.values()]
    shown = [key for letters, key in LEGEND.items() if any(letters in what for what in cells)]
    legend = [words.say(f"block.{key}") for key in shown]
    labels = words.labels(*(f"block.{step}" for step in FLOW if isinstance(step, str)))
    adapters = words.joined(
        words.say(
            "block.acts", name=names[adapter], modules=words.joined(filter(modules.__contains__, layout), "comma")
        )
        if modules
        else words.say("block.acts_nowhere", name=names[adapter])
        for adapter, modules in touched.items()
    )
    rows = [{"module": module} | {name: module in modules for name, modules in touched.items()} for module in layout]
    alt = words.say("block.alt", title=title, adapters=adapters)
    if len(columns) > MAX_NAMED:  # too many to stand side by side
        height = 1.4 + 0.2 * len(columns)
        return Drawing(id, title, alt, partial(_paint_list, list(layout), columns, legend), height=height, rows=rows)
    paint = partial(_paint, list(layout), columns, legend, labels)
    phone_height = 4.6 if len(columns) <= MAX_ON_PHONE else 0.0
    return Drawing(id, title, alt, paint, height=5.0, phone_height=phone_height, rows=rows)


def _paint_list(modules: Sequence[str], columns: Sequence[_Column], legend: Sequence[str], canvas: Canvas) -> None:
    """Draw a row an adapter and a column a module, for very many adapters."""
    axes = canvas.subplots()
    axes.set_xlim(-0.6, len(modules) - 0.4)
    axes.set_ylim(len(columns) - 0.4, -0.6)
    axes.set_xticks(range(len(modules)), modules, rotation=30, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(columns)), [column.name for column in columns], fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    for row, column in enumerate(columns):
        for place, module in enumerate(modules):
            _paint_cell(axes, place, row, column.color, column.modules.get(module, ""))
    canvas.supxlabel("　".join(legend), fontsize=9, color=GREY)


def _paint(
    modules: Sequence[str], columns: Sequence[_Column], legend: Sequence[str], labels: Labels, canvas: Canvas
) -> None:
    axes, upright, phone = canvas.subplots(), len(columns) <= UPRIGHT_NAMES, on_phone(canvas)
    width = 2.2 if phone else 3.3
    lines = [line for text in legend for line in textwrap.wrap(text, LEGEND_LETTERS)] if phone else ["　".join(legend)]
    axes.set_axis_off()
    axes.set_xlim(-0.2, 1.3 + width + len(columns))
    axes.set_ylim(len(FLOW) + 0.1 + 0.5 * len(lines), -1.1 if upright else -2.0)
    _paint_flow(axes, modules, labels, width, 8.5 if phone else 10)
    for place, column in enumerate(columns):
        center = 1.4 + width + place
        _paint_name(axes, center, column.name, upright=upright, size=8.5 if phone else 10)
        for row, step in enumerate(FLOW):
            if isinstance(step, int):
                _paint_cell(axes, center, row, column.color, column.modules.get(modules[step], ""))
    axes.text(-0.1, len(FLOW) - 0.3, "\n".join(lines), ha="left", va="top", fontsize=8.5 if phone else 9, color=GREY)


def _targets(adapter: AdapterReport) -> Any:
    """Return the target modules as PEFT resolved them in a run, else as the YAML file names them."""
    records = [run.record for group in adapter.groups.values() for run in group.runs if run.record is not None]
    resolved = records[0].adapter.config.get("target_modules") if records else None
    return resolved or adapter.config.settings.get("target_modules")


def _layout_of(targets: Sequence[Any]) -> Layout:
    """Return the layout that the adapters are written for: the one of which they touch more."""
    return max((DISTILBERT, BERT), key=lambda layout: sum(len(find_touched(target, layout)) for target in targets))


def _paint_flow(axes: Axes, modules: Sequence[str], labels: Labels, width: float, size: float) -> None:
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    middle = 0.35 + width / 2
    for row, step in enumerate(FLOW):
        text = modules[step] if isinstance(step, int) else labels[step]
        if isinstance(step, int):
            axes.add_patch(FancyBboxPatch((0.35, row - 0.32), width, 0.64, boxstyle="round,pad=0,rounding_size=0.12",
                                          linewidth=1, facecolor="#eef3f7", edgecolor="#44535f"))  # fmt: skip
        axes.text(middle, row, text, ha="center", va="center", fontsize=size,
                  color="black" if isinstance(step, int) else GREY)  # fmt: skip
    for start in range(2, len(FLOW) - 1):  # q, k and v stand side by side in the model: no arrow between them
        ends = (middle, start + 0.32), (middle, start + 0.68)
        axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=8, color=GREY, linewidth=0.9, shrinkA=0,
                                       shrinkB=0))  # fmt: skip
    axes.plot([0.15, 0.05, 0.05, 0.15], [-0.32, -0.32, 2.32, 2.32], color=GREY, linewidth=1)


def _paint_name(axes: Axes, center: float, name: str, *, upright: bool, size: float) -> None:
    if upright:
        axes.text(center, -0.75, name, ha="center", va="center", fontsize=size)
    else:
        axes.text(center - 0.3, -0.5, name, ha="left", va="bottom", rotation=50, rotation_mode="anchor", fontsize=9)


def _paint_cell(axes: Axes, center: float, row: int, color: str, what: str) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import FancyBboxPatch

    if not what:
        axes.text(center, row, "·", ha="center", va="center", color=GREY, fontsize=11)
        return
    axes.add_patch(FancyBboxPatch((center - 0.42, row - 0.32), 0.84, 0.64, boxstyle="round,pad=0,rounding_size=0.12",
                                  facecolor=color, edgecolor="none"))  # fmt: skip
    axes.text(center, row, what, ha="center", va="center", color=ink_on(to_rgb(color)), fontsize=8.5)


def _what(adapter: AdapterReport, module: str, layout: Layout) -> str:
    """Return what the adapter does to a module, in a few letters: IA³ scales a feed-forward module's input."""
    settings = adapter.config.settings
    if adapter.config.peft_type == "IA3":
        scales_input = module in find_touched(settings.get("feedforward_modules"), layout)
        return "x × l" if scales_input else "y × l"
    if "r" in settings:
        return f"r = {settings['r']}"
    return adapter.config.peft_type[:6]
