"""Load hostile configurations: each is accepted, or refused with a message that names its file.

They are real files with a part replaced, and YAML of any shape. A refusal must be an ``AdapterBookError``, because any
other exception would be a traceback on a student's screen.
"""

from __future__ import annotations

import copy
import datetime
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st
from transformers import DistilBertConfig, DistilBertModel

from adapterbook.common.errors import AdapterBookError, ConfigError
from adapterbook.common.yaml_files import load_yaml
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_published, load_source
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import compute_stamps, plan_runs
from adapterbook.sources.resolve import resolve_source
from adapterbook.training.model import check_adapters
from adapterbook.training.recording import check_arguments
from tests.support.factory import PROJECT
from tests.support.properties import how_many, try_each
from tests.support.small_project import make_small_project, run_adapterbook
from tests.support.tiny_models import make_tokenizer

LONGEST_S = 5.0  # processor time for a document of a megabyte; a file that stalls the program would take minutes

BILLION_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
# Documents that are not settings; some are not even YAML or text.
ODD_DOCUMENTS = (
    b"",
    b"\xef\xbb\xbf",
    b"\xff\xfe\x00\x00",
    b"\x00",
    b"a: \x00",
    b"\xc3\x28: 1",
    b"\xef\xbb\xbfa: 1",
    b"\t- a",
    b"a:\n\tb: 1",
    b"%YAML 9.9\n---\na: 1",
    b"%TAG ! tag:x,2000:\n--- !x\na: 1",
    b"--- 1\n--- 2",
    b"a: 1\n---\nb: 2",
    b"- a\n- b",
    b"just text",
    b"42",
    b"null",
    b"&a [*a]",
    b"a: &a\n  b: *a",
    b"&a {? *a : 1}",
    b"a: *nowhere",
    b"? [a, b]\n: 1",
    b"? {a: b}\n: 1",
    b"1: 2",
    b"null: 1",
    b"true: 1",
    b"2026-01-01: 1",
    b"a: 2026-99-99",
    b"a: 2026-01-01T99:99:99Z",
    b"a: !!binary '*'",
    b"a: !!binary aGVsbG8=",
    b"a: !!python/object/apply:os.system ['touch pwned']",
    b"!!python/object/new:os.system [touch pwned]",
    b"a: !!python/name:os.system",
    b"a: !!int x",
    b"a: !!int ''",
    b"a: !!float x",
    b"a: !!float ''",
    b"a: !!bool x",
    b"a: !!bool ''",
    b"a: !!timestamp x",
    b"a: !!null x",
    b"a: !!set {1, 2}",
    b"a: !!omap [b: 1]",
    b"a: !!omap 1",
    b"a: !!pairs [1]",
    b"a: 0x",
    b"a: 0b",
    b"a: 1:99:99",
    b"a: 0_",
    b"a: -0b_",
    b"a: 0x_",
    b"a: +.inf",
    b"a: .nan",
    b"<<: {a: 1}\n<<: {b: 1}",
    b"<<: 1",
    b"<<: [1]",
    b"a: {<<: [[]]}",
    b"=: 1",
    b"a: =",
    b"a: 1" + b"0" * 5000,
    b"a: 0x" + b"f" * 6000,
    b"a: " + b"9:" * 3000 + b"9",
    b"a: 1e999",
    b"a: 1.0e+99999",
    b"[" * 3000,
    b"{a: " * 3000,
    b"- " * 3000,
    b"a: " + b"[" * 900 + b"]" * 900,
    b"a: " + b"x" * 1_000_000,
    b"a: '" + b"\\ud800" * 10 + b"'",
    b'a: "\\ud800"',
    b'"\\0": "\\x07"',
    b"a: |\n" + b" " * 100 + b"b\n  c",
    BILLION_LAUGHS.encode(),
)

