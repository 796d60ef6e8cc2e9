"""Load the shipped YAML files, which are all valid; every mistake gets a message that helps."""

import shutil
from pathlib import Path

import pytest

from adapterbook.common.errors import ConfigError
from adapterbook.common.yaml_files import load_yaml
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_published, load_source
from adapterbook.config.study import load_adapters, load_study

ROOT = Path(__file__).parents[3]
PATHS = Paths(ROOT)


def test_study_is_the_protocol_of_the_homework() -> None:
    """The shipped study.yaml follows the protocol in experiments/published/homework.yaml."""
    study = load_study(PATHS.study)
    protocol = load_published(PATHS.experiments / "published" / "homework.yaml").protocol
    submitted = study.training_of(study.submitted)
    for name in ("shuffle_seed", "n_train", "n_validation", "max_words", "tokenise_batch_size"):
        assert protocol[name] == getattr(study.data, name), name
    for name in ("learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size", "num_train_epochs",
                 "eval_strategy", "save_strategy", "load_best_model_at_end"):  # fmt: skip
        assert protocol[name] == getattr(submitted, name), name
    assert protocol["seed"] == study.seeds[0]


def test_numbers_in_titles_are_those_of_the_settings() -> None:
    """The titles of adapters and variants hold the values that the files set, in both languages."""
    study, adapters = load_study(PATHS.study), load_adapters(PATHS.experiments / "adapters")
    first, third = adapters["lora_1"].settings, adapters["lora_3"].settings
    assert (2 * third["r"], third["lora_alpha"] / third["r"]) == (first["r"], 1)  # "half the rank, scale 1"
    numbers = [(adapters["lora_1"].title, first["r"])]
    for name, key in (
        ("batch-4", "per_device_train_batch_size"),
        ("batch-64", "per_device_train_batch_size"),
        ("eval-steps", "eval_steps"),
    ):
        numbers.append((study.variants[name].title, study.variants[name].training[key]))
    for title, number in numbers:
        shown = f"{number:.0e}".replace("e-0", "e-") if isinstance(number, float) else str(number)
        assert shown in title.en.split(), title
        assert shown in title.zh.split(), title


@pytest.mark.parametrize("file", sorted((PATHS.experiments / "sources").glob("*.yaml")), ids=lambda file: file.stem)
def test_each_shipped_source_is_valid_and_named_as_its_file(file: Path) -> None:
    """A source's name is its file's name, so that SOURCE=<name> finds it."""
    assert load_source(file).name == file.stem


def test_the_four_adapters_are_those_of_the_homework() -> None:
    """The shipped adapters are exactly the four that were published, and two baselines."""
    published = load_published(PATHS.experiments / "published" / "homework.yaml")
    found = {name: adapter.baseline for name, adapter in load_adapters(PATHS.experiments / "adapters").items()}
    assert found == {**dict.fromkeys(published.adapters), "head_only": "head_only", "full": "full_fine_tuning"}


