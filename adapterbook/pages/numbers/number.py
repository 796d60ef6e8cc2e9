"""Write a number with its origin, a field of a record or of the report, and let templates name numbers shortly.

The value is looked up by the same name that is written beside it, so a page cannot show one number and name another.
:mod:`.record_link` says where its link leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import total_ordering
from typing import Any, Final

from markupsafe import Markup
from pydantic import BaseModel

from adapterbook.analysis.shapes import (
    Ablation,
    AdapterReport,
    Baseline,
    Calibration,
    Comparison,
    CostRow,
    CostTable,
    EpochsReport,
    EvalView,
    Group,
    Learned,
    Lever,
    LiveReport,
    ParameterFormula,
    ProbeReport,
    PublishedPoint,
    PublishedReport,
    PublishedRun,
    Report,
    RuleCost,
    RunReport,
    SentenceTable,
    SharedCurve,
    StrategyFinding,
    Sureness,
    TravelFinding,
    TravelReport,
    VariantReport,
    Verdict,
)
from adapterbook.common.formatting import Language, format_number
from adapterbook.pages.writing.escape import escape_attribute

# A dotted path, or its parts, because a template cannot put a text together.
FieldPath = str | Sequence[str | int]


def look_up(thing: object, path: FieldPath) -> Any:
    """Return the value at a dotted path, given whole or in parts; parts are attributes, keys or positions.

    Raises
    ------
    LookupError
        If there is nothing at the path.

    Examples
    --------
    >>> look_up({"epochs": [{"loss": 0.7}]}, "epochs.0.loss")
    0.7
    """
    for part in path.split(".") if isinstance(path, str) else path:
        try:
            if isinstance(thing, Mapping):
                thing = thing[part]
            elif str(part).isdecimal():
                thing = thing[int(part)]  # type: ignore[index]
            else:
                thing = getattr(thing, str(part))
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise LookupError(f"{_dotted(path)}: there is no {part!r} in {type(thing).__name__}") from error
    return thing


def parts_of_path(field: FieldPath) -> list[str]:
    """Return the parts of a path."""
    return field.split(".") if isinstance(field, str) else list(map(str, field))


def number_span(run: RunReport, field: FieldPath, kind: str, language: Language) -> Markup:
    """Return a number of a run's record, as a Span that names run, field and format."""
    path = _dotted(field)
    text = _formatted(look_up(run.record, field), kind, language, f"{run.id}: {path}")
    return _span(text, {"data-run": run.id, "data-field": path, "data-format": kind})


def derived_span(thing: Any, field: FieldPath, kind: str, language: Language) -> Markup:
    """Return a number that the analysis computed, as a Span that names the part of the report, field and format."""
    name = f"{type(thing).__name__}.{_dotted(field)}"
    text = _formatted(look_up(thing, field), kind, language, name)
    origin = {"data-from": name, "data-format": kind}
    of = _identity(thing)
    return _span(text, origin | ({"data-of": of} if of else {}))


def _dotted(field: FieldPath) -> str:
    return field if isinstance(field, str) else ".".join(map(str, field))


def _formatted(value: object, kind: str, language: Language, name: str) -> str:
    try:
        return format_number(value, kind, language)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _identity(thing: object) -> str:
    """Return the names that distinguish a part of the report from others of its kind."""
    match thing:
        case Verdict():
            return f"{thing.a}/{thing.variant_a} {thing.b}/{thing.variant_b}"
        case Group() | CostRow() | Calibration() | Sureness():
            return f"{thing.adapter}/{thing.variant}"
        case AdapterReport() | RunReport():
            return thing.id
        case TravelFinding() | RuleCost():
            return thing.adapter
        case Lever():
            return f"{thing.adapter}/{thing.factor}"
        case SharedCurve():
            return f"{thing.a} {thing.b}"
        case _:
            return ""


def _span(text: str, attributes: Mapping[str, str]) -> Markup:
    written = " ".join(f'{name}="{escape_attribute(value)}"' for name, value in attributes.items())
    # Of a number's characters only "<" (of a small p-value) is markup.
    return Markup(f"[{text.replace('<', '&#60;')}]{{.n {written}}}")


# A number's origin names one of these parts of the report, and the path from there.
ORIGINS: Final = (
    Ablation, AdapterReport, Baseline, Calibration, Comparison, CostRow, CostTable, EpochsReport, EvalView, Group,
    Learned, Lever, LiveReport, ParameterFormula, ProbeReport, PublishedPoint, PublishedReport, PublishedRun, Report,
    RuleCost, RunReport, SentenceTable, SharedCurve, StrategyFinding, Sureness, TravelFinding, TravelReport,
    VariantReport, Verdict,
)  # fmt: skip