# Wrong values for any place; each is legal YAML.
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**30, 10**5000, 0.0, -0.0, 0.5, 1e308, 5e-324,
    float("inf"), float("-inf"), float("nan"), "", " ", "\0", "\x1b[31m", "1e-4", "1.0e-4", "no", "null", "~", "[",
    "../../etc/passwd", "/etc/passwd", "C:\\x", "a/b", "x" * 5000, "{{< env HOME >}}", "<script>", "'; --", "%s%n",
    "😀", "\u202eabc", "𝟙", "١٢", ".*", "(", "(a+)+$", "(?P<", "all-linear", "ALL-LINEAR", "LORA",
    [], [[]], [None], ["", ""], [1, "a", None], {}, {"": ""}, {"a": {"b": {"c": []}}}, {1: 2}, {None: None},
    {"zh": "a"}, {"zh": 1, "en": []}, {"zh": "a", "en": "b", "fr": "c"}, list(range(2000)), b"bytes",
    datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 1, 1), {"a"},
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=20)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
)
any_value = st.sampled_from(HOSTILE_VALUES).map(copy.deepcopy) | st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def documents(draw: st.DrawFn, real: tuple[Path, ...], more_keys: tuple[str, ...] = ()) -> bytes:
    """Draw the content of a YAML file: odd, arbitrary, or a real one with a few things wrong."""
    kind = draw(st.sampled_from(["odd", "any", "changed", "changed", "changed", "cut"]))
    if kind == "odd":
        return draw(st.sampled_from(ODD_DOCUMENTS) | st.binary(max_size=60))
    if kind == "any":
        return dump(draw(any_value))
    text = draw(st.sampled_from(real)).read_text("utf-8")
    if kind == "cut":
        return draw(damaged(text.encode()))
    content = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 3))):
        change(draw, content, more_keys)
    return dump(content)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a file that lost its end, or had something written into its middle."""
    at = draw(st.integers(0, len(content)))
    inserted = draw(st.sampled_from(ODD_DOCUMENTS[:30]) | st.sampled_from([b":", b"- ", b"\n\t", b"&a ", b"*a", b"!!"]))
    return content[:at] + inserted + (b"" if draw(st.booleans()) else content[at:])


def change(draw: st.DrawFn, content: Any, more_keys: tuple[str, ...]) -> None:
    """Replace, add or take away something at a place that is drawn."""
    while True:
        keys: list[Any] = list(content) if isinstance(content, dict) else list(range(len(content)))
        inner = [key for key in keys if isinstance(content[key], dict | list) and content[key]]
        if not inner or draw(st.booleans()):
            break
        content = content[draw(st.sampled_from(inner))]
    if isinstance(content, list):
        content.append(draw(any_value))
        return
    what = draw(st.sampled_from(["replace", "replace", "add", "delete"]))
    if what == "add":
        new = st.sampled_from(["", "zz", "learning_rat", *more_keys]) | scalars.filter(lambda key: key == key)
        content[draw(new)] = draw(any_value)
    elif keys and what == "delete":
        del content[draw(st.sampled_from(keys))]
    elif keys:
        content[draw(st.sampled_from(keys))] = draw(any_value)


def dump(content: Any) -> bytes:
    """Return YAML of a value; numbers may have any length."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return yaml.dump(content, Dumper=yaml.SafeDumper, allow_unicode=True, sort_keys=False).encode(
            "utf-8", "replace"
        )
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny DistilBERT with random weights, in Transformers' format."""
    folder = tmp_path_factory.mktemp("distilbert")
    DistilBertModel(
        DistilBertConfig(dim=16, hidden_dim=32, n_layers=1, n_heads=2, vocab_size=50, max_position_embeddings=16)
    ).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Make a project for the hostile files."""
    return make_small_project(tmp_path_factory.mktemp("project"))


def outcome(file: Path, content: bytes, use: Any, *, named: str = "") -> str:
    """Write a file, use it, and return the error's message; nothing if the file was accepted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    begun = time.process_time()
    try:
        use()
        said = ""
    except AdapterBookError as error:
        said = str(error)
        assert (named or file.name) in said, said
        assert len(said) < 20_000, said[:500]
        assert all(char.isprintable() or char == "\n" for char in said), repr(said)
        assert "Traceback" not in said
    assert time.process_time() - begun < LONGEST_S
    return said


STUDY = (PROJECT.study,)
ADAPTERS = tuple(sorted((PROJECT.experiments / "adapters").glob("*.yaml")))
SOURCES = tuple(sorted((PROJECT.experiments / "sources").glob("*.yaml")))
PUBLISHED = tuple(sorted((PROJECT.experiments / "published").glob("*.yaml")))
ADAPTER_KEYS = (
    "peft_type", "r", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "layers_pattern",
    "layers_to_transform", "modules_to_save", "init_lora_weights", "use_dora", "megatron_config",
    "tokenizer_name_or_path", "inference_mode", "train_adapter", "loftq_config", "runtime_config", "task_type",
    "layer_replication", "trainable_token_indices", "eva_config", "auto_mapping",
)  # fmt: skip


@how_many(25, 250)
def test_any_study_is_taken_or_refused_by_name(project: Paths, n: int) -> None:
    """A study is refused with its file's name, or gives runs that Transformers accepts, each with stamps."""
    file = project.root / "hostile" / "study.yaml"

    def use() -> None:
        study = load_study(file)
        runs = plan_runs(study, load_adapters(PROJECT.experiments / "adapters"), "embedded")
        check_arguments(runs)
        compute_stamps(runs[0], project, {"base_model": "x"})
        assert all(0 <= run.seed < 2**32 for run in runs)

    try_each(documents(STUDY), n, lambda document: outcome(file, document, use))


@how_many(25, 250)
def test_any_adapter_is_taken_or_refused_by_name(project: Paths, distilbert: Path, n: int) -> None:
    """An adapter is refused with its file's name, or trains on the base model."""
    file = project.root / "hostile" / "adapters" / "odd.yaml"

    def use() -> None:
        adapters = load_adapters(file.parent)
        study = load_study(PROJECT.study)
        study = study.model_copy(update={"variants": {"submitted": study.variants["submitted"]}})
        compute_stamps(plan_runs(study, adapters, "embedded")[0], project, {})
        check_adapters(adapters.values(), distilbert)

    try_each(documents(ADAPTERS, ADAPTER_KEYS), n, lambda document: outcome(file, document, use))


