"""Check what the finding says, and that its picture shows every adapter, sorted, with the baselines as lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from adapterbook.figures.answer import MAX_ROWS, plan_answer, state_finding
from adapterbook.figures.style import WIDTH
from tests.support.factory import FIGURE_WORDS, read_report, write_results
from tests.support.probe import write_probe

ONE = {"submitted": {"title": "x"}}


@pytest.mark.parametrize(
    ("accuracy", "zh", "en"),
    [
        ({"lora_1": 0.9, "lora_2": 0.9, "ia3": 0.9, "head_only": 0.6},
         "每個轉接器都顯著優於只訓練分類頭，轉接器彼此的差",
         "every adapter is significantly better than training the head alone; the"),
        ({"lora_1": 0.95, "lora_2": 0.6, "ia3": 0.6, "head_only": 0.6},
         "LoRA 1 顯著優於只訓練分類頭，LoRA 1 顯著優於其他每一個轉接器",
         "LoRA 1 is significantly better than training the head alone; LoRA 1 is significantly better than every"),
        ({"lora_1": 0.9, "lora_2": 0.9, "lora_3": 0.9, "ia3": 0.6, "head_only": 0.6},
         "LoRA 1、LoRA 2、LoRA 3 顯著優於只訓練分類頭",
         "LoRA 1, LoRA 2 and LoRA 3 are significantly better than training the head alone"),
        ({"lora_1": 0.9, "lora_2": 0.9, "ia3": 0.6, "head_only": 0.9},
         "沒有轉接器顯著優於只訓練分類頭，LoRA",
         "no adapter is significantly better than training the head alone; LoRA"),
        ({"lora_1": 0.8}, "LoRA 1 的測試準確率是 80", "LoRA 1 gets 80"),
    ],
)  # fmt: skip
def test_the_finding_follows_the_tests(tmp_path: Path, accuracy: dict[str, float], zh: str, en: str) -> None:
    """It says who is better than the head alone, who is better than whom, and of one adapter the accuracy."""
    levels = {f"{adapter}/submitted": value for adapter, value in accuracy.items()}
    report = read_report(write_results(tmp_path, adapters=tuple(accuracy), variants=ONE, accuracy=levels))
    assert zh in state_finding(report, FIGURE_WORDS["zh"]).replace("\u00a0", " ")
    assert en in state_finding(report, FIGURE_WORDS["en"]).replace("\u00a0", " ")
    assert len(accuracy) == 1 or "trained models" in state_finding(report, FIGURE_WORDS["en"])


def test_every_adapter_is_a_row_and_each_baseline_a_line(tmp_path: Path) -> None:
    """Rows fall from the highest accuracy, each with its interval; the table behind the figure has the same order."""
    levels = {"lora_1/submitted": 0.7, "ia3/submitted": 0.9, "head_only/submitted": 0.6}
    paths = write_results(tmp_path, adapters=("lora_1", "ia3", "head_only"), variants=ONE, accuracy=levels)
    write_probe(paths, accuracy=0.75)
    drawing = plan_answer(read_report(paths), FIGURE_WORDS["en"])
    assert [row["adapter"] for row in drawing.rows] == ["ia3", "lora_1", "head_only"]
    axes = _painted(drawing).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["IA³", "LoRA 1", "Head only"]
    drawn = [np.asarray(line.get_xdata(), dtype=float).tolist() for line in axes.get_lines()]
    assert all([row["interval_low"], row["interval_high"]] in drawn for row in drawing.rows)
    assert [0.75, 0.75] in drawn and "Linear probe 75.0%" in {text.get_text() for text in axes.texts}
    assert f"{drawing.rows[0]['test_accuracy']:.1%}" in drawing.alt


def test_a_picture_of_very_many_adapters_shows_the_best(tmp_path: Path) -> None:
    """The first screen has room for a few rows: the best adapters and every baseline; the rest are counted."""
    adapters = (*(f"lora_{n}" for n in range(1, MAX_ROWS + 4)), "head_only")
    report = read_report(write_results(tmp_path, adapters=adapters, variants=ONE))
    drawing = plan_answer(report, FIGURE_WORDS["en"])
    assert len(drawing.rows) == len(adapters)
    axes = _painted(drawing).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == MAX_ROWS and "Head only" in names
    assert "4 more adapters: see “Comparison”" in {text.get_text() for text in axes.texts}


def _painted(drawing: Any) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, drawing.height), layout="constrained")
    FigureCanvasAgg(canvas)
    drawing.paint(canvas)
    return canvas
