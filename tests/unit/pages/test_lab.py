"""Test what the training lab's scripts hold, and why a study may have none; tests/built uses the lab in a browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapterbook.config.paths import Paths
from adapterbook.pages import lab
from adapterbook.pages.lab import DATA, KNOBS, lab_scripts, open_lab
from adapterbook.runs.probe import FEATURES, probe_folder
from adapterbook.runs.record import seal_record, write_record
from tests.support.factory import PHRASES, read_report, write_results
from tests.support.probe import WIDTH, make_head, write_probe
from tests.support.report_pages import make_study_pages

ONE_RUN: dict[str, Any] = {"adapters": ("lora_1",), "variants": {"submitted": {"title": "x"}}}


def content_of(script: str) -> dict[str, Any]:
    """Return what a script assigns."""
    found: dict[str, Any] = json.loads(script.partition(" = ")[2].rstrip().removesuffix(";"))
    return found


def test_the_scripts_hold_the_features_and_the_settings(tmp_path: Path) -> None:
    """Features lose only what 16 bits cannot hold; the form begins with the protocol, and offers all that it names."""
    paths = write_results(tmp_path, **ONE_RUN)
    write_probe(paths)
    report = read_report(paths)
    scripts = lab_scripts(open_lab(report, paths), report, PHRASES)
    assert set(scripts) == {DATA, "scripts/lab-zh.js", "scripts/lab-en.js"}
    data, stored = content_of(scripts[DATA]), load_file(probe_folder(paths, "embedded") / FEATURES)
    for name, split in data["splits"].items():
        halves = np.frombuffer(base64.b64decode(split["features"]), "<f2").reshape(-1, WIDTH)
        np.testing.assert_allclose(halves, stored[f"{name}.head"], rtol=1e-3, atol=1e-6)
        assert split["labels"] == stored[f"{name}.label"].tolist()
    assert data["head"] == make_head(2)
    settings = {language: content_of(scripts[f"scripts/lab-{language}.js"]) for language in ("zh", "en")}
    for own in settings.values():
        training = report.study.training
        assert own["submitted"] == {"rate": training.learning_rate, "batch": 16, "strategy": "epoch", "every": 2,
                                    "epochs": 10, "seed": report.study.seeds[0]}  # fmt: skip
        choices = [own["submitted"] | preset["choice"] for preset in own["presets"]]
        choices += [own["submitted"] | own["embedded"][knob] for knob in KNOBS]
        for choice in choices:
            assert choice["rate"] in own["rates"] and choice["batch"] in own["batches"]
            assert choice["epochs"] in own["epochs"] and choice["seed"] in own["seeds"]
        assert own["rates"] == sorted(set(own["rates"]))
    assert settings["zh"]["words"].keys() == settings["en"]["words"].keys()


def test_every_word_of_the_scripts_is_there_and_used() -> None:
    """What lab.js asks for is in phrases.yaml, and nothing else is; parts of keys come from the choices."""
    script = (Path(lab.__file__).parents[2] / "report" / "assets" / "lab" / "lab.js").read_text("utf-8")
    named = set(re.findall(r"\bwords\.(\w+)", script))
    families = ("strategy_", "preset_", "expect_", "verdict_", "others_", "reason_", "open_")
    simple = {key for key in PHRASES.lab if not key.startswith(families)} - {"without", "rate", "batch", "epochs"}
    assert named - {"strategy"} - {"rate", "batch", "epochs"} == simple - {"strategy"}


def change_features(**changes: Any) -> Callable[[Paths], None]:
    """Return what lays other tensors into the file of features, and seals the record again."""

    def change(paths: Paths) -> None:
        record = write_probe(paths)
        folder = probe_folder(paths, "embedded")
        found = load_file(folder / FEATURES)
        found |= {name.replace("_", "."): value(found[name.replace("_", ".")]) for name, value in changes.items()}
        save_file(found, folder / FEATURES)
        write_record(seal_record(record, folder), folder)

    return change


def edit(paths: Paths) -> None:
    write_probe(paths)
    file = probe_folder(paths, "embedded") / FEATURES
    file.write_bytes(file.read_bytes()[:-8] + b"12345678")


def link(paths: Paths) -> None:
    write_probe(paths)
    file = probe_folder(paths, "embedded") / FEATURES
    file.rename(paths.root / "elsewhere")
    file.symlink_to(paths.root / "elsewhere")


CHANGES: dict[str, tuple[Callable[[Paths], Any], str | None]] = {
    "sound": (write_probe, None),
    "no probe": (lambda paths: None, "missing"),
    "another kind of head": (lambda paths: write_probe(paths, head=None), "head"),
    "too many weights": (lambda paths: write_probe(paths, head=[{**make_head(2)[0], "n_out": 10**6}]), "large"),
    "an edited file": (edit, "damaged"),
    "a link": (link, "damaged"),
    "layers that do not fit": (lambda paths: write_probe(paths, head=make_head(2)[:1]), "damaged"),
    "another width": (change_features(train_head=lambda x: x[:, 1:]), "damaged"),
    "other types": (change_features(test_head=lambda x: x.astype(np.float64)), "damaged"),
    "a number that is none": (change_features(train_head=lambda x: np.where(x > 0, np.nan, x)), "damaged"),
    "a label too many": (change_features(validation_label=lambda y: y + 1), "damaged"),
    "a tensor that is missing": (change_features(test_label=lambda y: y[:0]), "damaged"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_study_without_a_lab_has_a_reason(tmp_path: Path, kind: str) -> None:
    """Features that are missing, unknown, too large or not what the record says are a reason, and no script is made."""
    paths = write_results(tmp_path, **ONE_RUN)
    change, reason = CHANGES[kind]
    change(paths)
    report = read_report(paths)
    found = open_lab(report, paths)
    assert found.obstacle == reason
    assert bool(lab_scripts(found, report, PHRASES)) == (reason is None)
    assert reason is None or f"reason_{reason}" in PHRASES.lab


def test_the_pages_have_the_lab_or_its_reason(tmp_path: Path) -> None:
    """With features each of the four explanations has a form, the PDF none; without, the page says why."""
    with_lab = make_study_pages(tmp_path / "with", probe=0.7, **ONE_RUN)
    without = make_study_pages(tmp_path / "without", **ONE_RUN)
    for language, words in (("zh", "還沒有線性探測的紀錄"), ("en", "no record of the linear probe")):
        assert [f'data-knob="{knob}"' in with_lab.page(f"{language}/method").text for knob in KNOBS] == [True] * 4
        assert 'data-knob=""' in with_lab.page(f"{language}/lab").text
        assert 'class="lab"' not in with_lab.page(f"pdf/report-{language}").text
        assert words in without.page(f"{language}/lab").text
        assert 'class="lab"' not in without.page(f"{language}/method").text + without.page(f"{language}/lab").text
