"""Test the metrics, the rows of the log, and the progress that the driver reads."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import EvalPrediction

from adapterbook.common.errors import ConfigError, RunError
from adapterbook.config.study import load_study
from adapterbook.training.callbacks import ProgressFile, SaveEpochSnapshots
from adapterbook.training.checkpoints import Snapshot, restore_snapshot
from adapterbook.training.trainer import (
    ClassifierTrainer,
    PreparedRun,
    compute_metrics,
    epoch_results,
    prepare_run,
    training_kwargs,
)
from tests.support.factory import PROJECT, make_record
from tests.support.tiny_classifier import make_tiny_classifier

LOGITS = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.1]])
LABELS = np.array([0, 1, 0, 1, 1])


def test_metrics_by_hand() -> None:
    """Predictions 0 1 1 0 1 for labels 0 1 0 1 1 have three right of five; precision, recall and F1 are 2/3."""
    assert compute_metrics(EvalPrediction(LOGITS, LABELS)) == {"accuracy": 3 / 5, "f1": pytest.approx(2 / 3)}


def test_logits_may_come_in_a_tuple() -> None:
    """Some models return more than logits; the logits come first."""
    alone, tupled = (
        compute_metrics(EvalPrediction(logits, LABELS))  # type: ignore[arg-type]
        for logits in (LOGITS, (LOGITS, LOGITS * 0))
    )
    assert alone == tupled


def test_f1_is_0_where_the_positive_class_is_neither_predicted_nor_there() -> None:
    """A test set of one class gives an F1 of 0 and no warning."""
    metrics = compute_metrics(EvalPrediction(np.array([[1.0, 0.0]] * 3), np.zeros(3, dtype=int)))
    assert metrics == {"accuracy": 1.0, "f1": 0.0}


def test_rows_of_a_log_with_more_evaluations_than_epochs() -> None:
    """With eval_strategy "steps" each evaluation has a row, with the training loss if an epoch ended there."""
    log = [
        {"epoch": 0.5, "loss": 0.75, "learning_rate": 2e-5, "step": 4},
        {"epoch": 0.5, "eval_validation_loss": 0.69, "eval_validation_accuracy": 0.5, "step": 4},
        {"epoch": 1.0, "loss": 0.65, "learning_rate": 1e-5, "step": 8},
        {"epoch": 1.0, "eval_validation_loss": 0.68, "eval_validation_accuracy": 0.6, "step": 8},
        {"epoch": 1.0, "eval_selection_loss": 0.67, "eval_selection_accuracy": 0.7, "step": 8},
        {"epoch": 1.0, "train_runtime": 3.0, "train_loss": 0.7, "step": 8},
    ]
    rows = epoch_results(log)
    assert [(row.epoch, row.validation_loss, row.selection_loss) for row in rows] == [
        (0.5, 0.69, None),
        (1.0, 0.68, 0.67),
    ]
    assert [row.train_loss for row in rows] == [None, pytest.approx(0.7)]


def test_the_study_s_arguments_are_taken_by_transformers(tmp_path: Path) -> None:
    """Every variant of study.yaml gives TrainingArguments with exactly its values."""
    study = load_study(PROJECT.study)
    for variant in study.variants:
        kwargs = training_kwargs(study.training_of(variant))
        arguments = TrainingArguments(output_dir=str(tmp_path), **kwargs).to_dict()  # type: ignore[no-untyped-call]
        assert {key: arguments[key] for key in kwargs} == kwargs


def _progress_file(folder: Path) -> ProgressFile:
    return ProgressFile(cast(PreparedRun, SimpleNamespace(output=folder, snapshot=None)))


def test_progress_is_one_line_a_step_with_the_last_losses(tmp_path: Path) -> None:
    """Each step writes one whole line with the last losses, and the log of a step gets its time."""
    callback, arguments, control = _progress_file(tmp_path), SimpleNamespace(), TrainerControl()
    state = TrainerState(global_step=1, max_steps=4, epoch=0.5)
    callback.on_train_begin(arguments, state, control)  # type: ignore[arg-type]
    callback.on_step_end(arguments, state, control)  # type: ignore[arg-type]
    state.log_history.append({"loss": 0.6, "epoch": 0.5})
    callback.on_log(arguments, state, control)  # type: ignore[arg-type]
    callback.on_step_end(arguments, state, control)  # type: ignore[arg-type]
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text("utf-8").splitlines()]
    first = {"step": 1, "max_steps": 4, "epoch": 0.5}
    assert lines == [first, {**first, "loss": 0.6}]
    assert state.log_history[-1]["seconds"] >= 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 6.79e20])
@pytest.mark.parametrize("name", ["loss", "eval_validation_loss"])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, name: str, value: float) -> None:
    """A loss that is not finite, or too large for a record, makes the run fail, and the record says why."""
    state = TrainerState(global_step=3, log_history=[{name: value}])
    with pytest.raises(
        RunError, match=r"The (validation )?loss is (nan|inf|6.79e\+20) after step 3: training diverged"
    ):
        _progress_file(tmp_path).on_log(SimpleNamespace(), state, TrainerControl())  # type: ignore[arg-type]


def test_a_resumed_run_adds_up_its_cpu_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot holds the CPU seconds before the interruption and those since training went on."""
    stamps = make_record().stamps
    before = Snapshot(stamps=stamps, micro_batches=1, epoch=1, train_time_s=9.0, train_cpu_s=8.0, peak_memory_bytes=1,
                      resumed_after=(), files={})  # fmt: skip
    prepared = SimpleNamespace(output=tmp_path / "run", stamps=stamps, micro_batches=1, snapshot=before, device="cpu")
    callback = SaveEpochSnapshots(prepared)  # type: ignore[arg-type]
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-16"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_text("x")
    clock = iter([100.0, 103.5])
    monkeypatch.setattr("adapterbook.training.callbacks.time.process_time", lambda: next(clock))
    state, arguments = TrainerState(global_step=16, max_steps=24, epoch=2.0), SimpleNamespace(save_only_model=True)
    model = SimpleNamespace(active_peft_config=SimpleNamespace(is_prompt_learning=False), base_model=None)
    callback.on_train_begin(arguments, state, TrainerControl())  # type: ignore[arg-type]
    callback.on_epoch_end(arguments, state, TrainerControl(), model=model)  # type: ignore[arg-type]
    callback.on_save(arguments, state, TrainerControl())  # type: ignore[arg-type]
    snapshot = restore_snapshot(tmp_path / "run", stamps, 1)
    assert snapshot is not None
    assert (snapshot.epoch, snapshot.train_cpu_s) == (2, 8.0 + 3.5)


