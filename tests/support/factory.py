"""Make up records, predictions and whole small projects, so that pages and figures are tested without training.

The numbers are plausible and all distinct, so that a page that mixes two of them up is caught; the texts are hostile.
The same arguments give the same bytes. Nothing here imports torch or reads more of the real project than
``experiments/*.yaml``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import yaml

from adapterbook.analysis import analyse
from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import Language
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.config.source import load_published
from adapterbook.config.study import AdapterConfig, StudyConfig, TrainingConfig, load_adapters, load_study
from adapterbook.figures.words import FigureWords
from adapterbook.pages.citations import Bibliography
from adapterbook.runs.plan import Run, RunStatus, plan_runs, status_of
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import Record, write_record

PROJECT = Paths(Path(__file__).resolve().parents[2])
PHRASES = load_phrases(PROJECT.templates)
BIBLIOGRAPHY = Bibliography([PROJECT.templates])
# Where the works lie that pages cite.
WORKS = {
    f"https://doi.org/{address}" if name == "doi" else address
    for entry in BIBLIOGRAPHY.entries.values()
    for name, address in re.findall(r"\b(doi|url) = \{(.+?)\}", entry)
}
FIGURE_WORDS: dict[Language, FigureWords] = {"zh": FigureWords(PHRASES, "zh"), "en": FigureWords(PHRASES, "en")}
ADAPTERS = ("lora_1", "lora_2", "lora_3", "ia3")

HOSTILE_TEXTS = (
    "<script>alert(1)</script>",
    "a `backtick` and ```{=html}\n<b>raw</b>\n```",
    "::: {.callout-warning} not a box :::",
    "costs $x$ and $$y^2$$ dollars",
    "see @fig-x and [@tbl-y] and \\@sec-z",
    "{{< include x >}} {{< meta title >}}",
    '[a link](javascript:alert(1)) <a href="javascript:alert(2)">b</a>',
    "a | b | c",
    "*a* _b_ **c** ~~d~~ ^e^ ~f~",
    "a \\ b \\* c \\n d",
    "fish &amp; chips &lt;b&gt; &#x3c;",
    "\"double\" 'single' it's",
    "wait ... what -- no --- really",
    "good 😀 film 👩‍👩‍👧",
    "這部電影骨子裡很好看，角色與開場都很有啟發。",
    "# not a heading",
    "- not a list\n1. nor this",
    "![img](https://example.org/x.png) <img src=x onerror=alert(1)>",
    "<!-- comment --> {#id .class key=val} [^1]",
    "\u202eright to left\u202c and \u0007 bell",
)

# A study without a search: the protocol, and two learning rates that differ from it in nothing else.
RATE_VARIANTS: dict[str, Any] = {
    "submitted": {"title": {"zh": "原設定", "en": "As submitted"}},
    "lr-2e-4": {"title": {"zh": "學習率 2e-4", "en": "Learning rate 2e-4"}, "training": {"learning_rate": 2.0e-4}},
    "lr-1e-3": {"title": {"zh": "學習率 1e-3", "en": "Learning rate 1e-3"}, "training": {"learning_rate": 1.0e-3}},
}
# Ablations of batch size and evaluation strategy.
BATCH_SIZE_VARIANTS: dict[str, Any] = {
    f"batch-{size}": {
        "title": {"zh": f"批次大小 {size}", "en": f"Batch size {size}"},
        "training": {"learning_rate": 2.0e-4, "per_device_train_batch_size": size},
        "adapters": ["lora_1"],
    }
    for size in (4, 64)
}
EVAL_STRATEGY_VARIANTS: dict[str, Any] = {
    "eval-steps": {
        "title": {"zh": "每 2 步評估", "en": "Evaluated every 2 steps"},
        "training": {"learning_rate": 1.0e-3, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps",
                     "save_steps": 2},
        "adapters": ["lora_1"],
    },
    "eval-no": {
        "title": {"zh": "從不評估", "en": "Never evaluated"},
        "training": {"learning_rate": 1.0e-3, "eval_strategy": "no", "save_strategy": "no",
                     "load_best_model_at_end": False},
        "adapters": ["lora_1"],
    },
}  # fmt: skip

WORDING: dict[str, Any] = {
    "task": {"zh": "分辨評論是褒是貶", "en": "tell good reviews from bad ones"},
    "labels": [{"zh": "負面", "en": "negative"}, {"zh": "正面", "en": "positive"}],
}

# Files written for a run, by everything that they depend on: most made-up studies share most of their runs.
_files_of_runs: dict[str, dict[str, bytes]] = {}

CONFIG_CLASSES = {"LORA": "LoraConfig", "IA3": "IA3Config", "LOKR": "LoKrConfig", "LN_TUNING": "LNTuningConfig"}
N_LAYERS = 6
WIDTHS = {"hub": 768}  # of the base model, by source; else 384
N_BASE_PARAMS = {"hub": 65_190_912}  # else 22,565,376
PLACES = {name: f"attention.{name}" for name in ("q_lin", "k_lin", "v_lin", "out_lin")} | {
    name: name for name in ("ffn.lin1", "ffn.lin2")
}


def make_record(
    adapter: str | AdapterConfig = "lora_1",
    variant: str = "submitted",
    seed: int = 224,
    *,
    source: str = "embedded",
    study: StudyConfig | None = None,
    training: TrainingConfig | None = None,
    predictions: pd.DataFrame | None = None,
    **changes: Any,
) -> Record:
    """Return a completed record whose numbers are plausible and follow from adapter, variant and seed.

    Parameters
    ----------
    adapter : str or AdapterConfig
        An id of the real project's adapters, or another config.
    source : str
        ``hub`` may be compared with the published results, any other name may not.
    study, training : optional
        Instead of the real project's ``study.yaml``, and of its arguments for this variant.
    predictions : DataFrame, optional
        The test result is computed from these; default ``make_predictions`` of the same run.
    **changes
        Fields to set afterwards; two underscores go down one level: ``test__accuracy=0.5``, ``epochs__0__train_loss``.
    """
    config = adapter if isinstance(adapter, AdapterConfig) else load_adapters(PROJECT.experiments / "adapters")[adapter]
    study = study or load_study(PROJECT.study)
    training = training or study.training_of(variant if variant in study.variants else study.submitted)
    if predictions is None:
        predictions = make_predictions(config.id, variant, seed, n=study.data.n_test)
    run_id = f"{config.id}/{variant}/seed-{seed}"
    rng = random.Random(run_id)
    epochs = _make_epochs(config.peft_type, training, study.data.n_train, study.data.n_validation, rng)
    evaluated = [epoch for epoch in epochs if epoch["validation_loss"] is not None]
    metric = metric_name(training)
    best = _choose(evaluated, metric) if training.load_best_model_at_end else epochs[-1]
    right = int((predictions["label"] == predictions["prediction"]).sum())
    true_positive = int(((predictions["label"] == 1) & (predictions["prediction"] == 1)).sum())
    errors = len(predictions) - right
    width = WIDTHS.get(source, 384)
    n_base, n_head = N_BASE_PARAMS.get(source, 22_565_376), width * width + width + width * 2 + 2
    n_adapter = n_base if config.full_fine_tuning else _n_adapter_params(config, width)
    time_s = round(20 + 30 * rng.random() + (9 if config.peft_type == "IA3" else 0), 3)
    started = datetime(2026, 3, 1, 9, 0, tzinfo=UTC) + timedelta(seconds=rng.randrange(86_400))
    on_hub = source == "hub"
    content: dict[str, Any] = {
        "status": "completed",
        "adapter": {
            "id": config.id,
            "peft_type": config.peft_type,
            "config_class": CONFIG_CLASSES.get(config.peft_type, f"{config.peft_type}Config"),
            "settings": config.settings,
            "config": {"peft_type": config.peft_type, "inference_mode": False, **config.settings},
        },
        "variant": variant,
        "seed": seed,
        "source": {
            "name": source,
            "base_model": "distilbert/distilbert-base-cased" if on_hub else "embedded/all-MiniLM-L6-v2-distilbert",
            "base_model_revision": "6ea81172465e8b0ad3fddeed32b986cdcdcffcf0" if on_hub else None,
            "base_model_sha256": _sha256(f"{source} model"),
            "dataset": "stanfordnlp/imdb" if on_hub else "embedded/movie-review-snippets",
            "dataset_revision": "e6281661ce1c48d982bc483cf8a173c1bbeb5d31" if on_hub else None,
            "dataset_sha256": _sha256(f"{source} rows"),
            "reason": "both names were found on the Hub" if on_hub else "the Hub cannot be reached",
            "published": "homework" if on_hub else None,
            "labels": ["0", "1"],
        },
        "wording": WORDING,
        "data": study.data.model_dump(),
        "training": training.model_dump(),
        "stamps": {name: _sha256(f"{name} {run_id}") for name in ("config", "code", "notebook", "data", "packages")},
        "environment": {
            "device": "cpu",
            "device_name": "Example CPU @ 2.00GHz",
            "platform": "Linux-6.1-x86_64",
            "python": "3.11.2",
            "packages": {"peft": "0.21.2", "torch": "2.13.0", "transformers": "5.23.0"},
            "n_threads": 2,
        },
        "git": {"commit": _sha256("commit")[:40], "dirty": False},
        "started_at": started.isoformat(),
        "finished_at": (started + timedelta(seconds=math.ceil(time_s) + 7)).isoformat(),
        "splits": {
            "train": _split(study.data.n_train, -3),
            "validation": _split(study.data.n_validation, 2),
            "test": {"n": len(predictions), "n_by_label": np.bincount(predictions["label"], minlength=2).tolist()},
        }
        | ({"selection": _split(study.data.n_selection, -4)} if study.data.n_selection else {}),
        "tokens": {"max_tokens": 512, "n_truncated": 0, "pad_token": "[PAD]"},
        "epochs": [epoch for epoch in epochs if epoch["epoch"].is_integer()],
        "evaluations": [] if all(epoch["epoch"].is_integer() for epoch in epochs) else epochs,
        "best": {
            "epoch": best["epoch"],
            "metric": training.metric_for_best_model,
            "value": best[metric],
        },
        "test": {
            "n": len(predictions),
            "accuracy": right / len(predictions),
            "f1": 2 * true_positive / (2 * true_positive + errors) if true_positive else 0.0,
            "loss": round(0.4 + 0.3 * rng.random(), 6),
        },
        "n_trainable_params": n_adapter + n_head,
        "n_adapter_params": n_adapter,
        "n_head_params": n_head,
        "n_total_params": n_head + (n_adapter if config.full_fine_tuning else n_base + n_adapter),
        "train_time_s": time_s,
        "train_cpu_s": round(0.96 * time_s, 3),
        "train_samples_per_s": round(study.data.n_train * training.num_train_epochs / time_s, 3),
        "test_time_s": round(2 + 3 * rng.random(), 3),
        "peak_memory_bytes": 700_000_000 + rng.randrange(300_000_000),
        "adapter_file_bytes": 4 * (n_adapter + n_head) + 2_000 + rng.randrange(900),
        "evaluation_time_s": round(time_s * (0.02 + 0.05 * rng.random()), 3) if evaluated else None,
        "latency": {"n_rows": 20, "median_s": round(time_s / 5000, 6), "merged_median_s": round(time_s / 6000, 6)},
        "learned": _make_learned(config, training, width, rng),
        "steps": _make_steps(training, study.data.n_train, epochs, time_s),
    }  # fmt: skip
    content["strategies"] = _make_strategies(training, epochs, best, content["test"], run_id)
    if study.data.n_selection:
        n = study.data.n_selection
        content["selection"] = content["test"] | {"n": n, "accuracy": round(n * content["test"]["accuracy"]) / n}
    for path, value in changes.items():
        _set(content, path.split("__"), value)
    return Record.model_validate(content)


def _split(n: int, more: int) -> dict[str, Any]:
    """Return a split of two labels, with half the rows and some more of label 1."""
    return {"n": n, "n_by_label": [n - (n // 2 + more), n // 2 + more]}


def make_failed_record(
    adapter: str | AdapterConfig = "lora_1", variant: str = "submitted", seed: int = 224, **options: Any
) -> Record:
    """Return the record of a failed run, without results except two epochs; ``error`` replaces its failure."""
    error = options.pop(
        "error", {"type": "RuntimeError", "message": "loss is nan after step 24 <b>of 80</b>", "cell": 4}
    )
    content = make_record(adapter, variant, seed, **options).model_dump()
    results = ("splits", "best", "test", "n_trainable_params", "n_adapter_params", "n_head_params", "n_total_params",
               "train_time_s", "train_samples_per_s", "test_time_s", "peak_memory_bytes", "adapter_file_bytes",
               "evaluation_time_s", "latency", "train_cpu_s", "learned", "selection")  # fmt: skip
    content |= (
        dict.fromkeys(results)
        | {"steps": (), "strategies": ()}
        | {"status": "failed", "error": error, "epochs": content["epochs"][:2]}
    )
    return Record.model_validate(content)


def make_predictions(
    adapter: str = "lora_1",
    variant: str = "submitted",
    seed: int = 224,
    *,
    n: int = 512,
    accuracy: float | None = None,
    n_positive: int | None = None,
) -> pd.DataFrame:
    """Return test predictions; rows, texts and labels are the same for every run, the others are not.

    Parameters
    ----------
    n : int
        Test rows.
    accuracy : float, optional
        Share of rows predicted right, to the nearest row; default a plausible value that differs from run to run.
    n_positive : int, optional
        Rows with label 1; 0 or ``n`` make a test set of one class. Default a little under half.

    Returns
    -------
    DataFrame, n rows
        The columns that ``records.load_predictions`` asks for.
    """
    n_positive = round(0.48 * n) if n_positive is None else n_positive
    labels = np.array([1] * n_positive + [0] * (n - n_positive))
    np.random.default_rng(1111).shuffle(labels)
    rng = np.random.default_rng(int(_sha256(f"{adapter}/{variant}/seed-{seed}")[:8], 16))
    if accuracy is None:
        rows = {"ia3": 11, "lora_1": 0, "lora_2": 5, "lora_3": -6}.get(adapter, 17) + seed % 5
        accuracy = {"submitted": 0.53, "lr-2e-4": 0.66, "lr-1e-3": 0.72}.get(
            variant, rng.uniform(0.55, 0.8)
        ) + rows / 512
    # Some rows are hard for every model: correctness of two runs is correlated, as it is in reality.
    hardness = np.random.default_rng(2222).normal(size=n) + rng.normal(scale=0.7, size=n)
    correct = np.zeros(n, dtype=bool)
    correct[np.argsort(hardness, kind="stable")[: round(accuracy * n)]] = True
    predictions = np.where(correct, labels, 1 - labels)
    confidence = np.round(rng.uniform(0.501, 0.985, size=n), 6)
    return pd.DataFrame(
        {
            "row_id": np.arange(n) * 7 + 160,
            "text": [f"{HOSTILE_TEXTS[i % len(HOSTILE_TEXTS)]} ({i})" for i in range(n)],
            "label": labels,
            "prediction": predictions,
            "probability": np.where(predictions == 1, confidence, np.round(1 - confidence, 6)),
        }
    )


def write_results(
    root: Path,
    *,
    adapters: Sequence[str] = ADAPTERS,
    variants: Mapping[str, Any] | None = None,
    extra_variants: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (224,),
    source: str = "embedded",
    failed: Collection[str] = (),
    missing: Collection[str] = (),
    truncated: Collection[str] = (),
    n_test: int | None = None,
    accuracy: Mapping[str, float] | None = None,
    n_positive: int | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Paths:
    """Write a project's ``experiments/``: the real YAML files, cut down as asked, and made-up results.

    Parameters
    ----------
    root : Path
        An empty folder that becomes the project's.
    adapters : sequence of str
        Ids. For one that the real project lacks a YAML file is written: a LoRA with DoRA's switch.
    variants : mapping, optional
        ``variants`` of study.yaml; default ``RATE_VARIANTS``, in place of the real search.
    extra_variants : mapping, optional
        More variants, such as ``BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS``.
    failed, missing, truncated : collection of str
        Run ids (``lora_1/submitted/seed-224``): a failed record; no folder; a record cut off in its middle.
    n_test : int, optional
        Test rows, in study.yaml too; default the real study's.
    accuracy : mapping, optional
        Test accuracy by run id or by ``adapter/variant``.
    n_positive : int, optional
        Test rows with label 1, in every run.
    changes : mapping, optional
        By run id, changes for ``make_record``.
    """
    paths = Paths(root)
    _write_settings(paths, adapters, variants, extra_variants, seeds, n_test)
    study = load_study(paths.study)
    runs = plan_runs(study, load_adapters(paths.experiments / "adapters"), source)
    for name in {*failed, *missing, *truncated, *(changes or {})} - {run.id for run in runs}:
        raise ValueError(f"write_results: {name} is no run of this study")
    for run in runs:
        if run.id not in missing:
            _write_run(paths, study, run, accuracy or {}, n_positive, dict((changes or {}).get(run.id, {})),
                       run.id in failed)  # fmt: skip
        if run.id in truncated:
            file = run.folder(paths) / "record.json"
            file.write_text(file.read_text("utf-8")[:400], "utf-8")
    return paths


def read_statuses(
    paths: Paths, source: str = "embedded", stale: Mapping[str, Collection[str]] | None = None
) -> list[RunStatus]:
    """Return the state of every run of a written project; ``stale`` gives stamps by run id."""
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), source)
    other = _sha256("other")
    return [status_of(run, paths, dict.fromkeys((stale or {}).get(run.id, ()), other)) for run in runs]


def read_report(paths: Paths, source: str = "embedded") -> Report:
    """Return the report on a written project, with the published results in it."""
    published = {file.stem: load_published(file) for file in (paths.experiments / "published").glob("*.yaml")}
    adapters = load_adapters(paths.experiments / "adapters")
    return analyse(read_statuses(paths, source), paths, load_study(paths.study), adapters, published)


def _write_settings(
    paths: Paths,
    adapters: Sequence[str],
    variants: Mapping[str, Any] | None,
    extra_variants: Mapping[str, Any] | None,
    seeds: Sequence[int],
    n_test: int | None,
) -> None:
    for folder in ("adapters", "sources", "published"):
        (paths.experiments / folder).mkdir(parents=True)
        for file in sorted((PROJECT.experiments / folder).glob("*.yaml")):
            if folder != "adapters" or file.stem in adapters:
                shutil.copy(file, paths.experiments / folder)
    for adapter in adapters:
        file = paths.experiments / "adapters" / f"{adapter}.yaml"
        if not file.exists():
            content = yaml.safe_load((PROJECT.experiments / "adapters" / "lora_1.yaml").read_text("utf-8"))
            content |= {"use_dora": True, "title": {"zh": f"新的 {adapter}", "en": f"New {adapter}"}, "r": 8}
            del content["rationale"]
            file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    study = yaml.safe_load(PROJECT.study.read_text("utf-8"))
    study["seeds"] = list(seeds)
    del study["search"], study["data"]["n_selection"]
    study["variants"] = copy.deepcopy(dict(variants or RATE_VARIANTS) | dict(extra_variants or {}))
    # An ablation may name an adapter that this small study leaves out.
    for variant in study["variants"].values():
        if variant.get("adapters") is not None:
            variant["adapters"] = [adapter for adapter in variant["adapters"] if adapter in adapters]
    if n_test is not None:
        study["data"]["n_test"] = n_test
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")


def _write_run(
    paths: Paths,
    study: StudyConfig,
    run: Run,
    accuracy: Mapping[str, float],
    n_positive: int | None,
    changes: dict[str, Any],
    failed: bool,
) -> None:
    folder = run.folder(paths)
    folder.mkdir(parents=True)
    wanted = accuracy.get(run.id, accuracy.get(f"{run.adapter.id}/{run.variant}"))
    key = repr((run, study.data, wanted, n_positive, changes, failed))
    if key in _files_of_runs:
        for name, content in _files_of_runs[key].items():
            (folder / name).write_bytes(content)
    else:
        predictions = make_predictions(
            run.adapter.id, run.variant, run.seed, n=study.data.n_test, accuracy=wanted, n_positive=n_positive
        )
        make = make_failed_record if failed else make_record
        record = make(run.adapter, run.variant, run.seed, source=run.source, study=study, training=run.training,
                      predictions=predictions, **changes)  # fmt: skip
        write_record(record, folder)
        if not failed:
            predictions.to_parquet(folder / "predictions.parquet")
            load_predictions(folder)  # fails at once if readers would not accept the made-up file
        notebook = _make_notebook(record, predictions["text"].iloc[0])
        nbformat.validate(notebook)
        (folder / "notebook.ipynb").write_text(json.dumps(notebook, indent=1, ensure_ascii=False), "utf-8")
        _files_of_runs[key] = {file.name: file.read_bytes() for file in folder.iterdir()}
    if not failed:
        (folder / "adapter").mkdir()


def _make_notebook(record: Record, text: str) -> dict[str, Any]:
    """Return a small executed notebook: prose in both languages, code, a text output and, where it failed, an error."""
    stdout = {"output_type": "stream", "name": "stdout", "text": _lines(f"{record.adapter.id}\n{text}\n")}
    cells: list[dict[str, Any]] = [
        _markdown_cell("# 一次實驗\n\n這一格只有中文。", "zh"),
        _markdown_cell("# One run\n\nThis cell is English only.", "en"),
        _code_cell(1, f'adapter = "{record.adapter.id}"\nprint(adapter)', stdout),
        _code_cell(2, "'''\n```\nnot a fence: {{< include x >}}\n'''"),
    ]
    if record.error is not None:
        traceback = ["\u001b[0;31mTraceback\u001b[0m (most recent call last)", record.error.message]
        error = {"output_type": "error", "ename": record.error.type, "evalue": record.error.message}
        cells.append(_code_cell(3, "trainer.train()", error | {"traceback": traceback}))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def _markdown_cell(source: str, language: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {"tags": [language]}, "source": _lines(source)}


def _code_cell(count: int, source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "execution_count": count, "source": _lines(source),
            "outputs": list(outputs)}  # fmt: skip


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _make_epochs(
    peft_type: str, training: TrainingConfig, n_train: int, n_validation: int, rng: random.Random
) -> list[dict[str, Any]]:
    """Return curves of the shapes that real runs have: nothing learnt, learnt slowly, or overfitted."""
    speed = math.log10(training.learning_rate / 2.0e-5) / math.log10(50)  # 0 at 2e-5, 1 at 1e-3
    overfits = speed > 0.8 and peft_type != "IA3"
    start = 0.695 + 0.01 * rng.random()
    steps = math.ceil(n_train / training.per_device_train_batch_size)
    moments: set[float] = {float(epoch) for epoch in range(1, round(training.num_train_epochs) + 1)}
    if training.eval_strategy == "steps" and training.eval_steps:
        moments |= {step / steps for step in range(training.eval_steps, steps * round(training.num_train_epochs) + 1,
                                                   training.eval_steps)}  # fmt: skip
    epochs = []
    for epoch in sorted(moments):
        noise = 0.003 * rng.random()
        validation = start - (0.004 + 0.14 * speed) * (1 - math.exp(-epoch / 3)) + noise
        if overfits:
            validation += 0.09 * max(0.0, epoch - 3) ** 1.2
        accuracy = 0.5 + (0.02 + 0.22 * speed) * (1 - math.exp(-epoch / 4)) + 0.06 * (rng.random() - 0.5)
        whole = epoch == int(epoch)
        train = start * math.exp(-(0.02 + 0.9 * speed**2) * epoch / 3) + 0.002 * rng.random()
        evaluated = training.eval_strategy == "steps" or (training.eval_strategy == "epoch" and whole)
        chooses = evaluated and metric_name(training).startswith("selection_")
        epochs.append(
            {
                "epoch": epoch,
                "train_loss": round(train, 6) if whole else None,
                "validation_loss": round(validation, 6) if evaluated else None,
                "validation_accuracy": round(accuracy * n_validation) / n_validation if evaluated else None,
                "selection_loss": round(validation + 0.01, 6) if chooses else None,
                "selection_accuracy": round(accuracy * 256) / 256 if chooses else None,
                "learning_rate": training.learning_rate * max(0.0, 1 - epoch / training.num_train_epochs),
            }
        )
    return epochs


def metric_name(training: TrainingConfig) -> str:
    """Return the metric that a run chooses by, as records call it."""
    name = training.metric_for_best_model
    return name if name.startswith("selection_") else f"validation_{name}"


def _choose(evaluated: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Return the evaluation with the best metric, the first among equals."""
    sign = 1 if metric.endswith("loss") else -1
    return min(evaluated, key=lambda epoch: sign * epoch[metric])


