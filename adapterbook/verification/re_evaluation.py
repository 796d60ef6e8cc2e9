"""Evaluate a stored adapter over today's base model, on the rows loaded again, without the Trainer.

No file that came with a run is trusted. PEFT reads the adapter's own config only if it is what the project's YAML file
gives, since a config can name other files and hosts; weights are safetensors.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetDict
from peft import PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adapterbook.common.errors import AdapterBookError
from adapterbook.common.strict import read_limited
from adapterbook.config.study import MAX_SEED, DataConfig
from adapterbook.runs.plan import Run
from adapterbook.runs.record import ModuleUpdate, Record, SourceInfo
from adapterbook.sources.resolve import ResolvedSource, fetch_source
from adapterbook.training.data import label_names, load_splits
from adapterbook.training.kernel_state import one_thread, silence_transformers
from adapterbook.training.measurements import measure_updates
from adapterbook.training.model import (
    MISFITS,
    count_parameters,
    describe_config,
    freeze_adapter,
    load_base_model,
    make_peft_config,
)
from adapterbook.training.peft_needs import count_steps
from adapterbook.training.recording import describe_source
from adapterbook.training.reloading import predict
from adapterbook.training.tokens import load_tokenizer
from adapterbook.training.trainer import current_device
from adapterbook.verification.choice import Fit
from adapterbook.verification.findings import Finding
from adapterbook.verification.recomputation import Evaluation, short

# Keys that PEFT adds to a saved config and that are not compared; rank_pattern follows from the weights' shapes.
UNSETTLED_KEYS = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "rank_pattern",
    "revision",
)
MAX_FIT_ROWS = 512
UPDATE_TOLERANCE = 1e-3  # of a layer's norm; some methods start from a decomposition that another processor rounds


@dataclass(frozen=True)
class Material:
    """Hold today's base model and rows of a source, loaded once for all runs."""

    info: SourceInfo
    splits: DatasetDict
    folder: Path
    tokenizer: PreTrainedTokenizerBase

    def base_model(self) -> PreTrainedModel:
        """Return the base model, with another head than that of any run: a saved adapter has to bring its own."""
        with silence_transformers():
            return load_base_model(self.folder, MAX_SEED, label_names(self.splits))


def load_material(resolved: ResolvedSource, data: DataConfig) -> Material:
    """Fetch a source, and load its rows and its base model.

    Raises
    ------
    SourceError
        If the base model or the data set is not available, or has too few rows.
    """
    fetched = fetch_source(resolved)
    splits = load_splits(fetched.dataset, resolved.config, data)
    info = describe_source(resolved, fetched, splits)
    material = Material(info, splits, fetched.base_model, load_tokenizer(fetched.base_model))
    material.base_model()  # report a model that does not load once, not for every run
    return material


def evaluate_adapter(
    run: Run, record: Record, folder: Path, material: Material
) -> tuple[Evaluation | None, list[Finding]]:
    """Load a run's saved adapter over the base model, and predict the validation and the test rows.

    Returns
    -------
    Evaluation or None
        None where the adapter cannot be loaded.
    list of Finding
        Parameter counts that differ from the record, a config that is not the run's, weights that do not fit.
    """
    missing = [name for name in ("adapter_config.json", "adapter_model.safetensors")
               if not (folder / "adapter" / name).is_file()]  # fmt: skip
    if missing:
        return None, [
            Finding(run.id, f"adapter/{name}", "is missing: the adapter was not evaluated") for name in missing
        ]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice was given when the run trained
        try:
            base_model = material.base_model()
            config = make_peft_config(run.adapter, base_model, count_steps(run))
            untrained = get_peft_model(base_model, config)
            misfits = list(_find_other_config(record, untrained, folder / "adapter"))
            if misfits:
                return None, misfits
            trainable = not config.is_prompt_learning  # PEFT loads prompts for predicting only
            model = PeftModel.from_pretrained(material.base_model(), str(folder / "adapter"), is_trainable=trainable)
            counted = model if trainable else untrained  # EVA's file holds other ranks than the settings give
            if not run.adapter.train_adapter:
                freeze_adapter(counted)
            found = list(_find_other_counts(record, counted))
            found += _find_other_weights(record, model, folder / "adapter")
            model = model.to(current_device()).eval()
            rows = dict(material.splits) | {"train": _some(material.splits["train"])}
            found_of = {name: predict(model, material.tokenizer, part["text"]) for name, part in rows.items()}
            evaluation = Evaluation(
                found_of["validation"], found_of["test"], found_of.get("selection"), found_of["train"]
            )
            found += _find_other_updates(record, measure_updates(model))  # last: it leaves the model merged
        except (AdapterBookError, SafetensorError, OSError, *MISFITS) as error:
            message = f"cannot be loaded over the base model: {' '.join(str(error).split())[:500]}"
            return None, [Finding(run.id, "adapter", message)]
    return evaluation, found


