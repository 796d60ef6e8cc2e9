"""Keep and test the checkpoint that each evaluation strategy chooses, all from one training.

Evaluating does not change training (`ClassifierTrainer` restores the random state), so one run tells what every
strategy that saw a part of its evaluations would have kept, and what that would have scored on the test rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import datasets
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PredictionOutput

from adapterbook.config.study import TrainingConfig

KEPT = "kept"  # beside the Trainer's checkpoints, so that a snapshot of an epoch holds it too


@dataclass(frozen=True)
class Strategy:
    """Describe a way to choose a checkpoint.

    Attributes
    ----------
    eval_strategy : str
        ``no``: the last one; ``epoch``: the best of those at the end of an epoch; ``steps``: the best of all evaluated.
    metric : str or None
        What it chooses by, such as ``validation_loss``; None for ``no``.
    """

    eval_strategy: Literal["no", "epoch", "steps"]
    metric: str | None

    def choose(self, log_history: Sequence[dict[str, Any]], max_steps: int | None = None) -> dict[str, Any] | None:
        """Return the log entry of the best evaluation so far, the first among equals; None if there is none.

        An evaluation after the last of ``max_steps`` is one at the end of an epoch, even if the epoch is not whole.

        Examples
        --------
        >>> log = [{"step": 4, "epoch": 0.5, "eval_validation_loss": 0.6},
        ...        {"step": 8, "epoch": 1.0, "eval_validation_loss": 0.7}]
        >>> Strategy("steps", "validation_loss").choose(log)["epoch"]
        0.5
        >>> Strategy("epoch", "validation_loss").choose(log)["epoch"]
        1.0
        """
        if self.metric is None:
            return None
        key = f"eval_{self.metric}"
        seen = [entry for entry in log_history if key in entry]
        if self.eval_strategy == "epoch":
            seen = [entry for entry in seen if float(entry["epoch"]).is_integer() or entry.get("step") == max_steps]
        sign = 1 if key.endswith("loss") else -1  # as in Transformers: a loss is minimised, all else maximised
        return min(seen, key=lambda entry: sign * entry[key], default=None)


@dataclass(frozen=True)
class Kept:
    """Hold a checkpoint that a strategy kept, and its predictions.

    Attributes
    ----------
    entry : dict
        The log entry of its evaluation; for ``no`` only its ``step`` and ``epoch``.
    test : PredictionOutput
        ``predictions``: logits of the test rows, shape (n, n_labels).
    """

    strategy: Strategy
    entry: dict[str, Any]
    test: PredictionOutput


def metric_name(training: TrainingConfig) -> str:
    """Return the metric that a run chooses by, as the Trainer calls it: ``validation_loss``, ``selection_accuracy``."""
    name = training.metric_for_best_model
    return name if name.startswith("selection_") else f"validation_{name}"


def splits_to_evaluate(training: TrainingConfig) -> tuple[str, ...]:
    """Return the splits that are evaluated during training: validation, and selection if a run chooses by it."""
    return ("validation", "selection") if metric_name(training).startswith("selection_") else ("validation",)


def own_strategy(training: TrainingConfig) -> Strategy:
    """Return the strategy that a run's arguments ask for."""
    if not training.load_best_model_at_end:
        return Strategy("no", None)
    return Strategy(training.eval_strategy, metric_name(training))


def list_strategies(training: TrainingConfig) -> tuple[Strategy, ...]:
    """Return the strategies that can be told from a run: its own first, then coarser ones, and the validation loss."""
    found = [own_strategy(training), Strategy("no", None)]
    for metric in (metric_name(training), "validation_loss"):
        if training.eval_strategy != "no":
            found.append(Strategy("epoch", metric))
        if training.eval_strategy == "steps":
            found.append(Strategy("steps", metric))
    return tuple(dict.fromkeys(found))


class KeepCheckpoints(TrainerCallback):
    """Write the trainable weights of the checkpoint that each strategy would keep.

    A file is replaced and never changed in place, because a snapshot may be linked to the old one.
    """

    def __init__(self, training: TrainingConfig, checkpoints: Path) -> None:
        self._strategies, self._folder = list_strategies(training), checkpoints / KEPT

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the weights for each strategy whose best evaluation is this one."""
        for strategy in self._strategies:
            if strategy.choose(state.log_history, state.max_steps) is state.log_history[-1]:
                self._keep(strategy, kwargs["model"])
        if control.should_training_stop:  # early
            self._keep(Strategy("no", None), kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the weights after the last step."""
        if state.global_step >= state.max_steps:
            self._keep(Strategy("no", None), kwargs["model"])

    def _keep(self, strategy: Strategy, model: torch.nn.Module) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = _file(self._folder, strategy)
        draft = path.with_suffix(".draft")
        save_file({name: weights.detach().cpu().contiguous() for name, weights in _trainable(model)}, draft)
        draft.replace(path)


def compare_strategies(trainer: Trainer, training: TrainingConfig, test: datasets.Dataset) -> list[Kept]:
    """Load the checkpoint that each strategy kept, and predict the test rows with it; the run's own comes first.

    The model holds the weights of the run's own strategy at the end.
    """
    folder, model = Path(str(trainer.args.output_dir)) / KEPT, cast(torch.nn.Module, trainer.model)
    last = {"step": trainer.state.global_step, "epoch": trainer.state.epoch}
    found: list[Kept] = []
    for strategy in list_strategies(training):
        entry = last if strategy.metric is None else strategy.choose(trainer.state.log_history, trainer.state.max_steps)
        if entry is None:  # no evaluation at the end of an epoch
            continue
        same = next((kept.test for kept in found if kept.entry["step"] == entry["step"]), None)
        if same is None:
            load_trainable(model, _file(folder, strategy))
            same = trainer.predict(test, metric_key_prefix="test")
        found.append(Kept(strategy, entry, same))
    load_trainable(model, _file(folder, own_strategy(training)))
    return found


def load_trainable(model: torch.nn.Module, path: Path) -> None:
    """Load the trainable weights of a kept checkpoint into the model that they come from."""
    weights = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights.pop(name))
    if weights:
        raise KeyError(f"{path.name} holds weights that the model lacks: {', '.join(sorted(weights)[:5])}")


def _trainable(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, weights) for name, weights in model.named_parameters() if weights.requires_grad)


def _file(folder: Path, strategy: Strategy) -> Path:
    return folder / f"{strategy.eval_strategy}-{strategy.metric or 'last'}.safetensors"