def _make_steps(
    training: TrainingConfig, n_train: int, epochs: Sequence[dict[str, Any]], time_s: float
) -> list[dict[str, Any]]:
    """Return every step of the optimiser, with the linear schedule of the Trainer."""
    n_steps = math.ceil(n_train / training.per_device_train_batch_size) * round(training.num_train_epochs)
    losses = [epoch["train_loss"] for epoch in epochs if epoch["train_loss"] is not None]
    return [
        {"step": step, "loss": losses[(step - 1) * len(losses) // n_steps],
         "learning_rate": training.learning_rate * (1 - (step - 1) / n_steps),
         "seconds": round(time_s * step / n_steps, 3)}
        for step in range(1, n_steps + 1)
    ]  # fmt: skip


def _make_strategies(
    training: TrainingConfig, epochs: Sequence[dict[str, Any]], best: dict[str, Any], test: dict[str, Any], run_id: str
) -> list[dict[str, Any]]:
    """Return what each strategy would have kept, the run's own first; no two checkpoints have the same test result."""
    own = metric_name(training)
    wanted: list[tuple[str, str | None]] = [
        (training.eval_strategy, own) if training.load_best_model_at_end else ("no", None), ("no", None),
    ]  # fmt: skip
    for metric in (own, "validation_loss"):
        wanted += [(name, metric) for name in ("epoch", "steps") if training.eval_strategy in (name, "steps")]
    evaluated = [epoch for epoch in epochs if epoch["validation_loss"] is not None]
    tests, rng, found = {best["epoch"]: test}, random.Random(f"strategies of {run_id}"), []
    for strategy, chosen_by in dict.fromkeys(wanted):
        seen = [epoch for epoch in evaluated if strategy == "steps" or epoch["epoch"].is_integer()]
        kept = epochs[-1] if chosen_by is None else _choose(seen, chosen_by)
        n_right = min(test["n"], round(test["n"] * test["accuracy"]) + rng.randint(1, 4) + 5 * len(tests))
        tests.setdefault(
            kept["epoch"],
            test | {"accuracy": n_right / test["n"], "loss": round(test["loss"] + 0.1 * rng.random(), 6)},
        )
        value = None if chosen_by is None else kept[chosen_by]
        found.append({"eval_strategy": strategy, "metric": chosen_by, "epoch": kept["epoch"], "value": value,
                      "test": tests[kept["epoch"]]})  # fmt: skip
    return found


def _touched(config: AdapterConfig, width: int) -> list[tuple[str, int, int]]:
    """Return the modules of one layer that an adapter touches, with inputs and outputs of each."""
    targets = config.settings.get("target_modules", [])
    names = targets if isinstance(targets, list) and not config.full_fine_tuning else list(PLACES)
    sizes = {"ffn.lin1": (width, 4 * width), "ffn.lin2": (4 * width, width)}
    return [(name, *sizes.get(name, (width, width))) for name in names]


def _n_adapter_params(config: AdapterConfig, width: int) -> int:
    """Count an adapter's parameters by formula, for a base model of ``N_LAYERS`` layers."""
    if not config.train_adapter:
        return 0
    modules = _touched(config, width)
    if config.peft_type == "IA3":
        scales_input = config.settings.get("feedforward_modules", [])
        return N_LAYERS * sum(d_in if name in scales_input else d_out for name, d_in, d_out in modules)
    rank, dora = int(config.settings.get("r", 8)), config.settings.get("use_dora", False)
    return N_LAYERS * sum(rank * (d_in + d_out) + (d_out if dora else 0) for _, d_in, d_out in modules)


def _make_learned(
    config: AdapterConfig, training: TrainingConfig, width: int, rng: random.Random
) -> list[dict[str, Any]]:
    """Return updates that grow with the learning rate and towards the last layer; none for a baseline."""
    learned = []
    for layer in range(N_LAYERS):
        for name, d_in, d_out in _touched(config, width):
            weight = 30 + 10 * rng.random()
            share = training.learning_rate * (20 + 4 * layer) * (1 + rng.random()) if config.train_adapter else 0.0
            deviation = share * (0.8 + 0.1 * rng.random()) if config.peft_type == "IA3" else None
            learned.append(
                {"module": f"distilbert.transformer.layer.{layer}.{PLACES.get(name, f'attention.{name}')}",
                 "in_features": d_in, "out_features": d_out, "update_norm": share * weight, "weight_norm": weight,
                 "scale_deviation": deviation,
                 "singular_values": _make_singular_values(share * weight, int(config.settings.get("r", 384)))}
            )  # fmt: skip
    return learned


def _make_singular_values(norm: float, rank: int) -> list[float]:
    """Return falling singular values of a matrix of a given norm and rank, the 64 largest; none of a zero matrix."""
    if not norm:
        return []
    decay = np.exp(-np.arange(rank) / (rank / 4))
    return list((norm * decay / np.linalg.norm(decay))[:64])


def _set(content: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        content = content[int(part)] if isinstance(content, list) else content[part]
    if isinstance(content, list):
        content[int(path[-1])] = value
    else:
        content[path[-1]] = value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