# The format of a number by its name; of several names on the way the last that stands here counts.
KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("accuracy", "accuracy_a", "accuracy_b", "test_accuracy", "test_interval", "validation_accuracy",
                     "validation_interval", "discordant_share", "probability", "probabilities",
                     "mean_relative_update", "relative_update", "validation_majority", "expected",
                     "measured", "last", "by_loss", "confidence", "confidences", "sure_from",
                     "sure_wrong_loss_share", "equal_share"), "percent"),
    **dict.fromkeys(("difference", "interval", "accuracy_difference", "by_loss_difference",
                     "overconfidence", "overconfidence_interval"), "points"),
    **dict.fromkeys(("smallest_detectable", "max_accuracy_difference", "spread", "accuracy_range", "accuracy_regret",
                     "calibration_error", "error_interval"), "points_unsigned"),
    **dict.fromkeys(("mean_difference", "max_difference"), "points_fine"),
    **dict.fromkeys(("best_validation_loss", "final_validation_loss", "validation_loss", "train_loss", "test_loss",
                     "loss", "regret", "max_loss_difference", "noise", "largest_gap", "value"), "loss_short"),
    **dict.fromkeys(("mean_loss_difference", "loss_difference"), "signed_loss"),
    **dict.fromkeys(("mean_scale_deviation", "scale_deviation", "update_norm", "weight_norm",
                     "largest_difference", "stable_rank", "n_for_90", "n_for_99"), "norm"),
    **dict.fromkeys(("ratio", "travel_ratio", "update_ratio", "exponent", "size_ratios"), "times"),
    **dict.fromkeys(("n_rows", "n_seeds", "n_seeds_a", "n_seeds_b", "n_right_a", "n_right_b", "n_tested", "n_points",
                     "n_without", "n_same_head", "n_groups",
                     "n_overfitting", "n_still_improving", "n_evaluations", "n_epochs",
                     "n_train", "n_validation", "n_selection", "n_test", "n_divided", "n_wrong_by_all",
                     "n_validation_rows", "max_added", "max_tokens", "n_truncated",
                     "n_trainable_params", "n_adapter_params", "n_head_params", "n_total_params", "n_params_each",
                     "n_params", "n_answers", "n_sure", "n_sure_right", "n_sure_wrong",
                     "n_layers", "n_classes", "measured_adapter_params", "width", "d_in", "d_out",
                     "max_words", "tokenise_batch_size", "gradient_accumulation_steps", "n_steps",
                     "n", "n_right", "n_correct", "n_by_label", "n_with", "counts", "n_runs", "n_one_answer",
                     "n_printed_params", "n_redundant", "fewest", "most", "forwards", "n_equal"), "count"),
    **dict.fromkeys(("num_train_epochs", "per_device_train_batch_size", "batch_size", "best_epoch",
                     "onset_epoch", "epoch", "every", "cell",
                     "resumed_after", "layer", "r", "lora_alpha", "lora_dropout", "shuffle_seed", "seed", "seeds",
                     "row_id", "reach", "reference_epoch"), "plain"),
    **dict.fromkeys(("train_time_s", "evaluation_time_s", "time_s"), "duration"),
    **dict.fromkeys(("latency_s", "merged_latency_s"), "milliseconds"),
    **dict.fromkeys(("level", "power"), "percent_short"),
    "margin": "points_short",
    **dict.fromkeys(("travel", "kept_travel", "stops"), "travel"),
    **dict.fromkeys(("correlation", "same_head_correlation"), "correlation"),
    **dict.fromkeys(("f1",), "proportion"),
    **dict.fromkeys(("learning_rate", "head_learning_rate", "same_head_rate"), "rate"),
}  # fmt: skip


@total_ordering
@dataclass(frozen=True, eq=False, repr=False)
class Number:
    """Hold a number of the report with its origin: the part of the report, and the path from there."""

    value: float
    origin: Any
    path: tuple[str | int, ...]

    @property
    def kind(self) -> str:
        """Return the format that belongs to its name.

        Raises
        ------
        LookupError
            If no name on the way has a format.
        """
        names = [self.origin.factor] if isinstance(self.origin, Ablation) and self.path[0] == "values" else self.path
        for name in reversed(names):
            if name in KINDS:
                return KINDS[str(name)]
        raise LookupError(
            f"{self!r}: no format is known for a number of this "
            'name; name one, as in {{ … | as("count") }}, or add the name to KINDS in pages/numbers/number.py'
        )

    def __repr__(self) -> str:
        return _name_of_way(self.origin, self.path)

    def __html__(self) -> str:
        raise TypeError("a number is written by {{ … }} or {{ … | as(…) }}, with its origin")

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == plain(other))

    def __lt__(self, other: object) -> bool:
        return bool(self.value < plain(other))

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Hold an object between an origin and its numbers, such as an interval; Python code sees its own attributes."""

    value: Any
    origin: Any
    path: tuple[str | int, ...]

    def __repr__(self) -> str:
        return _name_of_way(self.origin, self.path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.value, Mapping):
            return iter(self.value)
        return (_with_way(item, self.origin, (*self.path, index)) for index, item in enumerate(self.value))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __contains__(self, item: object) -> bool:
        return plain(item) in self.value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == plain(other))

    def __hash__(self) -> int:
        return hash(self.value)


def plain(value: Any) -> Any:
    """Return the value of a number or a part of the report, without its path."""
    return value.value if isinstance(value, Number | Part) else value


def follow(thing: object, name: Any, value: Any) -> Any:
    """Return an attribute or item of an object, with its path if the object is a part of the report."""
    if isinstance(thing, Part):
        return _with_way(value, thing.origin, (*thing.path, plain(name)))
    return _with_way(value, thing, (plain(name),)) if isinstance(thing, ORIGINS) else value


def _with_way(value: Any, origin: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(value, origin, path)
    if isinstance(value, (*ORIGINS, type)):
        return value
    if isinstance(value, Mapping | tuple | list):
        items = value.values() if isinstance(value, Mapping) else value
        return value if all(map(_needs_no_way, items)) else Part(value, origin, path)
    return Part(value, origin, path) if is_dataclass(value) or isinstance(value, BaseModel) else value


def _name_of_way(origin: object, path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, (type(origin).__name__, *path)))


def _needs_no_way(value: object) -> bool:
    return value is None or isinstance(value, (str, bool, *ORIGINS))


def pick(things: Part | Mapping[Any, Any], keys: Sequence[Any]) -> list[Any]:
    """Return the items of a mapping with these keys, each with its path."""
    values = plain(things)
    return [follow(things, key, values[key]) for key in keys]
