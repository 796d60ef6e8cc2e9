"""Test that a step is the same in however many parts its batch is computed, for every supported family."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, TrainingArguments

from adapterbook.config.study import TrainingConfig
from adapterbook.training.kernel_state import ignore_launchers
from adapterbook.training.trainer import ClassifierTrainer, training_kwargs
from tests.support.tiny_models import FAMILIES, make_config

SGD = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
QUICK = ("distilbert", "gpt2")  # their losses are made by different code; the others take one way or the other
PLAIN = {"num_train_epochs": 1, "per_device_eval_batch_size": 16, "eval_strategy": "no", "save_strategy": "no",
         "load_best_model_at_end": False}  # fmt: skip


def _rows(n: int) -> list[dict[str, Any]]:
    """Return rows of different lengths, so that the parts of a batch are padded differently."""
    rows = []
    for i in range(n):
        ids = [0, *(4 + (i * 7 + j) % 10 for j in range(1 + i % 9)), 2]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": i % 3 % 2})
    return rows


def _train(
    model: Any, folder: Path, n_rows: int, size: int, steps: int, micro_batches: int = 1
) -> tuple[list[float], Any]:
    """Train one epoch; return the losses and the weights that were trained."""
    sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
    training = TrainingConfig.model_validate(SGD | PLAIN | sizes)
    arguments = TrainingArguments(
        str(folder), seed=5, use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1,
        logging_strategy="steps", label_names=["labels"], **training_kwargs(training, micro_batches),
    )  # fmt: skip
    trainer = ClassifierTrainer(model=model, args=arguments, train_dataset=_rows(n_rows), data_collator=_pad)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, {name: weights for name, weights in model.named_parameters() if weights.requires_grad}


def _pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    padded = {
        name: [row[name] + [filler] * (width - len(row[name])) for row in rows]
        for name, filler in (("input_ids", 1), ("attention_mask", 0))
    }
    return {name: torch.tensor(column) for name, column in padded.items()} | {
        "labels": torch.tensor([row["labels"] for row in rows])
    }


def _make(family: str, **settings: Any) -> PeftModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(make_config(family, num_labels=2))  # type: ignore[no-untyped-call]
    method: Any = AdaLoraConfig if settings else LoraConfig
    config = method(task_type="SEQ_CLS", target_modules=FAMILIES[family][0], init_lora_weights=False, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPT-2's layers are transposed, which PEFT notices and says
        adapted: PeftModel = get_peft_model(model, config)
    return adapted


def _assert_same(found: Any, expected: Any) -> None:
    losses, weights = expected
    assert found[0] == pytest.approx(losses, rel=1e-5)
    for name, weight in weights.items():
        distance = torch.linalg.norm(found[1][name].double() - weight.double())
        assert distance <= 1e-5 * torch.linalg.norm(weight.double()), name


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_accumulated_batches_are_one_batch(family: str, tmp_path: Path) -> None:
    """One step of SGD without clipping gives the loss and the weights of 16 rows at once: as 8 × 2, 4 × 4, 2 halves."""
    whole = _train(_make(family), tmp_path, 16, 16, 1)
    start = dict(_make(family).named_parameters())
    assert any(not torch.allclose(weights, start[name], rtol=1e-3) for name, weights in whole[1].items())
    for size, steps, micro_batches in ((8, 2, 1), (4, 4, 1), (16, 1, 2)):
        _assert_same(_train(_make(family), tmp_path, 16, size, steps, micro_batches), whole)


@pytest.mark.parametrize("n_rows", [28, 17])
def test_a_last_step_of_unequal_parts_is_the_mean_over_its_rows(n_rows: int, tmp_path: Path) -> None:
    """Twelve rows as 8 + 4, or one row alone, weigh as they do in one batch."""
    whole = _train(_make("distilbert"), tmp_path, n_rows, 16, 1)
    for size, steps in ((8, 2), (4, 4)):
        _assert_same(_train(_make("distilbert"), tmp_path, n_rows, size, steps), whole)


def test_a_term_of_the_method_s_own_counts_once(tmp_path: Path) -> None:
    """AdaLoRA adds its orthogonality to every batch's loss; accumulated, it is the same loss and the same step."""
    whole = _train(_make("distilbert", total_step=10), tmp_path, 16, 16, 1)
    _assert_same(_train(_make("distilbert", total_step=10), tmp_path, 16, 4, 4), whole)


def test_nothing_outside_the_study_changes_how_a_step_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Accelerate's launcher leaves in the environment is ignored, and a second GPU does not double the batch."""
    for name, value in (("ACCELERATE_MIXED_PRECISION", "bf16"), ("WORLD_SIZE", "2"), ("NVIDIA_TF32_OVERRIDE", "1")):
        monkeypatch.setenv(name, value)
    ignore_launchers()
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", per_device_train_batch_size=4)
    arguments._n_gpu = 2
    trainer = ClassifierTrainer(model=_make("distilbert"), args=arguments, train_dataset=_rows(8))
    assert trainer.accelerator.mixed_precision == "no"
    assert trainer.model is not None and trainer._wrap_model(trainer.model) is trainer.model
    assert arguments.train_batch_size == 4


@pytest.mark.parametrize("changes", [{}, {"num_train_epochs": 3}, {"num_train_epochs": 0.5}, {"max_steps": 5}])
@pytest.mark.parametrize(("n_rows", "size", "steps"), [(28, 16, 1), (28, 8, 2), (17, 4, 4)])
def test_steps_are_counted_as_the_trainer_counts_them(
    n_rows: int, size: int, steps: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    """AdaLoRA's total_step is the number of steps that the real Trainer takes."""
    sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
    training = TrainingConfig.model_validate(SGD | PLAIN | sizes | changes)
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **training_kwargs(training))
    trainer = ClassifierTrainer(model=_make("distilbert"), args=arguments, train_dataset=_rows(n_rows))
    counted = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())
    assert training.count_steps(n_rows) == counted[-1]
