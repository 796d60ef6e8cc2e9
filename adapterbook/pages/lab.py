"""Write the scripts that the training lab's page loads: the features of the study's sentences, the settings, the words.

The lab trains the study's classification head in the reader's browser. What it shows is not a result of the study, and
no number of it is in a record. The features are those that the linear probe has stored.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from adapterbook.analysis.shapes import Report
from adapterbook.common.files import hash_file, is_plain_file
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import TrainingConfig
from adapterbook.figures.style import baselines_of
from adapterbook.pages.scripts import json_in_script
from adapterbook.pages.writing.escape import html_attribute, html_entities
from adapterbook.runs.probe import FEATURES, ProbeRecord, probe_folder

DATA: Final = "scripts/lab-data.js"
SPLITS: Final = ("train", "validation", "test")
# A page can neither hold nor train more; the default study has a tenth of it.
MAX_NUMBERS: Final = 4_000_000  # of all sentences together, two bytes each
MAX_WEIGHTS: Final = 2_000_000
LARGEST_HALF: Final = 65_504  # of 16-bit numbers
# What the sliders offer, beside the study's own values.
RATES: Final = tuple(float(f"{digit}e{power}") for power in range(-6, 0) for digit in (1, 3))
BATCHES: Final = (4, 8, 16, 32, 64, 128)
EPOCHS: Final = (1, 2, 3, 5, 10, 20, 30)
# Of a head with a layer between; a single layer has a hundredth of the weights, and needs a larger rate.
MIDDLE_RATE, LARGE_RATE, FOR_ONE_LAYER = 3e-4, 1e-3, 30
SMALL_BATCH: Final = 4
N_SEEDS: Final = 5
# Shares of the loss of guessing: what a training loss has to fall by, and a validation loss to rise by, to count.
FALL, RISE = 0.02, 0.05
KNOBS: Final = ("learning_rate", "batch_size", "eval_strategy", "epochs")


@dataclass(frozen=True)
class Lab:
    """Hold what the lab trains on, or the reason why there is no lab.

    Attributes
    ----------
    obstacle : str or None
        A key of the lab's phrases, without ``reason_``.
    splits : dict
        By split, the features as base64 of little-endian 16-bit numbers, and the labels.
    """

    obstacle: str | None
    splits: dict[str, dict[str, Any]]


def open_lab(report: Report, paths: Paths) -> Lab:
    """Read the features of the report's source, if they are what its record says and a page can hold them."""
    record = report.probe.record
    if record is None:
        return Lab("missing" if report.probe.reason == "missing" else "damaged", {})
    obstacle = _find_obstacle(record)
    if obstacle is not None:
        return Lab(obstacle, {})
    try:
        return Lab(None, dict(_read_splits(record, paths)))
    except (OSError, ValueError):
        return Lab("damaged", {})


def _find_obstacle(record: ProbeRecord) -> str | None:
    if record.head is None:
        return "head"
    sizes = [getattr(record.splits, name).n for name in SPLITS]
    too_large = sum(sizes) * record.head[0].n_in > MAX_NUMBERS or record.n_head_weights > MAX_WEIGHTS
    return "large" if too_large else None


def _read_splits(record: ProbeRecord, paths: Paths) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each split's features and labels.

    Raises
    ------
    ValueError
        If the file is another than the record names, or holds other things than the lab can use.
    """
    file = probe_folder(paths, record.source.name) / FEATURES
    head = record.head or ()
    if not is_plain_file(file, paths.results) or hash_file(file) != record.files.get(FEATURES):
        raise ValueError("another file than the record names")
    if [layer.n_out for layer in head] != [*(layer.n_in for layer in head[1:]), len(record.source.labels)]:
        raise ValueError("the layers do not fit")
    for name in SPLITS:
        features, labels = _read_tensors(file, f"{name}.head", f"{name}.label")
        n = getattr(record.splits, name).n
        _check(features, labels, (n, head[0].n_in), len(record.source.labels))
        halves = features.astype("<f2").tobytes()
        yield name, {"features": base64.b64encode(halves).decode(), "labels": labels.tolist()}


def _read_tensors(file: Path, *names: str) -> list[npt.NDArray[Any]]:
    from safetensors import SafetensorError, safe_open  # imported here: most pages are made without it

    try:
        with safe_open(file, "np") as tensors:
            return [tensors.get_tensor(name) for name in names]
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _check(features: npt.NDArray[Any], labels: npt.NDArray[Any], shape: tuple[int, int], n_labels: int) -> None:
    types = features.dtype == np.float32 and labels.dtype == np.int64
    if not types or features.shape != shape or labels.shape != shape[:1]:
        raise ValueError("other types or shapes")
    if not (np.abs(features) <= LARGEST_HALF).all() or not ((labels >= 0) & (labels < n_labels)).all():
        raise ValueError("numbers out of range")


def lab_scripts(lab: Lab, report: Report, phrases: Phrases) -> dict[str, str]:
    """Return the lab's scripts by their paths below ``report/``; none where there is no lab."""
    record = report.probe.record
    if lab.obstacle is not None or record is None or record.head is None:
        return {}
    training = report.study.training
    optimiser = {
        "beta1": 0.9 if training.adam_beta1 is None else training.adam_beta1,
        "beta2": 0.999 if training.adam_beta2 is None else training.adam_beta2,
        "epsilon": training.adam_epsilon or 1e-8,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
    }
    head = [layer.model_dump() for layer in record.head]
    content = {"head": head, "optimiser": optimiser, "splits": lab.splits}
    data = f"globalThis.labData = {json_in_script(content)};\n"
    scripts = {DATA: data}
    for language in ("zh", "en"):
        own = _settings(report, record, phrases, language) | {"size": format_number(len(data), "bytes", language)}
        scripts[f"scripts/lab-{language}.js"] = f"globalThis.labSettings = {json_in_script(own)};\n"
    return scripts


