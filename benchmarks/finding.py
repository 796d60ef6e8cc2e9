"""Write the finding of a project's records, a row an adapter, for the table of the READMEs: ``--finding``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapterbook.analysis import analyse
from adapterbook.analysis.shapes import AdapterReport, Report
from adapterbook.common.errors import RecordError
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.figures.words import FigureWords, short_names
from adapterbook.runs.select import load_report

HEADS: dict[Language, tuple[str, ...]] = {
    "en": ("fine-tuned by", "its best learning rate", "test accuracy, 95% interval", "adapter parameters"),
    "zh": ("微調方式", "自己的最佳學習率", "測試準確率（95% 區間）", "轉接器參數"),
}
ABOUT: dict[Language, str] = {
    "en": "{n_test:,} test sentences, source `{source}`; the last run ended on {last_run}. A row without adapter "
    "parameters is a baseline.",
    "zh": "測試句子 {n_test:,} 句，來源 `{source}`；最後一次訓練完成於 {last_run}。沒有轉接器參數的是基準。",
}


def compute_finding(root: Path, source: str) -> dict[str, Any]:
    """Return what goes into ``finding.json``: each adapter and baseline at its own best learning rate.

    Raises
    ------
    RecordError
        If one of them has no results.
    """
    paths = Paths(root)
    name, study, adapters, statuses = load_report(paths, source, None)
    report = analyse(statuses, paths, study, adapters, {})
    missing = [adapter.id for adapter in report.adapters.values() if _interval(adapter) is None]
    if missing:
        raise RecordError(f"The finding needs results of every adapter; none of {', '.join(missing)} (source {name}).")
    last = max(run.record.finished_at for run in report.runs if run.record is not None)
    return {
        "source": name,
        "last_run": last.date().isoformat(),
        "n_test": report.n_test_rows,
        "n_seeds": report.n_seeds,
        "rows": _rows(report, paths),
    }


def _rows(report: Report, paths: Paths) -> list[dict[str, Any]]:
    phrases = load_phrases(*paths.template_folders)
    languages: tuple[Language, ...] = ("en", "zh")
    names = {language: short_names(report, FigureWords(phrases, language)) for language in languages}
    rows = []
    for adapter in report.adapters.values():
        best, interval = adapter.best, _interval(adapter)
        assert best is not None and best.test_accuracy is not None and interval is not None
        rows.append(
            {
                "adapter": adapter.id,
                "name": {language: names[language][adapter.id] for language in languages},
                "learning_rate": best.training.learning_rate,
                "test_accuracy": best.test_accuracy.mean,
                "test_interval": [interval.low, interval.high],
                "n_adapter_params": adapter.n_adapter_params if adapter.baseline is None else None,
            }
        )
    return rows


def _interval(adapter: AdapterReport) -> Any:
    return None if adapter.best is None else adapter.best.test_interval


def render_finding(finding: dict[str, Any], language: Language) -> str:
    """Return the READMEs' table, in Markdown; a baseline has no adapter, and so no number of its parameters."""
    lines = ["| " + " | ".join(HEADS[language]) + " |", "| --- | --- | --- | --- |"]
    for row in finding["rows"]:
        low, high = (format_number(value, "percent", language) for value in row["test_interval"])
        accuracy = format_number(row["test_accuracy"], "percent", language)
        span = f"{accuracy} ({low} to {high})" if language == "en" else f"{accuracy}（{low} 至 {high}）"
        params = row["n_adapter_params"]
        cells = (
            row["name"][language],
            format_number(row["learning_rate"], "rate", language),
            span,
            "–" if params is None else format_number(params, "count", language),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", ABOUT[language].format(**finding)]) + "\n"
