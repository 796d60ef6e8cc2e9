"""Test the plan of a study's runs, and the changes that make a run stale."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapterbook.common.errors import ConfigError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import TRAINING_CODE, Run, compute_stamps, plan_runs, status_of
from adapterbook.runs.record import write_record
from tests.support.factory import PROJECT, make_failed_record, make_record

IDENTITY = {"base_model": "package:1", "dataset": "package:2"}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a project whose experiments/ is a copy of the real one, without results."""
    shutil.copytree(PROJECT.experiments, tmp_path / "experiments", ignore=shutil.ignore_patterns("results"))
    return Paths(tmp_path)


def _plan(paths: Paths) -> dict[str, Run]:
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")
    return {run.id: run for run in runs}


def _stamps(paths: Paths) -> dict[str, dict[str, str]]:
    return {name: compute_stamps(run, paths, IDENTITY).model_dump() for name, run in _plan(paths).items()}


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def _changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Return the names of the stamps that changed, by run id."""
    changed = {name: [key for key in stamps if stamps[key] != after[name][key]] for name, stamps in before.items()}
    return {name: keys for name, keys in changed.items() if keys}


def test_the_study_has_the_four_adapters_as_submitted_with_three_seeds() -> None:
    """The runs of the homework's protocol come first, named by adapter, variant and seed."""
    planned = list(_plan(PROJECT))
    expected = {
        f"{adapter}/submitted/seed-{seed}"
        for adapter in ("lora_1", "lora_2", "lora_3", "ia3", "head_only")
        for seed in (224, 225, 226)
    }
    assert set(planned[: len(expected)]) == expected


def test_seeds_replace_those_of_the_study() -> None:
    """SEEDS="2 1" gives two runs of each variant, and one of a variant that runs with the first seed: the lowest."""
    study, adapters = load_study(PROJECT.study), load_adapters(PROJECT.experiments / "adapters")
    seeds: dict[str, list[int]] = {}
    for run in plan_runs(study, adapters, "embedded", [2, 1]):
        if run.adapter.id == "lora_1":
            seeds.setdefault(run.variant, []).append(run.seed)
    assert seeds == {"submitted": [2, 1], "batch-4": [1], "batch-64": [1], "eval-steps": [1]}


def test_one_value_of_one_adapter_changes_that_adapter_s_runs_only(paths: Paths) -> None:
    """A changed setting makes a run stale by the stamp of its configuration alone."""
    before = _stamps(paths)
    _replace(paths.experiments / "adapters" / "lora_3.yaml", "lora_dropout: 0.2", "lora_dropout: 0.3")
    assert _changed(before, _stamps(paths)) == {name: ["config"] for name in before if name.startswith("lora_3/")}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("adapters/lora_1.yaml", "  zh: LoRA 1", "  zh: 第一種 LoRA"),
        ("adapters/lora_1.yaml", "# rank of BA", "# the rank"),
        ("study.yaml", "en: As submitted", "en: As handed in"),
    ],
)
def test_words_for_people_make_no_run_stale(paths: Paths, file: str, old: str, new: str) -> None:
    """Changed titles, rationales and comments do not make a run stale."""
    before = _stamps(paths)
    _replace(paths.experiments / file, old, new)
    assert _changed(before, _stamps(paths)) == {}


def test_prose_in_the_notebook_makes_no_run_stale_and_code_does(paths: Paths) -> None:
    """Only the code cells of the notebook are in its stamp."""
    before = _stamps(paths)
    notebook = json.loads(paths.notebook.read_text("utf-8"))
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")["source"] = ["# Other words\n"]
    paths.notebook.write_text(json.dumps(notebook), "utf-8")
    assert _changed(before, _stamps(paths)) == {}
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"].append("\nx = 1")
    paths.notebook.write_text(json.dumps(notebook), "utf-8")
    assert _changed(before, _stamps(paths)) == {name: ["notebook"] for name in before}


