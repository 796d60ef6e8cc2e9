"""Try a study's runs out before the first one starts: one step on two real rows, saved and loaded again.

What would fail in every run fails here, once. Two rows are enough, because the longest is one of them, and since the
other is padded, they also show whether a prediction depends on the rows beside it.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState
from datasets import Dataset, DatasetDict
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from adapterbook.common.errors import AdapterBookError, ConfigError, SourceError, first_line
from adapterbook.runs.plan import Run
from adapterbook.training.data import label_names
from adapterbook.training.kernel_state import ignore_launchers, silence_transformers
from adapterbook.training.model import MISFITS, freeze_adapter, load_base_model, make_peft_config, without_warnings
from adapterbook.training.peft_needs import AllocateRanks, check_loss, count_steps, initialise_from_data
from adapterbook.training.reloading import check_saved, predict
from adapterbook.training.strategies import splits_to_evaluate
from adapterbook.training.tokens import load_tokenizer
from adapterbook.training.trainer import ClassifierTrainer, compute_metrics, training_kwargs

# What a variant may change without changing how a step is computed.
OF_NO_STEP = {
    "learning_rate", "head_learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size",
    "num_train_epochs", "max_steps", "early_stopping_patience", "early_stopping_threshold",
    "gradient_accumulation_steps", "eval_strategy", "eval_steps", "save_strategy", "save_steps",
    "load_best_model_at_end", "metric_for_best_model",
}  # fmt: skip
# What a trial, on the CPU and of one step, does not take from the study.
OVERRIDDEN: dict[str, Any] = {
    "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "max_steps": 1,
    "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "bf16": False, "fp16": False,
}  # fmt: skip
LED_BY_EVALUATION = ("reduce_lr_on_plateau", "greedy")  # schedules that need an evaluation
PADDING_TOLERANCE = 1e-3  # of a probability


def try_runs(runs: Sequence[Run], base_model: Path, splits: DatasetDict) -> dict[str, PeftConfig]:
    """Try out each adapter, and each variant that trains in another way; return PEFT's config of each run by its id.

    Parameters
    ----------
    base_model : Path
        Folder in Transformers' format.

    Raises
    ------
    SourceError
        If the tokenizer cannot be loaded, or makes no token of a text.
    ConfigError
        Naming the runs that would fail, and at what.
    """
    with _undisturbed():
        tokenizer = load_tokenizer(base_model)
        rows = _choose_rows(splits, tokenizer, base_model.name)
        model = load_base_model(base_model, seed=0, labels=label_names(splits))
        problems: dict[str, list[str]] = {}
        for run in _choose_runs(runs):
            with tempfile.TemporaryDirectory() as folder:
                problem = _try_run(run, copy.deepcopy(model), tokenizer, rows, base_model, Path(folder))
            if problem is not None:
                problems.setdefault(problem, []).append(f"{run.adapter.id}/{run.variant}")
        configs: dict[str, PeftConfig] = {}
        for run in runs:
            try:
                check_loss(run)
                configs[run.id] = make_peft_config(run.adapter, model, count_steps(run))
            except ConfigError as error:
                problems.setdefault(error.problems[0], []).append(f"{run.adapter.id}/{run.variant}")
    if problems:
        listed = [f"{', '.join(dict.fromkeys(names))}: {problem}" for problem, names in problems.items()]
        raise ConfigError("One step of training was tried out on two rows, and failed:", listed)
    return configs


def _choose_runs(runs: Sequence[Run]) -> Iterator[Run]:
    """Yield a run of each adapter, and one of each way in which variants compute a step."""
    adapters, ways = set(), set()
    for run in runs:
        way = json.dumps(run.training.model_dump(exclude=OF_NO_STEP), sort_keys=True, default=str)
        if run.adapter.id not in adapters or way not in ways:
            adapters.add(run.adapter.id)
            ways.add(way)
            yield run


def _choose_rows(splits: DatasetDict, tokenizer: PreTrainedTokenizerBase, name: str) -> Dataset:
    """Return the texts of the most and of the fewest tokens of all splits, with their labels."""
    texts = [text for rows in splits.values() for text in rows["text"]]
    labels = [label for rows in splits.values() for label in rows["label"]]
    n_tokens = [len(ids) for ids in tokenizer(texts, truncation=True, verbose=False)["input_ids"]]
    longest, shortest = n_tokens.index(max(n_tokens)), n_tokens.index(min(n_tokens))
    if not n_tokens[shortest]:
        problem = f"its tokenizer makes no token of {texts[shortest]!r}: leave such rows out of the data set"
        raise SourceError(f"the base model in {name} cannot read a text:", [problem])
    return Dataset.from_dict({"text": [texts[longest], texts[shortest]], "label": [labels[longest], labels[shortest]]})


def _try_run(
    run: Run,
    base_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    folder: Path,
    output: Path,
) -> str | None:
    """Train one step, predict, save, load and predict again; return what failed, or None."""
    stage, texts = "the adapter", list(rows["text"])
    try:
        model = get_peft_model(base_model, make_peft_config(run.adapter, base_model, count_steps(run)))
        if not run.adapter.train_adapter:
            freeze_adapter(model)
        stage = "the training arguments"
        trainer = _make_trainer(run, model, tokenizer, rows, output)
        stage = "optim or lr_scheduler_type"
        trainer.create_optimizer_and_scheduler(num_training_steps=count_steps(run))
        stage = "a step on the longest text"
        initialise_from_data(model, trainer.get_train_dataloader)
        trainer.train()
        stage = "predicting"
        predicted = predict(model.eval(), tokenizer, texts)
        if not np.isfinite(predicted).all():
            return "after one step the predictions are not numbers: training diverges: lower learning_rate"
        alone = np.concatenate([predict(model, tokenizer, [text]) for text in texts])
        difference = float(np.abs(predicted - alone).max())
        if not difference <= PADDING_TOLERANCE:
            return (
                f"a text's prediction depends on the texts beside it: padding changes a probability by {difference:.2g}"
            )
        stage = "saving and loading"
        model.save_pretrained(str(output / "adapter"))
        check_saved(folder, output / "adapter", rows, predicted)
    except AdapterBookError as error:
        return error.problems[0] if error.problems else str(error)
    except MISFITS as error:
        return f"{stage}: {first_line(error)}"
    return None


def _make_trainer(
    run: Run, model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, output: Path
) -> ClassifierTrainer:
    tokens = tokenizer(list(rows["text"]), truncation=True)
    kwargs = training_kwargs(run.training)
    kwargs |= {name: value for name, value in OVERRIDDEN.items() if name in kwargs or name == "max_steps"}
    evaluates = run.training.lr_scheduler_type in LED_BY_EVALUATION
    if evaluates:
        kwargs["eval_strategy"] = "epoch"
    arguments = TrainingArguments(
        str(output), use_cpu=True, report_to="none", disable_tqdm=True, label_names=["labels"], seed=run.seed, **kwargs
    )
    dataset = Dataset.from_dict({**tokens, "labels": list(rows["label"])})
    trainer = ClassifierTrainer(
        model=model,
        args=arguments,
        head_learning_rate=run.training.head_learning_rate,
        train_dataset=dataset,
        eval_dataset=dict.fromkeys(splits_to_evaluate(run.training), dataset) if evaluates else None,
        compute_metrics=compute_metrics,
        processing_class=tokenizer,
        callbacks=[AllocateRanks()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep a trial's warnings off the terminal, and its device and random state from what follows."""
    ignore_launchers()
    with without_warnings(), silence_transformers(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
