"""Make an adapter's file from another one, with every setting explained, without overwriting anything."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from adapterbook.commands.new_adapter import create_adapter
from adapterbook.common.errors import ConfigError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters
from tests.support.factory import PROJECT

SHIPPED = sorted(path.stem for path in (PROJECT.experiments / "adapters").glob("*.yaml"))
EXAMPLES = sorted((PROJECT.root / "examples").glob("*/experiments/adapters/*.yaml"))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a project with the shipped adapters."""
    shutil.copytree(PROJECT.experiments / "adapters", tmp_path / "experiments" / "adapters")
    return Paths(tmp_path)


def comments_of(text: str) -> set[str]:
    """Return the text after every `#`."""
    return {line.partition("#")[2].strip() for line in text.splitlines() if "#" in line}


@pytest.mark.parametrize("model", SHIPPED)
def test_a_copy_trains_what_its_model_does(paths: Paths, model: str) -> None:
    """The copy has the old file's method, settings and `train_adapter`; its title is the new name's."""
    path = create_adapter("mine", model, paths)
    adapters = load_adapters(paths.experiments / "adapters")
    old, new = adapters[model], adapters["mine"]
    assert path.name == "mine.yaml"
    assert (new.peft_type, new.settings, new.train_adapter) == (old.peft_type, old.settings, old.train_adapter)
    assert (new.title.zh, new.title.en, new.rationale) == ("mine", "mine", None)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parents[2].name}/{file.stem}")
def test_an_example_s_adapters_can_be_copied_too(file: Path, tmp_path: Path) -> None:
    """A file with other module names and comments between its keys can be copied too."""
    shutil.copytree(file.parent, tmp_path / "experiments" / "adapters")
    create_adapter("mine", file.stem, Paths(tmp_path))


@pytest.mark.parametrize("model", SHIPPED)
def test_every_argument_is_explained(paths: Paths, model: str) -> None:
    """The old comments stay, and each of PEFT's arguments has a comment on its line."""
    old = (paths.experiments / "adapters" / f"{model}.yaml").read_text("utf-8")
    new = create_adapter("mine", model, paths).read_text("utf-8")
    assert comments_of(old) <= comments_of(new)
    for key in load_adapters(paths.experiments / "adapters")[model].settings:
        (line,) = re.findall(rf"(?m)^{key}:.*$", new)
        assert re.search(r"# \S", line), line
    assert max(map(len, new.splitlines())) <= 120


def test_any_argument_offered_can_be_set(paths: Paths) -> None:
    """A commented argument is valid YAML: without the `#` it is the argument at its default."""
    path = create_adapter("mine", "lora_1", paths)
    text = path.read_text("utf-8")
    offered = re.findall(r"(?m)^# (\w+: \S.*?)(?: +# .*)?$", text.partition("PEFT's other arguments")[2])
    names = {line.partition(":")[0] for line in offered}
    assert {"use_dora", "use_rslora", "exclude_modules"} <= names
    assert not names & {"r", "peft_type", "base_model_name_or_path", "inference_mode", "tokenizer_name_or_path"}
    path.write_text(text.replace("# use_dora: false", "use_dora: true"), "utf-8")
    assert load_adapters(path.parent)["mine"].settings["use_dora"] is True
    assert all(isinstance(yaml.safe_load(line), dict) for line in offered)


def test_a_copy_of_a_copy_is_no_longer(paths: Paths) -> None:
    """Our comments are in the copy of a copy only once, and an argument that was set stays set."""
    first = create_adapter("one", "lora_1", paths)
    first.write_text(first.read_text("utf-8").replace("# use_dora: false", "use_dora: true"), "utf-8")
    second = create_adapter("two", "one", paths).read_text("utf-8")
    assert second.count("use_dora") == 1
    assert second.count("rationale") == second.count("other arguments") == second.count("made from") == 1
    assert len(second.splitlines()) == len(first.read_text("utf-8").splitlines())


@pytest.mark.parametrize("name", ["", "../lora_9", "a b", "-x", "x" * 65, "lora_1", "LORA_1", "a/b", "名字"])
def test_a_bad_or_taken_name_is_refused(paths: Paths, name: str) -> None:
    """A name that is not allowed, or taken, is refused, and nothing is written."""
    before = {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"NAME: (expected the name|.*yaml exists)"):
        create_adapter(name, "lora_1", paths)
    assert before == {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()}


def test_an_unknown_model_is_answered_with_those_that_are_there(paths: Paths) -> None:
    """A FROM that is not an adapter is refused."""
    with pytest.raises(ConfigError, match=r"FROM: expected one of lora_1, .*, head_only, got 'lora_9'"):
        create_adapter("mine", "lora_9", paths)


def test_a_file_that_is_not_written_line_by_line_is_not_copied_wrongly(paths: Paths) -> None:
    """A file with a mapping on one line is refused, because its copy would train something else."""
    flow = "{peft_type: LORA, r: 4, target_modules: [q_lin], modules_to_save: [classifier], title: Flow}\n"
    (paths.experiments / "adapters" / "flow.yaml").write_text(flow, "utf-8")
    with pytest.raises(ConfigError):
        create_adapter("mine", "flow", paths)
    assert not (paths.experiments / "adapters" / "mine.yaml").exists()