def _settings(report: Report, record: ProbeRecord, phrases: Phrases, language: Language) -> dict[str, Any]:
    """Return what the form offers, what it begins with, and its words."""
    training, n_train = report.study.training, record.splits.train.n
    levels = baselines_of(report)
    scale = 1 if record.head is not None and len(record.head) > 1 else FOR_ONE_LAYER
    middle, large = (_rounded(rate * scale) for rate in (MIDDLE_RATE, LARGE_RATE))
    submitted = _submitted(training, n_train, report.study.seeds[0])
    too_small = _rounded(submitted["rate"] / 10)
    seeds = [*report.study.seeds[:N_SEEDS]]
    first = seeds[0]
    return {
        "language": language,
        "submitted": submitted,
        "rates": sorted({*RATES, submitted["rate"], too_small, middle, large}),
        "batches": sorted({*(size for size in BATCHES if size <= n_train), submitted["batch"]}),
        "epochs": sorted({*EPOCHS, submitted["epochs"]}),
        "seeds": seeds if len(seeds) > 1 else [first, *range(first + 1, first + 3)],
        "presets": [
            {"id": "submitted", "choice": {}},
            {"id": "too_small", "choice": {"rate": too_small}},
            {"id": "overfits", "choice": {"rate": large, "batch": min(SMALL_BATCH, n_train)}},
        ],
        "embedded": {
            "learning_rate": {},
            "batch_size": {"rate": middle},
            "eval_strategy": {"rate": large},
            "epochs": {"rate": large},
        },
        "n_labels": len(record.source.labels),
        "chance": {"loss": levels["validation_loss"], "accuracy": levels["validation_accuracy"]},
        "fall": FALL,
        "rise": RISE,
        "data": f"../../{DATA}",
        "page": "lab.html",
        "words": {name: phrases.text("lab", name, language) for name in phrases.lab
                  if not name.startswith(("reason_", "open_", "without"))},
    }  # fmt: skip


def _submitted(training: TrainingConfig, n_train: int, seed: int) -> dict[str, Any]:
    """Return the protocol's settings as the lab has them: a batch is what one step of the optimiser sees."""
    return {
        "rate": training.head_learning_rate or training.learning_rate,
        "batch": min(n_train, training.per_device_train_batch_size * training.gradient_accumulation_steps),
        "strategy": training.eval_strategy,
        "every": training.eval_steps or 2,
        "epochs": max(1, min(EPOCHS[-1], math.ceil(training.count_epochs(n_train)))),
        "seed": seed,
    }


def _rounded(rate: float) -> float:
    return float(f"{rate:.6e}")


def lab_block(knob: str, phrases: Phrases, language: Language) -> Markup:
    """Return the place that the lab opens in: the whole of it, or the form of one knob, for which the reader asks.

    Without a script the form is not there, and the whole says what it needs.
    """
    more, inner = "", ""
    if knob:
        said = html_attribute(phrases.text("lab", ["open", knob], language))
        more = f' data-open="{said}" hidden'
    else:
        inner = f'<p class="without-script">{html_entities(phrases.text("lab", "without", language))}</p>'
    place = f'<div class="lab" data-knob="{knob}" data-language="{language}"{more}>{inner}</div>'
    return Markup(f"```{{=html}}\n{place}\n```")
