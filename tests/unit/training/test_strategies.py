"""Test what each evaluation strategy keeps, with a tiny model and the real Trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import TrainingArguments

from adapterbook.config.study import TrainingConfig
from adapterbook.training.model import head_parameters
from adapterbook.training.strategies import (
    KeepCheckpoints,
    Kept,
    Strategy,
    compare_strategies,
    list_strategies,
    splits_to_evaluate,
)
from adapterbook.training.trainer import ClassifierTrainer, compute_metrics, training_kwargs
from tests.support.tiny_classifier import make_tiny_classifier

BASE = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "num_train_epochs": 3, "learning_rate": 0.05}
STEPS = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
NEVER = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


@dataclass(frozen=True)
class Training:
    """Hold a finished training and what each strategy kept."""

    trainer: ClassifierTrainer
    kept: list[Kept]

    @property
    def losses(self) -> list[float]:
        """Return the loss of each step."""
        return [entry["loss"] for entry in self.trainer.state.log_history if "loss" in entry]


def _rows(n: int, offset: int) -> Dataset:
    return Dataset.from_list(
        [{"input_ids": [(i * 7 + offset) % 29 + 1, i % 5 + 1, 3], "attention_mask": [1, 1, 1], "labels": i % 2}
         for i in range(n)]
    )  # fmt: skip


def _train(folder: Path, **changes: Any) -> Training:
    training = TrainingConfig.model_validate(BASE | changes)
    base = make_tiny_classifier()
    config = LoraConfig(task_type="SEQ_CLS", target_modules=["q_lin"], modules_to_save=["pre_classifier", "classifier"])
    evaluated = {"validation": _rows(8, 11), "selection": _rows(12, 17)}
    arguments = TrainingArguments(
        str(folder), seed=5, logging_strategy="steps", logging_steps=1, save_total_limit=1, report_to="none",
        disable_tqdm=True, label_names=["labels"], use_cpu=True, **training_kwargs(training),
    )  # fmt: skip
    trainer = ClassifierTrainer(
        model=get_peft_model(base, config),
        args=arguments,
        head_learning_rate=training.head_learning_rate,
        train_dataset=_rows(16, 0),
        eval_dataset={name: evaluated[name] for name in splits_to_evaluate(training)},
        compute_metrics=compute_metrics,
        callbacks=[KeepCheckpoints(training, folder)],
    )
    trainer.train()
    return Training(trainer, compare_strategies(trainer, training, _rows(10, 23)))


def test_evaluating_does_not_change_the_training(tmp_path: Path) -> None:
    """Every step's loss is the same, bit for bit, whether evaluated at each step, each epoch, or never."""
    losses = [_train(tmp_path / str(i), **changes).losses for i, changes in enumerate((STEPS, {}, NEVER))]
    assert len(losses[0]) == 12
    assert losses[0] == losses[1] == losses[2]


def test_one_training_tells_what_every_strategy_would_have_kept(tmp_path: Path) -> None:
    """What a finely evaluated run says of coarser strategies is what runs with these strategies keep and score."""
    fine = {kept.strategy: kept for kept in _train(tmp_path / "steps", **STEPS).kept}
    for name, changes in (("epoch", {}), ("no", NEVER)):
        own = _train(tmp_path / name, **changes).kept[0]
        assert own.strategy.eval_strategy == name
        assert fine[own.strategy].entry["step"] == own.entry["step"]
        assert np.array_equal(fine[own.strategy].test.predictions, own.test.predictions)
    assert len({kept.entry["step"] for kept in fine.values()}) > 1


def test_the_model_ends_with_the_weights_of_its_own_strategy(tmp_path: Path) -> None:
    """After all checkpoints were tested, the model predicts what the run's own checkpoint predicted."""
    done = _train(tmp_path, metric_for_best_model="selection_accuracy")
    own = done.kept[0]
    assert own.strategy == Strategy("epoch", "selection_accuracy")
    assert np.array_equal(done.trainer.predict(_rows(10, 23)).predictions, own.test.predictions)
    metrics = done.trainer.predict(_rows(12, 17)).metrics
    assert metrics is not None and metrics["test_accuracy"] == own.entry["eval_selection_accuracy"]


def test_a_kept_checkpoint_is_the_best_of_those_seen() -> None:
    """A loss is minimised and an accuracy maximised, the first of equals counts; only steps sees within an epoch."""
    log: list[dict[str, Any]] = [
        {"epoch": 0.5, "step": 1, "eval_validation_loss": 0.5, "eval_validation_accuracy": 0.6},
        {"epoch": 1.0, "step": 2, "eval_validation_loss": 0.7, "eval_validation_accuracy": 0.8},
        {"epoch": 2.0, "step": 4, "eval_validation_loss": 0.6, "eval_validation_accuracy": 0.8},
        {"epoch": 2.0, "step": 4, "eval_selection_loss": 0.1},
    ]
    chosen = {
        strategy: (entry := strategy.choose(log)) and entry["step"]
        for strategy in (
            Strategy("steps", "validation_loss"),
            Strategy("epoch", "validation_loss"),
            Strategy("epoch", "validation_accuracy"),
            Strategy("epoch", "selection_loss"),
            Strategy("epoch", "selection_accuracy"),
            Strategy("no", None),
        )
    }
    assert list(chosen.values()) == [1, 4, 2, 4, None, None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("epoch", "validation_loss"), ("no", None)]),
        (NEVER, [("no", None)]),
        (STEPS, [("steps", "validation_loss"), ("no", None), ("epoch", "validation_loss")]),
        (
            {"metric_for_best_model": "selection_accuracy"},
            [("epoch", "selection_accuracy"), ("no", None), ("epoch", "validation_loss")],
        ),
    ],
)
def test_the_strategies_of_a_run(changes: dict[str, Any], expected: list[tuple[str, str | None]]) -> None:
    """A run's own strategy is first; the last checkpoint and the lowest validation loss are always told."""
    training = TrainingConfig.model_validate(BASE | changes)
    assert [(one.eval_strategy, one.metric) for one in list_strategies(training)] == expected


def test_adapter_and_head_have_separate_learning_rates(tmp_path: Path) -> None:
    """With a rate for the head, its parameters are in groups of that rate, and all others in groups of the other."""
    trainer = _train(tmp_path, head_learning_rate=0.001, num_train_epochs=1).trainer
    model = trainer.model
    assert isinstance(model, PeftModel)
    heads = {id(parameter) for parameter in head_parameters(model)}
    assert trainer.optimizer is not None
    rates = {
        id(parameter): group["initial_lr"]
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }  # fmt: skip
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {rates[id(parameter)] for parameter in trainable if id(parameter) in heads} == {0.001}
    assert {rates[id(parameter)] for parameter in trainable if id(parameter) not in heads} == {0.05}
    assert len(rates) == len(trainable)


def test_without_a_rate_for_the_head_all_parameters_share_one(tmp_path: Path) -> None:
    """As in the homework: one learning rate for adapter and head."""
    optimizer = _train(tmp_path, num_train_epochs=1).trainer.optimizer
    assert optimizer is not None
    assert {group["initial_lr"] for group in optimizer.param_groups} == {0.05}