@how_many(25, 250)
def test_any_source_is_taken_or_refused_by_name(project: Paths, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """A source is refused with its file's name, or resolves; no name is looked up outside this machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("adapterbook.sources.hub.ask_commit", _no_network)
    file = project.root / "hostile" / "source.yaml"

    def check(document: bytes) -> None:
        outcome(file, document, lambda: resolve_source(str(file), project), named="source")

    try_each(documents(SOURCES), n, check)


def _no_network(*arguments: Any, **options: Any) -> Any:
    raise ConfigError("source.yaml: the Hub would be asked")


@how_many(25, 250)
def test_any_published_results_are_taken_or_refused_by_name(project: Paths, n: int) -> None:
    """Published results are refused with their file's name, or all their numbers are numbers."""
    file = project.root / "hostile" / "published.yaml"
    try_each(documents(PUBLISHED), n, lambda document: outcome(file, document, lambda: load_published(file)))


@pytest.mark.parametrize("content", ODD_DOCUMENTS, ids=range(len(ODD_DOCUMENTS)))
def test_what_is_no_settings_is_refused(tmp_path: Path, content: bytes) -> None:
    """No odd document becomes settings of any kind, takes long or runs anything."""
    for load in (load_study, load_source, load_published, lambda file: load_adapters(file.parent)):
        assert outcome(tmp_path / "odd.yaml", content, lambda load=load: load(tmp_path / "odd.yaml"))
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BILLION_LAUGHS, "values, aliases counted"),
        ("a: &a [*a]", "holds itself"),
        ("[" * 500_000, "more than 40 levels"),
        ("a: [" + "1, " * 300_000 + "1]", "more than 20,000 values"),
        ("a: 9" + ":9" * 300_000, "a number of 600,001 characters"),
        ("a: " + "9" * 40, "a whole number beyond 64 bits"),
        ("a: .nan", "expected a finite number"),
        ("a: 2026-01-01", "reads this as a date"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ("a: {1: 2}", r"a\.1: a key must be text"),
        ("a: " + "x" * 1_000_001, "too large"),
    ],
    ids=range(11),
)
def test_what_could_stall_or_mislead_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """Each invalid setting is refused by one rule, with its place and in little time."""
    file = tmp_path / "odd.yaml"
    file.write_text(text, "utf-8")
    begun = time.process_time()
    with pytest.raises(ConfigError, match=problem):
        load_yaml(file)
    assert time.process_time() - begun < LONGEST_S


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark, which some editors write, does not change the settings."""
    file = tmp_path / "study.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + PROJECT.study.read_bytes())
    assert load_study(file) == load_study(PROJECT.study)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """A pipe in the place of a file is refused without waiting."""
    os.mkfifo(tmp_path / "odd.yaml")
    with pytest.raises(ConfigError, match="is not a file"):
        load_study(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("target_modules: '(.*.*)*!'", "takes too long to match"),
        pytest.param("rank_pattern: {'(a+)+(.*.*)*!': 4}", "takes too long to match", marks=pytest.mark.slow),
        ("rank_pattern: {'(': 4}", "is not a regular expression"),
        ("r: 1000000000", "expected numbers of 1,000,000 at most"),
        ("r: 900000", "it would add .* numbers to the base model's"),
        ("peft_type: PROMPT_TUNING\ntokenizer_name_or_path: some/where", "read files or modules from elsewhere"),
        ("megatron_config: {}\nmegatron_core: antigravity", "read files or modules from elsewhere"),
        ("lora_alpha: .inf", "expected a finite number"),
    ],
)
def test_what_peft_would_do_anyway_is_refused(tmp_path: Path, distilbert: Path, line: str, problem: str) -> None:
    """Settings are refused with which PEFT would search for ever, fill the memory, ask the Hub or import a module."""
    content = yaml.safe_load(ADAPTERS[-1].read_text("utf-8")) | yaml.safe_load(line)
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(content), "utf-8")
    begun = time.process_time()
    with pytest.raises(ConfigError, match=problem):
        check_adapters(load_adapters(tmp_path).values(), distilbert)
    assert time.process_time() - begun < LONGEST_S


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("study.yaml", BILLION_LAUGHS.encode(), "status"),
        ("study.yaml", b"\xff\xfe", "pages"),
        ("adapters/odd.yaml", b"peft_type: {a: [1]}\nr: .nan", "train"),
        ("sources/embedded.yaml", b'name: ../../x\nbase_model: ~nobody/x\ndataset: "\\0"', "status"),
    ],
)
def test_the_command_line_says_what_is_wrong(tmp_path: Path, name: str, content: bytes, command: str) -> None:
    """A student sees the file's name and no traceback, and the exit status is 2."""
    paths = make_small_project(tmp_path)
    (paths.experiments / name).write_bytes(content)
    answer = run_adapterbook(paths, command)
    assert answer.returncode == 2, answer.stderr
    assert Path(name).name in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