def test_training_counts_its_cpu_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU seconds of `train` are those that pass within it, and a second call adds its own."""
    clock = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr("adapterbook.training.trainer.time.process_time", lambda: next(clock))
    monkeypatch.setattr(Trainer, "train", lambda self, **kwargs: kwargs["resume_from_checkpoint"])
    trainer = ClassifierTrainer.__new__(ClassifierTrainer)
    trainer.train_cpu_s = 0.0
    result: Any = trainer.train(resume_from_checkpoint="checkpoint-8")
    assert result == "checkpoint-8"
    assert trainer.train_cpu_s == 2.5
    trainer.train(resume_from_checkpoint=None)
    assert trainer.train_cpu_s == 3.5


def test_a_run_that_the_study_has_not_is_named(tmp_path: Path) -> None:
    """A notebook that is opened by hand with a wrong id says which ids exist."""
    with pytest.raises(
        ConfigError, match="no run lora_9/submitted: its adapters are lora_1, lora_2, lora_3, ia3, full"
    ):
        prepare_run("embedded", "lora_9", "submitted", 1, str(tmp_path), root=PROJECT.root)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize(("size", "accumulated"), [(4, 4), (8, 2), (16, 1)])
def test_a_batch_computed_in_parts_has_the_gradient_of_the_whole(
    tmp_path: Path, size: int, accumulated: int, accepts: bool
) -> None:
    """Halves by length and accumulated micro-batches give the loss and the step that PyTorch gives for the batch.

    That holds whether or not the model says that it scales its loss by the number of rows.
    """
    lengths = [(i * 5) % 9 + 2 for i in range(24)]  # the second batch has 8 rows
    rows: Any = [{"input_ids": list(range(1, n + 1)), "labels": n % 2} for n in lengths]
    trained, model = (make_tiny_classifier(dropout=0.0) for _ in range(2))
    trained.accepts_loss_kwargs = accepts  # type: ignore[assignment]
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=size, gradient_accumulation_steps=accumulated, num_train_epochs=1,
        optim="sgd", learning_rate=0.5, lr_scheduler_type="constant", max_grad_norm=0, logging_steps=1, use_cpu=True,
        report_to="none", disable_tqdm=True, save_strategy="no", train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer = ClassifierTrainer(model=trained, args=arguments, train_dataset=rows, data_collator=_pad)
    trainer.train()
    losses = []
    for batch in (rows[:16], rows[16:]):
        loss = model(**_pad(batch)).loss
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for weights in model.parameters():
                weights.sub_(weights.grad, alpha=0.5)  # type: ignore[arg-type]
                weights.grad = None
    assert [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] == pytest.approx(losses, rel=1e-5)
    for found, expected in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def _pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


@pytest.mark.parametrize("method", ["LORA", "ADALORA"])
def test_losses_of_evaluation_are_the_cross_entropy_alone(tmp_path: Path, method: str) -> None:
    """LoRA's loss equals the Trainer's bit for bit; AdaLoRA's lacks the term that training adds."""
    base = make_tiny_classifier()
    settings: dict[str, Any] = {"total_step": 4, "tinit": 1, "tfinal": 1} if method == "ADALORA" else {}
    kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[method]]
    model = get_peft_model(base, kind(task_type="SEQ_CLS", target_modules=["q_lin"], **settings))
    rows = [{"input_ids": [i, i + 1, i + 2], "attention_mask": [1, 1, 1], "labels": i % 2} for i in range(12)]
    arguments = TrainingArguments(
        str(tmp_path),
        per_device_eval_batch_size=5,
        report_to="none",
        disable_tqdm=True,
        label_names=["labels"],
        use_cpu=True,
    )
    losses = {}
    for trainer_class in (Trainer, ClassifierTrainer):
        trainer = trainer_class(model=model, args=arguments, eval_dataset=rows, compute_metrics=compute_metrics)
        prediction = trainer.predict(rows)  # type: ignore[arg-type]
        assert prediction.metrics is not None
        losses[trainer_class] = prediction.metrics["test_loss"]
    logits = torch.from_numpy(prediction.predictions).double()
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([row["labels"] for row in rows]))
    assert losses[ClassifierTrainer] == pytest.approx(expected.item(), abs=1e-6)
    assert (losses[Trainer] == losses[ClassifierTrainer]) is (method == "LORA")
