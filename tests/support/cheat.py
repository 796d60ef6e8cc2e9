"""Forge a run as a patient cheat would: fit its adapter to the test rows, and make record and seal agree with it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model

from adapterbook.runs.plan import Run
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import Record, load_record, seal_record, write_record
from adapterbook.training.measurements import measure_updates
from adapterbook.training.model import make_peft_config
from adapterbook.verification.re_evaluation import Material, evaluate_adapter
from adapterbook.verification.recomputation import compute_loss_bounds

WEIGHTS = "adapter/adapter_model.safetensors"


def fit_to_test_rows(run: Run, folder: Path, material: Material, n_steps: int) -> None:
    """Replace a stored run by one whose adapter was fitted to the test rows, with a record that says nothing of it."""
    _train_on(material, run, folder, n_steps)
    record = load_record(folder)
    evaluation, _ = evaluate_adapter(run, record, folder, material)
    assert evaluation is not None
    table = load_predictions(folder)
    table["probability"] = evaluation.test[:, 1]
    table["prediction"] = evaluation.test.argmax(axis=1)
    table.to_parquet(folder / "predictions.parquet")
    content = record.model_dump(mode="json")
    labels, guesses = table["label"].to_numpy(int), table["prediction"].to_numpy(int)
    right = int((labels == guesses).sum())
    true_positive = int(((labels == 1) & (guesses == 1)).sum())
    content["test"] |= {
        "accuracy": right / len(table),
        "f1": 2 * true_positive / (2 * true_positive + len(table) - right),
        "loss": compute_loss_bounds(labels, evaluation.test)[0],
    }
    _keep_last(content, np.asarray(material.splits["validation"]["label"]), evaluation.validation)
    content["adapter_file_bytes"] = (folder / WEIGHTS).stat().st_size
    content["train_time_s"] = content["train_time_s"] + 100  # so that another run looks shorter
    content["train_samples_per_s"] = record.data.n_train * record.training.num_train_epochs / content["train_time_s"]
    write_record(seal_record(Record.model_validate(content), folder), folder)


def _train_on(material: Material, run: Run, folder: Path, n_steps: int) -> None:
    rows = material.splits["test"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base_model = material.base_model()
        model = get_peft_model(base_model, make_peft_config(run.adapter, base_model))
        tokens = material.tokenizer(list(rows["text"]), truncation=True, padding=True, return_tensors="pt")
        labels = torch.tensor(rows["label"])
        optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=2e-3)
        for _ in range(n_steps):
            optimiser.zero_grad()
            output = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], labels=labels)
            output.loss.backward()
            optimiser.step()
        model.save_pretrained(str(folder / "adapter"))
        learned = measure_updates(model)
    record = load_record(folder)
    write_record(record.model_copy(update={"learned": learned}), folder)


def _keep_last(content: dict[str, Any], labels: Any, probabilities: Any) -> None:
    """Make the last epoch the kept one, with the validation result that the forged adapter gives."""
    loss = compute_loss_bounds(labels, probabilities)[0]
    for row in content["epochs"]:
        row["validation_loss"] = max(row["validation_loss"], loss + 0.01)
    last = content["epochs"][-1]
    last |= {"validation_loss": loss, "validation_accuracy": float((probabilities.argmax(axis=1) == labels).mean())}
    content["best"] |= {"epoch": last["epoch"], "value": loss}
    content["strategies"][0] |= {"epoch": last["epoch"], "value": loss, "test": content["test"]}