def test_other_data_is_another_data_stamp() -> None:
    """Another commit or other content under the same names changes the stamp of the data."""
    run = next(iter(_plan(PROJECT).values()))
    one, other = (compute_stamps(run, PROJECT, IDENTITY | {"dataset": data}) for data in ("hub:a", "hub:b"))
    assert one.data != other.data
    assert one.model_copy(update={"data": other.data}) == other


def test_a_notebook_that_cannot_be_read_is_named(paths: Paths) -> None:
    """A notebook that cannot be read is an error that names it."""
    paths.notebook.write_text("{", "utf-8")
    with pytest.raises(ConfigError, match=r"experiment\.ipynb is not a readable notebook"):
        _stamps(paths)


def test_a_variant_leaves_out_the_adapters_that_it_names(paths: Paths) -> None:
    """Full fine-tuning is not run as submitted; a name without a file leaves nothing out."""
    assert not any(name.startswith("full/submitted/") for name in _plan(paths))
    _replace(paths.study, "except_adapters: [full]", "except_adapters: [gone]")
    assert any(name.startswith("full/submitted/") for name in _plan(paths))


def test_a_variant_of_an_adapter_that_is_not_there_is_named(paths: Paths) -> None:
    """A variant that names an adapter without a file is refused."""
    _replace(
        paths.study, "    adapters: [lora_1]\n    seeds: first\n\n", "    adapters: [lora_9]\n    seeds: first\n\n"
    )
    with pytest.raises(
        ConfigError, match=r"variants\.batch-64\.adapters: there is no experiments/adapters/lora_9\.yaml"
    ):
        _plan(paths)


def test_states_of_a_run(paths: Paths) -> None:
    """A run is missing, completed, stale, failed or broken; a record in another run's folder is broken."""
    run = _plan(paths)["lora_1/submitted/seed-224"]
    folder = run.folder(paths)
    assert status_of(run, paths, {}).state == "missing"
    folder.mkdir(parents=True)
    record = make_record()
    write_record(record, folder)
    assert status_of(run, paths, record.stamps.model_dump()).up_to_date
    stale = status_of(run, paths, record.stamps.model_dump() | {"code": "0" * 64})
    assert (stale.state, stale.stale, stale.up_to_date) == ("completed", ("code",), False)
    write_record(make_failed_record(), folder)
    failed = status_of(run, paths, {})
    assert failed.state == "failed"
    assert "loss is nan" in (failed.problem or "")
    write_record(make_record("ia3"), folder)
    assert "lies in the folder of" in (status_of(run, paths, {}).problem or "")
    (folder / "record.json").write_text("{", "utf-8")
    assert status_of(run, paths, {}).state == "broken"


def test_the_code_stamp_covers_every_module_that_the_notebook_goes_through() -> None:
    """Every module of this package that the notebook imports is in the code stamp, or its result is stamped."""
    cells = json.loads(PROJECT.notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imports = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adapterbook.")
    ]
    assert len(imports) > 3
    script = "\n".join([*imports, "import sys", "print(*[m for m in sys.modules if m.startswith('adapterbook.')])"])
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT.root, capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in run.stdout.split()}
    assert "training" in rooms
    # The settings are stamped by `config`, the base model and the data set, packages' conversion included, by `data`.
    # Training decides everything else in a record.
    assert rooms - {"training"} <= {"common", "config", "sources", "runs"}
    assert TRAINING_CODE.name == "training"


def test_a_change_of_any_training_file_changes_the_code_stamp(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of training/ is hashed, one by one, and a new file counts as well."""
    folder = tmp_path / "training"
    shutil.copytree(TRAINING_CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("adapterbook.runs.plan.TRAINING_CODE", folder)
    run = next(iter(_plan(paths).values()))
    seen = {compute_stamps(run, paths, {}).code}
    for file in [*sorted(folder.glob("*.py")), folder / "new.py"]:
        with file.open("a", encoding="utf-8") as code:
            code.write("# changed\n")
        seen.add(compute_stamps(run, paths, {}).code)
    assert len(seen) == len(list(folder.glob("*.py"))) + 1
