"""One Transformer block of DistilBERT, and which of its linear modules each adapter touches."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from adapterbook.analysis.report import AdapterReport, Report
from adapterbook.figures.figure import Language
from adapterbook.figures.style import GREY, Drawing, adapter_style, both, short_names

__all__ = ["find_touched", "plan_block"]

# Rows of the picture from the input down; those with a key are linear modules that an adapter may touch.
MODULES = {
    "q_lin": "distilbert.transformer.layer.0.attention.q_lin",
    "k_lin": "distilbert.transformer.layer.0.attention.k_lin",
    "v_lin": "distilbert.transformer.layer.0.attention.v_lin",
    "out_lin": "distilbert.transformer.layer.0.attention.out_lin",
    "ffn.lin1": "distilbert.transformer.layer.0.ffn.lin1",
    "ffn.lin2": "distilbert.transformer.layer.0.ffn.lin2",
}
FLOW: tuple[tuple[str, str, str], ...] = (
    ("q_lin", "", ""),
    ("k_lin", "", ""),
    ("v_lin", "", ""),
    ("", "softmax(QKᵀ/√d) V", "softmax(QKᵀ/√d) V"),
    ("out_lin", "", ""),
    ("", "殘差相加、LayerNorm", "add, LayerNorm"),
    ("ffn.lin1", "", ""),
    ("", "GELU", "GELU"),
    ("ffn.lin2", "", ""),
    ("", "殘差相加、LayerNorm", "add, LayerNorm"),
)


def find_touched(target_modules: Any) -> frozenset[str]:
    """Return the modules of a block that ``target_modules`` names, by PEFT's own rules.

    Parameters
    ----------
    target_modules : list of str, str or None
        A list of endings, a regular expression for the whole name, or ``all-linear``.

    Examples
    --------
    >>> sorted(find_touched(["q_lin", "lin1"]))
    ['ffn.lin1', 'q_lin']
    """
    if target_modules == "all-linear":
        return frozenset(MODULES)
    if isinstance(target_modules, str):
        try:
            return frozenset(name for name, path in MODULES.items() if re.fullmatch(target_modules, path))
        except re.error:
            return frozenset()  # training refused it with a message of its own
    endings = target_modules or ()
    return frozenset(name for name, path in MODULES.items() if any(path.endswith(f".{ending}") for ending in endings))


def plan_block(report: Report) -> Drawing:
    """Return the block from its input down, and beside it a column an adapter."""
    id, title = "block", both("Transformer 層與各轉接器更新的位置", "A Transformer block and where each adapter acts")
    touched = {adapter.id: find_touched(_targets(adapter)) for adapter in report.adapters.values()}
    if not any(touched.values()):
        return Drawing(id, title, title, None, reason="other_layout" if touched else "no_runs")

    def paint(canvas: Canvas, language: Language) -> None:
        axes = canvas.subplots()
        axes.set_axis_off()
        axes.set_xlim(-0.2, 4.6 + len(touched))
        axes.set_ylim(len(FLOW) - 0.4, -1.1)
        _paint_flow(axes, language)
        names = short_names(report, language)
        for column, (adapter, modules) in enumerate(touched.items()):
            center = 4.7 + column
            axes.text(center, -0.75, names[adapter], ha="center", va="center", fontsize=10)
            for row, (module, _, _) in enumerate(FLOW):
                if module:
                    _paint_cell(axes, center, row, report.adapters[adapter], module in modules)

    zh_names, en_names = short_names(report, "zh"), short_names(report, "en")
    zh = "；".join(
        f"{zh_names[name]} 更新 {_listed(modules, '、') or '其中任何一個都不更新'}" for name, modules in touched.items()
    )
    en = "; ".join(
        f"{en_names[name]} acts on {_listed(modules, ', ') or 'none of them'}" for name, modules in touched.items()
    )
    rows = [{"module": module} | {name: module in modules for name, modules in touched.items()} for module in MODULES]
    return Drawing(id, title, both(f"{title.zh}。{zh}。", f"{title.en}. {en}."), paint, height=4.6, rows=rows)


def _targets(adapter: AdapterReport) -> Any:
    """Return the target modules as PEFT resolved them in a run, else as the YAML file names them."""
    records = [run.record for group in adapter.groups.values() for run in group.runs if run.record is not None]
    resolved = records[0].adapter.config.get("target_modules") if records else None
    return resolved or adapter.config.settings.get("target_modules")


def _listed(modules: frozenset[str], comma: str) -> str:
    return comma.join(name for name in MODULES if name in modules)


def _paint_flow(axes: Axes, language: Language) -> None:
    for row, (module, zh, en) in enumerate(FLOW):
        text = module or (zh if language == "zh" else en)
        look = (
            {"facecolor": "#eef3f7", "edgecolor": "#44535f"} if module else {"facecolor": "none", "edgecolor": "none"}
        )
        axes.add_patch(FancyBboxPatch((0.35, row - 0.32), 3.3, 0.64, boxstyle="round,pad=0,rounding_size=0.12",
                                      linewidth=1, **look))  # fmt: skip
        axes.text(2.0, row, text, ha="center", va="center", fontsize=10, color="black" if module else GREY)
    for start in range(2, len(FLOW) - 1):  # q, k and v stand side by side in the model: no arrow between them
        axes.add_patch(FancyArrowPatch((2.0, start + 0.32), (2.0, start + 0.68), arrowstyle="-|>", mutation_scale=8,
                                       color=GREY, linewidth=0.9, shrinkA=0, shrinkB=0))  # fmt: skip
    axes.plot([0.15, 0.05, 0.05, 0.15], [-0.32, -0.32, 2.32, 2.32], color=GREY, linewidth=1)


def _paint_cell(axes: Axes, center: float, row: int, adapter: AdapterReport, touched: bool) -> None:
    if not touched:
        axes.text(center, row, "·", ha="center", va="center", color=GREY, fontsize=11)
        return
    style = adapter_style(adapter.id)
    axes.add_patch(FancyBboxPatch((center - 0.42, row - 0.32), 0.84, 0.64, boxstyle="round,pad=0,rounding_size=0.12",
                                  facecolor=style.color, edgecolor="none", alpha=0.9))  # fmt: skip
    axes.text(center, row, _what(adapter), ha="center", va="center", color="white", fontsize=9)


def _what(adapter: AdapterReport) -> str:
    """Return what the adapter does to a module, in a few letters."""
    settings = adapter.config.settings
    if adapter.config.peft_type == "IA3":
        return "× l"
    if "r" in settings:
        return f"r = {settings['r']}"
    return adapter.config.peft_type[:6]
