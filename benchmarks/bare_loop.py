"""Train the adapters one after the other, in one process, to compare ``make train`` with a plain script.

This is what one writes without AdapterBook: no workers, no kernels, no records. The work is the same as that of
``make train``: the same rows, arguments, seed and calls of the Trainer. Nothing slows it down: rows are read and
tokenised once, torch uses its default number of threads, and only the Trainer's checkpoints are saved. ``measurements``
starts it as a separate process, so that starting Python and importing torch count, as they do for ``make train``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model
from sklearn.metrics import accuracy_score, f1_score
from torch.cuda import is_available
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction

from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import AdapterConfig, StudyConfig, load_adapters, load_study
from adapterbook.training.data import load_splits


def main(project: Path, source: str, base_model: Path, dataset: Path) -> None:
    """Train every adapter of a project as submitted, and print one line of JSON: adapter → its validation losses.

    Parameters
    ----------
    source : str
        Name of a file of ``experiments/sources/``.
    base_model, dataset : Path
        The folders that the source stands for.
    """
    paths = Paths(project)
    study, adapters = load_study(paths.study), load_adapters(paths.experiments / "adapters")
    tokenizer = AutoTokenizer.from_pretrained(base_model)

    def tokenise(rows: Dataset) -> Dataset:
        size = study.data.tokenise_batch_size
        rows = rows.map(
            lambda batch: tokenizer(batch["text"], truncation=True, padding=True), batched=True, batch_size=size
        )
        return rows.rename_column("label", "labels").remove_columns(["row_id", "text"])

    splits = load_splits(dataset, load_source(paths.experiments / "sources" / f"{source}.yaml"), study.data)
    tokens = {name: tokenise(rows) for name, rows in splits.items()}
    losses = {adapter.id: train(adapter, study, base_model, tokenizer, tokens) for adapter in adapters.values()}
    print(json.dumps(losses))


def train(
    adapter: AdapterConfig, study: StudyConfig, base_model: Path, tokenizer: Any, tokens: dict[str, Dataset]
) -> list[float]:
    """Train one adapter, predict the test rows, and return the validation loss of every evaluation."""
    set_seed(study.seeds[0])
    model = AutoModelForSequenceClassification.from_pretrained(base_model, num_labels=2)
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[adapter.peft_type]](**adapter.keywords())
    with tempfile.TemporaryDirectory() as checkpoints:
        arguments = TrainingArguments(
            output_dir=checkpoints,
            seed=study.seeds[0],
            logging_strategy="epoch",
            save_total_limit=1,
            label_names=["labels"],
            report_to="none",
            dataloader_pin_memory=is_available(),
            disable_tqdm=True,
            **study.training_of(study.submitted).model_dump(exclude_none=True),
        )
        trainer = Trainer(
            model=get_peft_model(model, config),
            args=arguments,
            train_dataset=tokens["train"],
            eval_dataset=tokens["validation"],
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
        )
        trainer.train()
        trainer.predict(tokens["test"], metric_key_prefix="test")
    return [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]


def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
    """Return accuracy and F1 from logits of shape (n, 2) and labels of shape (n,)."""
    predictions = np.argmax(evaluation.predictions, axis=-1)
    labels = evaluation.label_ids
    return {"accuracy": accuracy_score(labels, predictions), "f1": f1_score(labels, predictions, zero_division=0.0)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
