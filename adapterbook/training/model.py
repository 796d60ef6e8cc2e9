"""Build a base model with an adapter: check the settings against PEFT and the model, load, freeze and count.

PEFT decides which settings a method takes; the only method named here is LayerNorm tuning, which replaces modules by
copies of them. Weights that are not safetensors are refused, and so is an adapter that leaves the classification head
untrained.
"""

from __future__ import annotations

import copy
import enum
import re
import typing
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.ln_tuning.layer import LNTuningLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, set_seed

from adapterbook.common.errors import ConfigError, SourceError, first_line
from adapterbook.config.study import AdapterConfig
from adapterbook.training.head import renew_head
from adapterbook.training.kernel_state import reuse, silence_transformers
from adapterbook.training.peft_needs import complete_keywords
from adapterbook.training.peft_settings import config_class_of, key_problems, module_problems
from adapterbook.training.speed import use_onednn
from adapterbook.training.tokens import load_tokenizer

# PEFT's LayerNorm tuning warns of a LayerNorm.
warnings.filterwarnings("ignore", "Unsupported layer type '<class 'torch.nn.modules.normalization.LayerNorm'>'")

TWO_LABELS = ("0", "1")

ALWAYS_FITS = 50_000_000  # numbers, of four bytes each
# PEFT and torch raise these if settings and model do not fit.
MISFITS = (
    ValueError, TypeError, RuntimeError, AttributeError, LookupError, ImportError, AssertionError, ArithmeticError,
    OSError, MemoryError, re.error,
)  # fmt: skip


@dataclass(frozen=True)
class ParameterCounts:
    """Hold the parameter counts of a model with its adapter.

    Attributes
    ----------
    n_trainable : int
        ``n_adapter + n_head``.
    n_head : int
        Trainable parameters that are saved whole beside the adapter: the classification head.
    n_total : int
        All parameters, each counted once, without the modules that PEFT keeps unused beside a trained copy.
    """

    n_trainable: int
    n_adapter: int
    n_head: int
    n_total: int


def make_peft_config(adapter: AdapterConfig, base_model: PreTrainedModel, n_steps: int | None = None) -> PeftConfig:
    """Return PEFT's config of an adapter on a base model; the default task is sequence classification.

    Parameters
    ----------
    n_steps : int or None
        How many steps the run takes; None: the settings are only tried out.

    Raises
    ------
    ConfigError
        If PEFT does not know the method, refuses a setting, or cannot be given what the method needs.
    """
    try:
        config_class = config_class_of(adapter.peft_type)
        return config_class(**complete_keywords(adapter, base_model, n_steps))
    except MISFITS as error:
        raise ConfigError(f"{_file(adapter)} is not a valid adapter:", [first_line(error)]) from error


def check_adapters(adapters: Iterable[AdapterConfig], base_model: Path, labels: Sequence[str] = TWO_LABELS) -> None:
    """Check that PEFT accepts every adapter, and that each can be trained on the base model.

    Parameters
    ----------
    base_model : Path
        Folder in Transformers' format.

    Raises
    ------
    ConfigError
        Naming every problem of every adapter.
    SourceError
        If the base model cannot be loaded as a classifier.
    """
    with silence_transformers(), torch.random.fork_rng(devices=[]):
        model = load_base_model(base_model, seed=0, labels=labels)
    errors = []
    for adapter in adapters:
        problems = _problems(adapter, model)
        if problems:
            errors.append(ConfigError(f"{_file(adapter)} is not a valid adapter:", problems))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError(f"{len(errors)} adapters are not valid:", [str(error) for error in errors])


def load_base_model(folder: Path, seed: int, labels: Sequence[str] = TWO_LABELS) -> PreTrainedModel:
    """Load a base model as a classifier; the same seed gives the same new head.

    Parameters
    ----------
    folder : Path
        Folder in Transformers' format, with safetensors weights.
    seed : int
        Of Python, NumPy and torch; set before the head is made.
    labels : sequence of str
        The names of the classes, by number.

    Returns
    -------
    PreTrainedModel
        In float32, on the CPU; `head.new_modules` names the modules of its head.

    Raises
    ------
    SourceError
        If the folder holds no such model.
    """
    set_seed(seed)
    files = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("*")))
    model, random_state = reuse("base model", (str(folder), files, seed, *labels), lambda: _load(folder, labels))
    torch.set_rng_state(random_state)  # the same state whether this run or an earlier one made the head
    return copy.deepcopy(model)


def _load(folder: Path, labels: Sequence[str]) -> tuple[PreTrainedModel, torch.Tensor]:
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            problem_type="single_label_classification",
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a head for another number of labels is not used
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _no_classifier(folder, error) from error
    model.config.get_text_config().pad_token_id = load_tokenizer(folder).pad_token_id
    missing = renew_head(model, found["missing_keys"], [key for key, *_ in found["mismatched_keys"]])
    if missing:
        raise _no_classifier(folder, KeyError(f"its weights lack {', '.join(missing[:5])}, {len(missing)} in all"))
    use_onednn(model)
    return typing.cast(PreTrainedModel, model), torch.get_rng_state()


def freeze_adapter(model: PeftModel) -> None:
    """Freeze everything but the classification head, so the adapter keeps its initial state, without effect."""
    for parameter in _outside_heads(model):
        parameter.requires_grad_(False)