def measure_fit(evaluation: Evaluation, material: Material) -> Fit | None:
    """Return the shares of training and test rows that an adapter predicts right today."""
    if evaluation.train is None:
        return None
    train, test = np.asarray(_some(material.splits["train"])["label"]), np.asarray(material.splits["test"]["label"])
    return Fit(_share(evaluation.train, train), _share(evaluation.test, test), len(train), len(test))


def _share(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int_]) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def _some(rows: Dataset) -> Dataset:
    """Return the first training rows: enough to see how well an adapter fits them."""
    return rows.select(range(min(len(rows), MAX_FIT_ROWS)))


def _find_other_counts(record: Record, model: PeftModel) -> Iterator[Finding]:
    counts = count_parameters(model)
    for name in ("trainable", "adapter", "head", "total"):
        stated, counted = getattr(record, f"n_{name}_params"), getattr(counts, f"n_{name}")
        if stated != counted:
            yield Finding(record.run_id, f"n_{name}_params", f"is {stated} in the record, {counted} when counted again")


def _find_other_config(record: Record, untrained: PeftModel, folder: Path) -> Iterator[Finding]:
    """Find a saved config that differs from what the YAML file gives for this base model."""
    subject = "adapter/adapter_config.json"
    try:
        saved = json.loads(read_limited(folder / "adapter_config.json"))
    except (OSError, ValueError, RecursionError) as error:
        yield Finding(record.run_id, subject, f"is not JSON: {error}")
        return
    if not isinstance(saved, dict):
        yield Finding(record.run_id, subject, "is not a PEFT config")
        return
    expected = describe_config(untrained.active_peft_config)
    unsettled = set(UNSETTLED_KEYS)
    if expected.get("init_lora_weights") == "eva" and isinstance(saved.get("target_modules"), list):
        unsettled |= {"alpha_pattern", "target_modules"}  # EVA shares the ranks out by the data, layer by layer
    for key in sorted((expected.keys() | saved.keys()) - unsettled):
        stored, ours = _in_order(saved.get(key)), _in_order(expected.get(key))
        if stored != ours:
            message = f"has {key} {json.dumps(stored)}, but the YAML file gives {json.dumps(ours)}: not loaded"
            yield Finding(record.run_id, subject, message)


def _find_other_weights(record: Record, model: PeftModel, folder: Path) -> Iterator[Finding]:
    """Find tensors that only the file or only the model has, or of another shape: PEFT only warns."""
    with safe_open(folder / "adapter_model.safetensors", framework="numpy") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    loaded = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(model).items()}
    other = sorted(name for name in stored.keys() | loaded.keys() if stored.get(name) != loaded.get(name))
    if other:
        message = f"does not fit the model in {len(other)} tensors, such as {other[0]}"
        yield Finding(record.run_id, "adapter/adapter_model.safetensors", message)


def _find_other_updates(record: Record, today: tuple[ModuleUpdate, ...] | None) -> Iterator[Finding]:
    """Find layers whose recorded update is not the one that the saved adapter makes."""
    if record.learned is None or today is None:
        if record.learned != today:
            message = "is not what the saved adapter gives: one of them has no layers that could be measured"
            yield Finding(record.run_id, "learned", message)
        return
    stored, measured = ({update.module: update for update in updates} for updates in (record.learned, today))
    if stored.keys() != measured.keys() or len(record.learned) != len(stored):
        yield Finding(record.run_id, "learned", "names other layers than the saved adapter changes")
        return
    for i, update in enumerate(record.learned):
        ours = measured[update.module]
        pairs = {
            "in_features": (float(update.in_features), float(ours.in_features), 0.0),
            "out_features": (float(update.out_features), float(ours.out_features), 0.0),
            "update_norm": (update.update_norm, ours.update_norm, ours.update_norm),
            "weight_norm": (update.weight_norm, ours.weight_norm, ours.weight_norm),
            "scale_deviation": (update.scale_deviation, ours.scale_deviation, ours.scale_deviation or 0.0),
        }
        pairs |= {
            f"singular_values.{j}": (stated, computed, ours.update_norm)
            for j, (stated, computed) in enumerate(zip_longest(update.singular_values, ours.singular_values))
        }
        for name, (stated, computed, scale) in pairs.items():
            if not _is_close(stated, computed, UPDATE_TOLERANCE * scale):
                message = f"is {short(stated)} in the record, {short(computed)} from the saved adapter"
                yield Finding(record.run_id, f"learned.{i}.{name}", message)
                break


def _is_close(stated: float | None, computed: float | None, tolerance: float) -> bool:
    if stated is None or computed is None:  # singular values near the smallest one that is kept may be missing
        return stated == computed or (stated or computed or 0.0) <= tolerance != 0.0
    return abs(stated - computed) <= tolerance


def _in_order(value: Any) -> Any:
    """Return a JSON value with its lists of names sorted, each once: PEFT writes sets as lists."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(set(value))
    return value
