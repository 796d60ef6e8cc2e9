"""Test that a study may set training arguments under Transformers' own names, and learns why it may not set others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import TrainerControl, TrainerState, TrainingArguments

from adapterbook.common.yaml_files import describe_problems
from adapterbook.config.arguments import REFUSED
from adapterbook.config.study import TrainingConfig
from adapterbook.training.callbacks import StopEarly
from adapterbook.training.strategies import Strategy
from adapterbook.training.trainer import epoch_results, training_kwargs

BASE: dict[str, Any] = {
    "learning_rate": 1e-3, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 16, "num_train_epochs": 3,
}  # fmt: skip
# Names of Transformers 4, of its callback of early stopping, and ours.
OTHERS = {
    "warmup_ratio",
    "group_by_length",
    "early_stopping_patience",
    "early_stopping_threshold",
    "head_learning_rate",
}


def test_every_argument_of_transformers_is_taken_or_refused_with_a_reason() -> None:
    """No argument of the installed Transformers is simply unknown, and none is both."""
    names = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    assert names == (set(TrainingConfig.model_fields) - OTHERS) | set(REFUSED)
    assert not set(TrainingConfig.model_fields) & set(REFUSED)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("output_dir", "output_dir: not taken: a run's folder and its log are fixed"),
        ("logging_steps", "logging_steps: not taken: a run's folder"),
        ("push_to_hub", "push_to_hub: not taken: adapters are uploaded by `make push-adapters`"),
        ("loging_steps", "loging_steps: unknown key, and logging_steps is not taken"),
        ("max_step", "max_step: unknown key (did you mean max_steps?)"),
        ("patience", "patience: unknown key; known keys are learning_rate, "),
    ],
)
def test_a_refused_or_mistyped_argument_is_explained(key: str, problem: str) -> None:
    """A refused argument has its reason; a suggestion is the same word mistyped, never another concept."""
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate(BASE | {key: 1})
    (line,) = describe_problems(TrainingConfig, caught.value)
    assert line.startswith(problem)


def test_arguments_reach_transformers_under_todays_names(tmp_path: Path) -> None:
    """A course's arguments are validated by Transformers itself, and have their effect there."""
    asked = {
        "max_steps": 7, "warmup_ratio": 0.1, "label_smoothing_factor": 0.1, "adam_beta2": 0.98, "group_by_length": True,
        "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}, "num_train_epochs": 0.5,
    }  # fmt: skip
    kwargs = training_kwargs(TrainingConfig.model_validate(BASE | asked))
    made = TrainingArguments(output_dir=str(tmp_path), **kwargs)
    assert (made.max_steps, made.get_warmup_steps(100), made.train_sampling_strategy) == (7, 10, "group_by_length")
    assert (made.label_smoothing_factor, made.adam_beta2, made.num_train_epochs) == (0.1, 0.98, 0.5)
    assert made.lr_scheduler_kwargs == {"min_lr": 1e-6}
    assert training_kwargs(TrainingConfig.model_validate(BASE)).keys() & asked.keys() == {
        "num_train_epochs", "lr_scheduler_type",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"early_stopping_patience": 2, "load_best_model_at_end": False}, "it needs load_best_model_at_end"),
        ({"early_stopping_threshold": 0.1}, "needs early_stopping_patience"),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, "say the same: keep one"),
        ({"warmup_ratio": 1.5}, "less than 1"),
        ({"num_train_epochs": 0}, "greater than 0"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(changed: dict[str, Any], problem: str) -> None:
    """Arguments that say the same twice, or that need another one, are refused."""
    with pytest.raises(ValidationError, match=problem):
        TrainingConfig.model_validate(BASE | changed)


@pytest.mark.parametrize(
    ("changed", "epochs"),
    [({}, 3.0), ({"max_steps": 12}, 1.5), ({"num_train_epochs": 0.5}, 0.5), ({"gradient_accumulation_steps": 4}, 3.0)],
)
def test_the_length_of_a_training_is_known_beforehand(changed: dict[str, Any], epochs: float) -> None:
    """128 rows in batches of 16 are 8 steps an epoch; steps or a part of an epoch give its share."""
    assert TrainingConfig.model_validate(BASE | changed).count_epochs(128) == epochs


@pytest.mark.parametrize(
    ("losses", "threshold", "stops"),
    [([0.7, 0.6, 0.65, 0.66], 0.0, True), ([0.7, 0.6, 0.65], 0.0, False), ([0.7, 0.69, 0.68], 0.1, True)],
)
def test_training_stops_early_as_transformers_does(losses: list[float], threshold: float, stops: bool) -> None:
    """Two evaluations in a row without a gain above the threshold stop the training, and the log alone tells."""
    training = TrainingConfig.model_validate(
        BASE | {"early_stopping_patience": 2, "early_stopping_threshold": threshold}
    )
    state = TrainerState(log_history=[{"eval_validation_loss": loss} for loss in losses])
    control = TrainerControl()
    StopEarly(training).on_evaluate(TrainingArguments(output_dir="unused"), state, control)
    assert control.should_training_stop is stops


def test_a_part_of_an_epoch_at_the_end_has_its_row() -> None:
    """Where training ends within an epoch, that part has a training loss, and its evaluation is an epoch's."""
    steps = [{"epoch": e, "loss": loss, "learning_rate": 1e-3, "step": i} for i, (e, loss) in
             enumerate([(0.5, 0.8), (1.0, 0.6), (1.5, 0.4)], start=1)]  # fmt: skip
    log = [*steps, {"epoch": 1.5, "eval_validation_loss": 0.5, "eval_validation_accuracy": 0.9, "step": 3}]
    rows = epoch_results(log)
    assert [(row.epoch, row.train_loss, row.validation_loss) for row in rows] == [(1.0, 0.7, None), (1.5, 0.4, 0.5)]
    assert Strategy("epoch", "validation_loss").choose(log, max_steps=3) is log[-1]
    assert Strategy("epoch", "validation_loss").choose(log) is None