def test_variants_lie_over_the_protocol() -> None:
    """A variant changes the arguments that it names and nothing else."""
    study = load_study(PATHS.study)
    submitted, fast = study.training_of("submitted"), study.training_of("eval-steps")
    assert fast.learning_rate == 1.0e-3
    changed = {name: getattr(submitted, name) for name in study.variants["eval-steps"].training}
    assert fast.model_copy(update=changed) == submitted


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("learning_rate: 2.0e-5", "learning_rate: 2e-5", "training.learning_rate: '2e-5' is text to YAML"),
        ("learning_rate: 2.0e-5", "learning_rat: 2.0e-5", "unknown key (did you mean learning_rate?)"),
        ("num_train_epochs: 10", "num_train_epochs: ten", "training.num_train_epochs: input should be a valid number"),
        ("num_train_epochs: 10", "num_train_epochs: 0", "training.num_train_epochs: input should be greater than 0"),
        ("n_train: 128 ", "n_train: 1.5 ", "data.n_train: input should be a valid integer"),
        ("eval_strategy: epoch ", "eval_strategy: daily ", "training.eval_strategy: input should be 'no', 'steps' or"),
        ("save_strategy: epoch", "save_strategy: 'no'", "load_best_model_at_end needs save_strategy"),
        ("seeds: [224, 225, 226]", "seeds: []", "seeds: "),
        ("seeds: [224, 225, 226]", "seeds: [1, 1]", "each seed once"),
        ("{learning_rate: 1.0e-3, ", "{lr: 2.0e-4, ", "variants.eval-steps.training.lr: unknown key"),
        ("  batch-4:", "  ../up:", "variants.../up: a name is letters"),
        ("seeds: [224, 225, 226]", "seeds: [224]\nseeds: [1]", "the key 'seeds' is repeated"),
        ("margin: 0.05", "margin: 0", "margin: expected a difference of accuracies above 0 and below 1, got 0;"),
        ("margin: 0.05", "margin: 5", "margin: expected a difference of accuracies above 0 and below 1, got 5;"),
        ("margin: 0.05", "margin: 5e-2", "margin: "),
        ("data:\n", "data: [\n", "is not valid YAML"),
    ],
)
def test_a_mistake_in_the_study_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """Each mistake gives a ConfigError that names the file, the key, and what to do."""
    text = PATHS.study.read_text("utf-8")
    assert old in text
    file = tmp_path / "study.yaml"
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert "study.yaml" in str(caught.value)
    assert problem in str(caught.value)


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    """Two mistakes are reported at once, each on its line."""
    file = tmp_path / "study.yaml"
    file.write_text(
        PATHS.study.read_text("utf-8").replace("n_train: 128", "n_train: x").replace("seeds: [224, 225, 226]", "")
    )
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert sorted(problem.partition(":")[0] for problem in caught.value.problems) == ["data.n_train", "seeds"]


def test_an_adapter_keeps_its_settings_verbatim(tmp_path: Path) -> None:
    """PEFT gets the settings exactly as they are in the file; title and rationale are ours."""
    (tmp_path / "mine.yaml").write_text("peft_type: lokr\nr: 4\ntarget_modules: [q_lin]\ntitle: Mine\n", "utf-8")
    adapter = load_adapters(tmp_path)["mine"]
    assert adapter.peft_type == "LOKR"
    assert adapter.settings == {"r": 4, "target_modules": ["q_lin"]}
    assert (adapter.title.zh, adapter.title.en, adapter.rationale) == ("Mine", "Mine", None)


def test_an_adapter_without_a_title_is_called_by_its_id(tmp_path: Path) -> None:
    """An adapter without a title is called by its id."""
    (tmp_path / "plain.yaml").write_text("peft_type: LORA\n", "utf-8")
    assert load_adapters(tmp_path)["plain"].title.en == "plain"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("r: 8\n", "peft_type: missing"),
        ("peft_type: LORA\nlora_dropout: 1e-1\n", "lora_dropout: '1e-1' is text to YAML"),
        ("peft_type: LORA\ntrain_adapter: maybe\n", "train_adapter: input should be a valid boolean"),
        ("peft_type: [LORA]\n", "peft_type: input should be a valid string"),
        ("peft_type: LORA\ntitle: {zh: 標題}\n", "title.en: missing"),
        ("- LORA\n", "expected keys and values, got list"),
        ("1: x\n", "1: a key must be text"),
        ("", "expected keys and values, got nothing"),
        ("peft_type: \x00", "is not valid YAML"),
    ],
)
def test_a_mistake_in_an_adapter_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """Each mistake names the file and the key."""
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_adapters(tmp_path)
    assert "mine.yaml" in str(caught.value)
    assert problem in str(caught.value)


