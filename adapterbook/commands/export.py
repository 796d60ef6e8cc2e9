"""Write curves, results and settings of all runs in another tool's format: `make export TO=csv|tensorboard`.

pandas writes the tables, TensorBoard its own event files. TensorBoard is not installed by set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adapterbook.analysis.travel import steps_until
from adapterbook.common.errors import AdapterBookError, RecordError
from adapterbook.common.workdir import fresh_folder
from adapterbook.config.paths import Paths
from adapterbook.runs.record import Record
from adapterbook.runs.select import load_report

RUN: Final = ("adapter", "variant", "seed")  # the columns that name a run in every table
RESULTS: Final = (
    "n_trainable_params", "n_adapter_params", "n_head_params", "n_total_params", "train_time_s", "test_time_s",
    "train_samples_per_s", "peak_memory_bytes", "adapter_file_bytes",
)  # fmt: skip
OF_A_CHECKPOINT: Final = ("best", "test", "selection")
CURVES: Final = ("train_loss", "validation_loss", "validation_accuracy", "selection_loss", "selection_accuracy",
                 "learning_rate")  # fmt: skip


def export_runs(root: Path, source: str, seeds: Sequence[int] | None, tool: str) -> tuple[Path, int]:
    """Write the completed runs of a report into ``export-<tool>/``; return that folder and the number of runs.

    Raises
    ------
    AdapterBookError
        If the tool is unknown or not installed.
    RecordError
        If no run is completed. The folder of an earlier export stays as it was.
    """
    if tool not in WRITERS:
        got = f"TO={tool[:200]}" if tool else "nothing"
        raise AdapterBookError(f"TO: expected one of {', '.join(WRITERS)}, got {got}.")
    name, _, _, statuses = load_report(Paths(root), source, seeds)
    found = [status.record for status in statuses if status.record is not None]
    records = [record for record in found if record.status == "completed"]
    if not records:
        raise RecordError(f"No run of {name} is completed, so there is nothing to export: run `make train`.")
    folder = root / f"export-{tool}"
    with fresh_folder(folder) as new:
        WRITERS[tool](records, new)
    return folder, len(records)


def _write_tables(records: Sequence[Record], folder: Path) -> None:
    """Write ``runs.csv``, ``epochs.csv`` and ``steps.csv``: a row a run, a measured moment, a step."""
    import pandas as pd

    runs = [_name(record) | _results(record) | _settings(record) for record in records]
    moments = [_name(record) | point.model_dump() for record in records for point in record.curve]
    steps = [_name(record) | step.model_dump() for record in records for step in record.steps]
    for name, rows in (("runs", runs), ("epochs", moments), ("steps", steps)):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def _name(record: Record) -> dict[str, Any]:
    return dict(zip(RUN, (record.adapter.id, record.variant, record.seed), strict=True))


def _results(record: Record) -> dict[str, Any]:
    """Return the final numbers of a run, by name."""
    results = {name: getattr(record, name) for name in RESULTS}
    for part in OF_A_CHECKPOINT:
        values = getattr(record, part)
        results |= {} if values is None else {f"{part}.{name}": value for name, value in values.model_dump().items()}
    return results


def _settings(record: Record) -> dict[str, Any]:
    """Return the configuration of a run, by name; a list or a mapping is a text."""
    parts = {
        "source": record.source.model_dump(include={"name", "base_model", "dataset"}),
        "data": record.data.model_dump(),
        "training": record.training.model_dump(),
        "adapter": {"peft_type": record.adapter.peft_type, **record.adapter.settings},
    }
    return {
        f"{part}.{name}": value if isinstance(value, bool | int | float | str | None) else str(value)
        for part, values in parts.items()
        for name, value in values.items()
    }


def _write_events(records: Sequence[Record], folder: Path) -> None:
    """Write a folder of TensorBoard events for each run: curves, final numbers, and its configuration as text."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise AdapterBookError(
            "TO=tensorboard: TensorBoard is not installed: `.venv/bin/pip install tensorboard`, or take TO=csv."
        ) from error
    for record in records:
        writer = EventFileWriter(str(folder / record.run_id))
        started_s = record.started_at.timestamp()
        for step, time_s, scalars in _points(record):
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if value is not None]
            writer.add_event(Event(wall_time=started_s + time_s, step=step, summary=Summary(value=values)))
        lines = [f"| {name} | {value} |" for name, value in _settings(record).items()]
        text = "\n".join(("| setting | value |", "| --- | --- |", *lines))
        writer.add_event(Event(wall_time=started_s, step=0, summary=text_pb("configuration", text)))
        writer.close()


def _points(record: Record) -> Iterator[tuple[int, float, Mapping[str, float | None]]]:
    """Yield step, seconds since the start, and values by tag: of each optimiser's step, of each moment, of the end."""
    for step in record.steps:
        yield step.step, step.seconds, {"step/loss": step.loss, "step/learning_rate": step.learning_rate}
    n_steps, last_s = (record.steps[-1].step, record.steps[-1].seconds) if record.steps else (0, 0.0)
    n_epochs = record.curve[-1].epoch
    for point in record.curve:
        share = point.epoch / n_epochs if n_epochs else 0.0
        yield (
            steps_until(record, point.epoch),
            share * last_s,
            {f"epoch/{name}": getattr(point, name) for name in CURVES},
        )
    results = {f"final/{name}": value for name, value in _results(record).items() if isinstance(value, int | float)}
    yield n_steps, last_s, results


WRITERS: Final[Mapping[str, Callable[[Sequence[Record], Path], None]]] = {
    "csv": _write_tables,
    "tensorboard": _write_events,
}