def count_parameters(model: PeftModel) -> ParameterCounts:
    """Count the parameters of a model with its adapter; a shared parameter counts once."""
    in_heads = {id(parameter) for parameter in head_parameters(model)}
    parameters = [parameter for _, parameter in _used_parameters(model)]
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    n_head = sum(parameter.numel() for parameter in trainable if id(parameter) in in_heads)
    n_trainable = sum(parameter.numel() for parameter in trainable)
    n_total = sum(parameter.numel() for parameter in parameters)
    return ParameterCounts(n_trainable, n_trainable - n_head, n_head, n_total)


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the modules that are trained in full beside the adapter: the classification head."""
    return [parameter for head in _heads(model) for parameter in head.parameters()]


def _outside_heads(model: nn.Module) -> list[nn.Parameter]:
    """Return all other parameters."""
    in_heads = {id(parameter) for parameter in head_parameters(model)}
    return [parameter for parameter in model.parameters() if id(parameter) not in in_heads]


def _used_parameters(model: torch.nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the named parameters without those of modules that PEFT keeps unused beside a trained copy."""
    originals = [head.original_module for head in _heads(model)]
    originals += [layer.get_base_layer() for layer in model.modules() if isinstance(layer, LNTuningLayer)]
    unused = {id(parameter) for module in originals for parameter in module.parameters()}
    return [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in unused]


def _heads(model: torch.nn.Module) -> list[ModulesToSaveWrapper]:
    """Return the modules that are trained in full beside the adapter."""
    return [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]


def describe_config(config: PeftConfig) -> dict[str, Any]:
    """Return every keyword argument of a PEFT config with its JSON value, in a fixed order.

    Sets become sorted lists. The base model's path is left out, because it belongs to one machine.
    """
    described = {key: _plain(value) for key, value in config.to_dict().items() if key != "base_model_name_or_path"}
    if isinstance(described.get("modules_to_save"), list):  # PEFT adds the usual heads, some twice
        described["modules_to_save"] = list(dict.fromkeys(described["modules_to_save"]))
    return described


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _problems(adapter: AdapterConfig, model: PreTrainedModel) -> list[str]:
    """Return every problem of one adapter: first of the settings, then of PEFT with this model."""
    try:
        config_class = config_class_of(adapter.peft_type)
    except ValueError as error:
        return [str(error)]
    problems = [*key_problems(adapter, config_class), *module_problems(adapter, model)]
    if problems:
        return problems
    with without_warnings(), torch.random.fork_rng(devices=[]):
        try:
            adapted = _try_out(make_peft_config(adapter, model), model)
        except ConfigError as error:
            return list(error.problems)
        except MISFITS as error:
            return [f"{adapter.peft_type} cannot serve this base model as a classifier: {first_line(error)}"]
    return _frozen_problems(adapted) if adapter.full_fine_tuning else []


def _check_size(config: PeftConfig, model: PreTrainedModel) -> None:
    """Refuse an adapter that is too large to try out, by its shapes; a method that needs real weights passes.

    Raises
    ------
    ValueError
        If it holds more numbers than the base model and than `ALWAYS_FITS`.
    """
    shapes = copy.deepcopy(model)
    torch.nn.Module.to(shapes, "meta")
    n_before = _count_numbers(shapes)
    try:
        with torch.device("meta"):
            n_added = _count_numbers(get_peft_model(shapes, copy.deepcopy(config))) - n_before
    except MISFITS:
        return
    if n_added > max(n_before, ALWAYS_FITS):
        raise ValueError(f"it would add {n_added:,} numbers to the base model's {n_before:,}: make it smaller")


def _count_numbers(model: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensors in (model.parameters(), model.buffers()) for tensor in tensors)


def _try_out(config: PeftConfig, model: PreTrainedModel) -> PeftModel:
    """Return a copy of the model with the adapter, after one loss and its gradients on two tiny texts."""
    _check_size(config, model)
    adapted = get_peft_model(copy.deepcopy(model), config)
    token_ids = torch.arange(1, 17).reshape(2, 8) % model.config.vocab_size  # (batch 2, tokens 8)
    mask = torch.ones_like(token_ids)
    adapted(input_ids=token_ids, attention_mask=mask, labels=torch.tensor([0, 1])).loss.backward()
    counts = count_parameters(adapted)
    if counts.n_adapter == 0:
        raise ValueError("it trains no parameter besides the head")
    gradients = (parameter.grad for parameter in _outside_heads(adapted) if parameter.requires_grad)
    if not any(gradient is not None and gradient.any() for gradient in gradients):
        raise ValueError("every gradient of it is 0, so it would stay without effect while the head trains")
    if counts.n_head == 0:
        raise ValueError("it leaves the new classification head untrained")
    return adapted


def _frozen_problems(model: PeftModel) -> list[str]:
    """Return what full fine-tuning leaves frozen."""
    frozen = [name for name, parameter in _used_parameters(model) if not parameter.requires_grad]
    modules = dict.fromkeys(re.sub(r"^base_model\.model\.|(\.base_layer)?\.\w+$", "", name) for name in frozen)
    names = ", ".join([*modules][:3]) + (", …" if len(modules) > 3 else "")
    remedy = "take peft_type LN_TUNING, and name every module of the encoder in target_modules"
    return [f"full_fine_tuning: expected all weights to train, but {names} stay frozen: {remedy}"] if frozen else []


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress PEFT's warnings while an adapter is tried out; training shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _no_classifier(folder: Path, error: BaseException) -> SourceError:
    problem = (
        f"expected safetensors weights and a config.json of an encoder that can classify, got: {first_line(error)}"
    )
    return SourceError(f"the base model in {folder.name} cannot be loaded as a classifier:", [problem])


def _file(adapter: AdapterConfig) -> str:
    return f"experiments/adapters/{adapter.id}.yaml"