def test_problems_of_several_adapters_come_together(tmp_path: Path) -> None:
    """The mistakes of all files are reported at once."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("r: 1\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_adapters(tmp_path)
    assert "a.yaml" in str(caught.value)
    assert "b.yaml" in str(caught.value)


def test_a_baseline_trains_the_head_alone_or_everything(tmp_path: Path) -> None:
    """A file that asks for both is refused, and so is an adapter with the name of the linear probe."""
    (tmp_path / "x.yaml").write_text("peft_type: LORA\ntrain_adapter: false\nfull_fine_tuning: true\n", "utf-8")
    with pytest.raises(ConfigError, match=r"x\.yaml is not a valid adapter:\n.*train_adapter: false only the head"):
        load_adapters(tmp_path)
    (tmp_path / "x.yaml").rename(tmp_path / "linear_probe.yaml").write_text("peft_type: LORA\n", "utf-8")
    with pytest.raises(ConfigError, match=r"linear_probe is the linear probe's: take another name"):
        load_adapters(tmp_path)


def test_a_folder_without_adapters_is_an_error(tmp_path: Path) -> None:
    """A folder without any adapter is refused."""
    with pytest.raises(ConfigError, match="holds no adapter"):
        load_adapters(tmp_path)


def test_a_source_name_cannot_leave_the_results_folder(tmp_path: Path) -> None:
    """A name that is a path is refused, because it becomes the name of a folder."""
    file = tmp_path / "mine.yaml"
    file.write_text("name: ../../etc\nbase_model: a/b\ndataset: c/d\n", "utf-8")
    with pytest.raises(ConfigError, match="names a folder"):
        load_source(file)


def test_yaml_that_builds_objects_is_refused(tmp_path: Path) -> None:
    """YAML that asks for Python objects is refused."""
    file = tmp_path / "evil.yaml"
    file.write_text("a: !!python/object/apply:os.system ['true']\n", "utf-8")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_yaml(file)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    """A file that is missing or not UTF-8 is refused by name."""
    with pytest.raises(ConfigError, match=r"gone\.yaml is missing"):
        load_yaml(tmp_path / "gone.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml cannot be read"):
        load_yaml(tmp_path / "binary.yaml")


def test_published_curves_of_unequal_length_are_refused(tmp_path: Path) -> None:
    """A published curve of ten losses and nine accuracies is refused."""
    text = (PATHS.experiments / "published" / "homework.yaml").read_text("utf-8")
    file = tmp_path / "homework.yaml"
    file.write_text(text.replace("0.53125, 0.5625, 0.59375]", "0.53125, 0.5625]", 1), "utf-8")
    with pytest.raises(ConfigError, match="validation_loss has 10 epochs, validation_accuracy 9"):
        load_published(file)


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    """What editors and macOS leave beside the adapters is not read, not even a link that leads nowhere."""
    shutil.copy(PATHS.experiments / "adapters" / "lora_1.yaml", tmp_path)
    (tmp_path / ".#lora_1.yaml").symlink_to("somebody@host.123")
    (tmp_path / "._lora_1.yaml").write_bytes(b"\0\5\x16\7")
    for name in (".lora_1.yaml.swp", ".DS_Store", ".hidden.yml", "lora_1.yaml~", "#lora_1.yaml#", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0")
    assert list(load_adapters(tmp_path)) == ["lora_1"]


@pytest.mark.parametrize("name", ["mine.yml", "mine.YAML", "mine.Yml"])
def test_another_ending_of_yaml_is_named(tmp_path: Path, name: str) -> None:
    """A file that nothing would read is a mistake with its remedy."""
    shutil.copy(PATHS.experiments / "adapters" / "lora_1.yaml", tmp_path)
    (tmp_path / name).write_text("peft_type: LORA\n", "utf-8")
    with pytest.raises(ConfigError, match=rf"(?s)do not end in \.yaml.*{name}: rename it mine\.yaml"):
        load_adapters(tmp_path)
