"""List the columns of the report's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import Learned
from adapterbook.pages.tables.cells import NBSP, Cells, Column, Row
from adapterbook.pages.writing.escape import inline_code

Cell = Callable[[Any, Any], str | None]


def over_seeds(of_run: str, of_group: str, kind: str) -> Cell:
    """Return the cell of a group's number: the record's own, or the mean over seeds."""
    return lambda cells, group: cells.over_seeds(group, of_run, of_group, kind) if group.n_completed else None


def first_seed(field: str, kind: str) -> Cell:
    """Return the cell of a group's number that its first seed's record holds."""
    return lambda cells, group: (
        cells.value(Row(group.representative, in_record=True), field, kind) if group.n_completed else None
    )


def curve_columns(suffix: str, *kept: Cell) -> tuple[Column, ...]:
    """Return the columns of a curve; its means lie one step deeper than a record's own numbers, and keep no epoch."""
    return (
        Column("epoch", "plain"),
        Column("train_loss", "loss", f"train_loss{suffix}"),
        Column("validation_loss", "loss", f"validation_loss{suffix}"),
        Column("validation_accuracy", "percent", f"validation_accuracy{suffix}"),
        *(Column("kept", cell=cell, align="l") for cell in kept),
    )


def direction_columns(row_of: Callable[[Any], Row]) -> tuple[Column, ...]:
    """Return the columns of ``Directions``; ``row_of`` gives the row that holds them."""

    def column(key: str) -> Column:
        return Column(key, cell=lambda cells, thing: cells.value(row_of(thing), key, "norm"))

    return tuple(column(key) for key in ("stable_rank", "n_for_90", "n_for_99"))


TIME: Final = Column("train_time_s", cell=over_seeds("train_time_s", "train_time_s.mean", "duration"))
ADAPTER_OF_GROUP: Final = Column("adapter", cell=lambda cells, group: cells.words.name(group.adapter), align="l")
ADAPTER: Final = Column("adapter", cell=Cells.adapter_link, align="l")
MARKED_ACCURACY: Final = Column("test_accuracy", cell=Cells.marked_accuracy)

