"""Make a small sound project of somebody's own: a model of a few kilobytes, 80 rows of two labels, and a LoRA."""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import yaml
from datasets import ClassLabel, Dataset, Value

from adapterbook.config.paths import Paths
from tests.support.factory import PROJECT
from tests.support.tiny_hub import make_model

N_ROWS: Final = 80
SOURCE: Final[dict[str, Any]] = {"name": "mine", "base_model": "model", "dataset": "data"}
STUDY: Final[dict[str, Any]] = {
    "data": {"shuffle_seed": 1, "n_train": 16, "n_validation": 8, "n_test": 8, "max_words": 50,
             "tokenise_batch_size": 16},
    "training": {"learning_rate": 1.0e-3, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8,
                 "num_train_epochs": 1},
    "seeds": [1],
    "variants": {"submitted": {"title": "As submitted"}},
}  # fmt: skip
ADAPTER: Final[dict[str, Any]] = {"peft_type": "LORA", "r": 4, "target_modules": ["q_lin", "v_lin"],
                                  "modules_to_save": ["pre_classifier", "classifier"]}  # fmt: skip


def make_sound_project(root: Path, tokenizer: Path) -> Paths:
    """Write the project's model and shared files, without settings and data.

    Parameters
    ----------
    tokenizer : Path
        A folder with the files of DistilBERT's tokenizer.
    """
    make_model(root / "experiments" / "sources" / "model", tokenizer)
    (root / "experiments" / "adapters").mkdir()
    shutil.copy(PROJECT.notebook, root / "experiments")
    shutil.copy(PROJECT.root / "book.yaml", root)
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    return Paths(root)


def settings_files(paths: Paths) -> tuple[tuple[Path, dict[str, Any], str], ...]:
    """Return the files of settings, the content of each in a sound project, and the word for it in a case."""
    return (
        (paths.experiments / "sources" / "mine.yaml", SOURCE, "source"),
        (paths.study, STUDY, "study"),
        (paths.experiments / "adapters" / "lora.yaml", ADAPTER, "adapter"),
    )


def write_settings(file: Path, content: dict[str, Any]) -> None:
    """Write a YAML file."""
    file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")


def write_rows(rows: dict[str, Any], folder: Path) -> None:
    """Write 80 rows of two labels, with other columns where `rows` names them; ``class_label`` gives names."""
    columns: dict[str, Any] = {"text": [f"sentence number {i}" for i in range(N_ROWS)], "label": [0, 1]} | rows
    class_label = columns.pop("class_label", None)
    table = Dataset.from_dict({name: list(islice(cycle(values), N_ROWS)) for name, values in columns.items()})
    if class_label is not None:
        table = table.cast_column("label", Value("int64")).cast_column("label", ClassLabel(names=class_label))
    table.to_parquet(folder / "train.parquet")
