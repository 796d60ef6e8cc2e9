"""Run every case of this folder: an input that somebody brought, and what has to come of it.

A case is a YAML file. What it leaves out is as in a small sound project: a tiny model, 80 rows of two labels, a LoRA.

about:        a sentence that states the claim
report:       where the input comes from
rows:         columns of the data set, each a list that is repeated up to 80 rows; ``class_label`` gives names; null:
              the files, or a ``csv``, give the rows
csv:          instead, a CSV file of 80 rows: its encoding, its line ends, and the text of row ``{i}`` as it is there
files:        texts of other files, by their path below the project; null removes a file
source, study, adapter:
              keys that replace those of the file, at any depth; null removes a key
command:      a command to run in a process, with ``environment``; without it the project is checked up to the first run
expect:       with a command ``exit``, and ``shown``: texts of its output; else ``refused``: texts of the message, or
              what `_check` returns
"""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import ClassLabel, Dataset, Value

from adapterbook.common.errors import AdapterBookError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import plan_runs
from adapterbook.sources.resolve import fetch_source, resolve_source
from adapterbook.training.data import label_names, load_splits
from adapterbook.training.recording import preflight
from adapterbook.training.trainer import training_kwargs
from tests.support.factory import PROJECT
from tests.support.small_project import run_adapterbook
from tests.support.tiny_hub import make_model

CASES = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(Path(__file__).parent.glob("*.yaml"))}
N_ROWS = 80
SOURCE = {"name": "mine", "base_model": "model", "dataset": "data"}
STUDY = {
    "data": {"shuffle_seed": 1, "n_train": 16, "n_validation": 8, "n_test": 8, "max_words": 50,
             "tokenise_batch_size": 16},
    "training": {"learning_rate": 1.0e-3, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8,
                 "num_train_epochs": 1},
    "seeds": [1],
    "variants": {"submitted": {"title": "As submitted"}},
}  # fmt: skip
ADAPTER = {"peft_type": "LORA", "r": 4, "target_modules": ["q_lin", "v_lin"],
           "modules_to_save": ["pre_classifier", "classifier"]}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """The small sound project, without data."""
    root = tmp_path_factory.mktemp("cases") / "project"
    make_model(root / "experiments" / "sources" / "model", embedded_model)
    (root / "experiments" / "adapters").mkdir()
    shutil.copy(PROJECT.notebook, root / "experiments")
    shutil.copy(PROJECT.root / "book.yaml", root)
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    return root


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_its_outcome(name: str, sound: Path, tmp_path: Path) -> None:
    """What a case's `about` claims holds."""
    case, expected = CASES[name], CASES[name]["expect"]
    paths = Paths(Path(shutil.copytree(sound, tmp_path / "project")))
    _write(case, paths)
    if "command" in case:
        done = run_adapterbook(paths, *case["command"].split(), SOURCE="mine", **case.get("environment", {}))
        output = done.stdout + done.stderr
        assert done.returncode == expected["exit"], output
        assert "Traceback" not in output
        assert not [text for text in expected.get("shown", ()) if text not in output], output
    elif "refused" in expected:
        with pytest.raises(AdapterBookError) as caught:
            _check(paths)
        assert not [text for text in expected["refused"] if text not in str(caught.value)], str(caught.value)
    else:
        found = _check(paths)
        assert {key: found[key] for key in expected} == expected


def test_every_case_states_its_claim_and_its_origin() -> None:
    """A case says in a sentence what it is about, and where it comes from."""
    assert CASES
    for name, case in CASES.items():
        assert case["about"].endswith(".") and str(case["report"]), name


def _write(case: dict[str, Any], paths: Paths) -> None:
    """Write the files of a case."""
    sources = paths.experiments / "sources"
    (sources / "data").mkdir()
    if "csv" in case:
        _write_csv(case["csv"], sources / "data" / "train.csv")
    elif (rows := case.get("rows", {})) is not None:
        write_rows(rows, sources / "data")
    for file, sound, key in (
        (sources / "mine.yaml", SOURCE, "source"),
        (paths.study, STUDY, "study"),
        (paths.experiments / "adapters" / "lora.yaml", ADAPTER, "adapter"),
    ):
        content = _merged(sound, case.get(key, {}))
        file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
    for name, text in case.get("files", {}).items():
        path = paths.root / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def write_rows(rows: dict[str, Any], folder: Path) -> None:
    """Write 80 rows of two labels, with other columns where a case names them."""
    columns: dict[str, Any] = {"text": [f"sentence number {i}" for i in range(N_ROWS)], "label": [0, 1]} | rows
    class_label = columns.pop("class_label", None)
    table = Dataset.from_dict({name: list(islice(cycle(values), N_ROWS)) for name, values in columns.items()})
    if class_label is not None:
        table = table.cast_column("label", Value("int64")).cast_column("label", ClassLabel(names=class_label))
    table.to_parquet(folder / "train.parquet")


def _write_csv(form: dict[str, str], path: Path) -> None:
    lines = ["text,label", *(f"{form['text'].format(i=i)},{i % 2}" for i in range(N_ROWS))]
    path.write_bytes("".join(line + form["newline"] for line in lines).encode(form["encoding"]))


def _merged(sound: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings with changes at any depth; None removes a key."""
    content = dict(sound)
    for key, value in changes.items():
        inner = content.get(key)
        content[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return {key: value for key, value in content.items() if value is not None}


def _check(paths: Paths) -> dict[str, Any]:
    """Check a project up to its first run, and return what a case may expect of it."""
    study, adapters = load_study(paths.study), load_adapters(paths.experiments / "adapters")
    source = resolve_source("mine", paths)
    runs = plan_runs(study, adapters, source.config.name)
    preflight(runs, paths, source)
    splits = load_splits(fetch_source(source).dataset, source.config, study.data)
    first = min(splits["train"], key=lambda row: row["row_id"])
    arguments = training_kwargs(runs[-1].training)
    return {
        "labels": list(label_names(splits)),
        "first_text": first["text"],
        "n_words": len(first["text"].split()),
        "n_characters": len(first["text"]),
        "arguments": {key: arguments[key] for key in CHECKED if key in arguments},
    }


CHECKED = ("warmup_steps", "max_steps", "label_smoothing_factor", "train_sampling_strategy", "num_train_epochs",
           "lr_scheduler_kwargs", "adam_beta2")  # fmt: skip