ADAPTERS: Final = (
    ADAPTER,
    Column("configuration", cell=Cells.configuration, align="l"),
    Column("n_adapter_params", "count"),
    Column("accuracy_submitted", cell=lambda cells, adapter: cells.result_or_reason(adapter.submitted), align="l"),
    Column("accuracy_best", cell=lambda cells, adapter: (
        cells.no_result(adapter.submitted) if adapter.best is None else cells.result(adapter.best)), align="l"),
    Column("train_time_s", cell=lambda cells, adapter: (
        cells.time(adapter.submitted) if adapter.submitted is not None and adapter.submitted.n_completed else None)),
)  # fmt: skip
EXAMPLE: Final = (
    Column("text", cell=lambda cells, example: cells.words.quoted(example.text), align="l"),
    Column("truth", cell=lambda cells, example: cells.truth(example.label), align="l"),
    Column("prediction", cell=lambda cells, example: cells.truth(example.prediction), align="l"),
)
VARIANTS: Final = (
    Column("variant", cell=lambda cells, group: cells.kept_whole(cells.words.variant_title(group.variant)), align="l"),
    Column("test_accuracy_interval", cell=Cells.result_or_reason, align="l"),
    Column("f1", cell=over_seeds("test.f1", "test_f1.mean", "proportion")),
    Column("test_loss", cell=over_seeds("test.loss", "test_loss.mean", "loss")),
    Column("kept_epoch", cell=lambda cells, group: cells.kept_epoch(group)),
    TIME,
    Column("peak_memory_bytes", cell=first_seed("peak_memory_bytes", "bytes")),
)
PUBLISHED: Final = (
    Column("epoch", "plain"),
    Column("published_loss", "loss"),
    Column("rerun_loss", "loss"),
    Column("loss_difference", "signed_loss"),
    Column("published_accuracy", "percent"),
    Column("rerun_accuracy", "percent"),
    Column("accuracy_difference", "points"),
)
EVAL_VIEWS: Final = (
    Column("strategy", cell=lambda cells, view: inline_code(view.strategy), align="l"),
    Column("every", cell=lambda cells, view: cells.value(Row(view), "every", "plain") if view.every else None),
    Column("evaluations", "count", "n_evaluations"),
    Column("kept_epoch", "plain", "best_epoch"),
    Column("validation_loss", "loss", "best_validation_loss"),
    Column("regret", "loss"),
)
TESTED_VIEWS: Final = (
    Column("strategy", cell=Cells.strategy, align="l"),
    Column("evaluations", "count", "n_evaluations"),
    Column("kept_epoch", "plain", "best_epoch"),
    Column("validation_loss", "loss", "best_validation_loss"),
    Column("n_correct", "count"),
    Column("test_accuracy", cell=lambda cells, view: (
        Markup(f"{cells.tools.derived(view, 'test_accuracy', 'percent')} {cells.bracketed(view, 'test_interval')}"))),
    Column("accuracy_regret", "points_unsigned"),
)  # fmt: skip
RULE_COSTS: Final = (
    ADAPTER_OF_GROUP,
    Column("n_runs", "count"),
    Column("last", "percent", "last.mean"),
    Column("by_loss", "percent", "by_loss.mean"),
    Column("by_loss_difference", cell=lambda cells, cost: cells.mean_with_range(cost, "by_loss_difference")),
)
TRAVEL: Final = (
    ADAPTER_OF_GROUP,
    Column("n_points", "count"),
    Column("n_runs", "count"),
    Column("correlation", "correlation"),
    Column("least", cell=lambda cells, found: cells.place_of(found, "least")),
    Column("most", cell=lambda cells, found: cells.place_of(found, "most")),
    Column("best", cell=lambda cells, found: cells.place_of(found, "best")),
    Column("stops", "travel"),
)
PARAMS: Final = (
    ADAPTER,
    Column("n_adapter_params", cell=lambda cells, adapter: (
        cells.no_result(adapter.submitted) if adapter.n_trainable_params is None
        else cells.value(Row(adapter), "n_adapter_params", "count"))),
    Column("n_head_params", "count"),
    Column("n_trainable_params", "count"),
    Column("n_total_params", "count"),
)  # fmt: skip
SETTINGS: Final = (
    ADAPTER,
    Column("r", cell=lambda cells, adapter: cells.setting(adapter, "r")),
    Column("alpha_over_r", cell=lambda cells, adapter: (
        Markup(f"{NBSP}/{NBSP}").join([cells.setting(adapter, "lora_alpha"), cells.setting(adapter, "r")])
        if {"r", "lora_alpha"} <= set(adapter.config.settings) else None)),
    Column("lora_dropout", cell=lambda cells, adapter: cells.setting(adapter, "lora_dropout")),
    Column("target_modules", cell=Cells.modules, align="l"),
    Column("n_adapter_params", "count"),
)  # fmt: skip
STUDY_VARIANTS: Final = (
    Column("variant", cell=lambda cells, variant: inline_code(variant.name), align="l"),
    Column("title", cell=lambda cells, variant: cells.words.text(variant.title), align="l"),
    Column("changes", cell=lambda cells, variant: cells.changes(variant), align="l"),
    Column("adapters", cell=lambda cells, variant: cells.listed(map(cells.words.name, variant.adapters)), align="l"),
)
COSTS: Final = (
    Column("adapter", align="l", cell=lambda cells, row: cells.adapter_link(cells.report.adapters[row.adapter])),
    Column("test_accuracy_interval", align="l", cell=lambda cells, row: (
        cells.result_or_reason(cells.report.group(row.adapter, row.variant)))),
    Column("parameters", cell=lambda cells, row: cells.cost(row, "params", "n_trainable_params", "count")),
    Column("time", cell=Cells.cost_in_time),
    Column("latency", "milliseconds", "latency_s.median"),
    Column("merged_latency", "milliseconds", "merged_latency_s.median"),
    Column("file", "bytes", "adapter_file_bytes"),
)  # fmt: skip
CALIBRATION: Final = (
    Column("adapter", align="l", cell=lambda cells, row: cells.adapter_link(cells.report.adapters[row.adapter])),
    Column("accuracy", "percent", "sureness.accuracy"),
    Column("confidence", "percent"),
    Column("overconfidence", align="l", cell=lambda cells, row: (
        cells.with_interval(row, "overconfidence", "overconfidence_interval", "points"))),
    Column("calibration_error", align="l", cell=lambda cells, row: (
        cells.with_interval(row, "calibration_error", "error_interval", "points_unsigned"))),
    Column("n_sure", "count", "sureness.n_sure"),
    Column("n_sure_right", "count", "sureness.n_sure_right"),
)  # fmt: skip
DIRECTIONS: Final = (
    ADAPTER,
    Column("rank", cell=lambda cells, adapter: cells.setting(adapter, "r")),
    *direction_columns(lambda adapter: Row(adapter.learned, ("directions",))),
)
LEARNED: Final = (
    Column("module", cell=lambda cells, layer: inline_code(layer.module), align="l"),
    Column("update_norm", "norm"),
    Column("weight_norm", "norm"),
    Column("scale_deviation", "norm"),  # only of a method that scales
)
# Tables of one fact a row: its name and its value.
FACTS: Final = (Column("field", align="l"), Column("value", align="l"))
# The numbers of a completed run's record that such a table shows: name, field, format.
RECORD_FACTS: Final = (
    ("test_accuracy", "test.accuracy", "percent"),
    ("f1", "test.f1", "proportion"),
    ("test_loss", "test.loss", "loss"),
    ("kept_epoch", "best.epoch", "plain"),
    ("n_trainable_params", "n_trainable_params", "count"),
    ("train_time_s", "train_time_s", "duration"),
    ("peak_memory_bytes", "peak_memory_bytes", "bytes"),
    ("adapter_file_bytes", "adapter_file_bytes", "bytes"),
)


def directions_of(learned: Learned | None) -> tuple[Column, ...]:
    """Return the columns that say how many directions each layer's update uses, none where no record says it."""
    if learned is None or all(module.directions is None for module in learned.modules):
        return ()
    places = {module.module: i for i, module in enumerate(learned.modules)}
    return direction_columns(lambda layer: Row(learned, ("modules", places[layer.module], "directions")))
