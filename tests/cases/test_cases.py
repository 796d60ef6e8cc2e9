"""Run every case of this folder: an input that somebody brought, and what has to come of it.

A case is a YAML file. What it leaves out is as in a small sound project: a tiny model, 80 rows of two labels, a LoRA.

about:        a sentence that states the claim
report:       where the input comes from
rows:         columns of the data set, each a list that is repeated up to 80 rows; ``class_label`` gives names; null:
              the files, or a ``csv``, give the rows
csv:          instead, a CSV file of 80 rows: its encoding, its line ends, and the text of row ``{i}`` as it is there
model:        instead, a tiny model of this ``family``, with settings of its ``tokenizer`` and of its configuration
files:        texts of other files, by their path below the project; null removes a file
source, study, adapter:
              keys that replace those of the file, at any depth; null removes a key
command:      a command to run in a process, with ``environment``; without it the project is checked up to the first run
expect:       with a command ``exit``, and ``shown``: texts of its output; else ``refused``: texts of the message, or
              what `_check` returns
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.common.errors import AdapterBookError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import plan_runs
from adapterbook.sources.resolve import fetch_source, resolve_source
from adapterbook.training.data import label_names, load_splits
from adapterbook.training.recording import preflight
from adapterbook.training.trainer import training_kwargs
from tests.support.small_project import run_adapterbook
from tests.support.sound_project import N_ROWS, make_sound_project, settings_files, write_rows, write_settings
from tests.support.tiny_models import make_base_model, make_tokenizer

CASES = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(Path(__file__).parent.glob("*.yaml"))}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """The small sound project, without data."""
    return make_sound_project(tmp_path_factory.mktemp("cases") / "project", embedded_model).root


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
    if "model" in case:
        _write_model(dict(case["model"]), sources / "model")
    if "csv" in case:
        _write_csv(case["csv"], sources / "data" / "train.csv")
    elif (rows := case.get("rows", {})) is not None:
        write_rows(rows, sources / "data")
    for file, sound, key in settings_files(paths):
        write_settings(file, _merged(sound, case.get(key, {})))
    for name, text in case.get("files", {}).items():
        path = paths.root / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def _write_model(form: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(folder)
    make_tokenizer(folder, **form.pop("tokenizer", {}))
    make_base_model(folder, form.pop("family"), **form)


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
