"""Give PEFT's methods what they need besides their settings: every new module, the number of steps, data, calls.

A method that cannot get it is refused, because PEFT would train it as another one: LoRA under the name of EVA, or an
AdaLoRA that never takes a rank away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from peft import PeftModel, initialize_lora_eva_weights
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adapterbook.common.errors import ConfigError
from adapterbook.config.study import AdapterConfig
from adapterbook.runs.plan import Run
from adapterbook.training.head import modules_to_save
from adapterbook.training.peft_settings import config_class_of

MANY_STEPS = 1_000_000
# Values of init_lora_weights that need steps before training which only a script of the user's can take.
UNPREPARED = {
    "corda": "CorDA computes it from data in a script of your own (preprocess_corda)",
    "lora_ga": "LoRA-GA computes it from gradients in a script of your own (preprocess_loraga)",
    "loftq": "LoftQ replaces the base model's weights by rounded ones, over which the saved adapter would be loaded",
}


def complete_keywords(adapter: AdapterConfig, base_model: PreTrainedModel, n_steps: int | None) -> dict[str, Any]:
    """Return an adapter's settings for PEFT, completed by what its file cannot know.

    That is every new module of the base model in ``modules_to_save``, and AdaLoRA's ``total_step``.

    Parameters
    ----------
    n_steps : int or None
        How many steps the run takes; None: the settings are only tried out.

    Raises
    ------
    ConfigError
        If the settings ask for something that cannot be given, or for another number of steps.
    """
    problems = list(need_problems(adapter, n_steps))
    if problems:
        raise ConfigError(f"experiments/adapters/{adapter.id}.yaml does not fit its runs:", problems)
    keywords = adapter.keywords()
    known = {field.name for field in dataclasses.fields(config_class_of(adapter.peft_type))}
    if "total_step" in known:
        keywords.setdefault("total_step", n_steps or MANY_STEPS)
    named = keywords.get("modules_to_save")
    if "modules_to_save" in known and (named is None or isinstance(named, list)):
        completed = modules_to_save(named, base_model)
        if completed != named:
            keywords["modules_to_save"] = completed
    return keywords


def need_problems(adapter: AdapterConfig, n_steps: int | None) -> Iterator[str]:
    """Yield what an adapter needs and does not get in a run of so many steps."""
    start = adapter.settings.get("init_lora_weights")
    for name, why in UNPREPARED.items():
        if isinstance(start, str) and start.lower().startswith(name):
            yield f"init_lora_weights: {start} is not possible here: {why}"
    if adapter.settings.get("use_qalora") is True:
        yield "use_qalora: QA-LoRA is for base models that GPTQ quantised; here it would be plain LoRA: leave it out"
    if n_steps is None:
        return
    total = adapter.settings.get("total_step")
    if isinstance(total, int) and total != n_steps:
        yield f"total_step: expected the run's {n_steps} steps, got {total}: leave it out, and each run gets its number"
    last = adapter.settings.get("final_warmup", 1000) if adapter.settings.get("use_asa") is True else 0
    if isinstance(last, int) and last > n_steps:
        yield f"final_warmup: expected at most the run's {n_steps} steps, got {last}: the subspaces would not be chosen"


def check_loss(run: Run) -> None:
    """Check that a run's loss keeps the term that its method adds, such as AdaLoRA's for orthogonality.

    Raises
    ------
    ConfigError
        If the labels are smoothed: the Trainer then computes the loss itself, without that term.
    """
    known = {field.name for field in dataclasses.fields(config_class_of(run.adapter.peft_type))}
    if run.training.label_smoothing_factor and "orth_reg_weight" in known:
        raise ConfigError(f"{run.id}: the loss would not be the method's:", [
            f"label_smoothing_factor: {run.adapter.peft_type} adds a term to its loss, which the Trainer leaves out "
            "when it smooths labels: leave the smoothing out, or name other adapters"
        ])  # fmt: skip


def count_steps(run: Run) -> int:
    """Return how many steps the optimiser takes in a run."""
    return run.training.count_steps(run.data.n_train)


def initialise_from_data(model: PeftModel, batches: Callable[[], Iterable[dict[str, torch.Tensor]]]) -> None:
    """Give a method that begins from data its start: EVA, the directions in which the layers' inputs vary most.

    Parameters
    ----------
    batches : callable
        Returns the batches of the training rows, without a second use of the seed; called only where needed.
    """
    if getattr(model.active_peft_config, "init_lora_weights", None) != "eva":
        return
    device = next(model.parameters()).device
    rows = [{name: tensor.to(device) for name, tensor in batch.items() if name != "labels"} for batch in batches()]
    was_training = model.training
    initialize_lora_eva_weights(model.eval(), rows, show_progress_bar=False)
    model.train(was_training)


class AllocateRanks(TrainerCallback):
    """Call a method that shares its ranks out while it trains, such as AdaLoRA, after each step of the optimiser.

    AdaLoRA notes in its config which ranks it took away, and PEFT would leave them out of a checkpoint. That checkpoint
    fits neither the model nor one of an earlier step, so the note is put away between the steps.
    """

    def __init__(self) -> None:
        self._rank_pattern: Any = None

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the method see the step's gradients."""
        model = kwargs["model"]
        if not allocates_ranks(model):
            return
        config = model.active_peft_config
        if hasattr(config, "rank_pattern"):
            config.rank_pattern = self._rank_pattern
        model.base_model.update_and_allocate(state.global_step + 1)
        if hasattr(config, "rank_pattern"):
            self._rank_pattern, config.rank_pattern = config.rank_pattern, None


def allocates_ranks(model: PeftModel) -> bool:
    """Return whether a model's method shares its ranks out while it trains; such a training cannot be continued."""
    return hasattr(type(model.base_model), "update_and_allocate")
