"""Check what a card tells the Hub and a reader about an adapter, and that the card's code runs."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from peft import get_peft_model
from transformers import AutoTokenizer, BertConfig, BertModel

from adapterbook.common.formatting import format_number
from adapterbook.config.study import AdapterConfig, BilingualText
from adapterbook.runs.model_card import CARD, render_model_card, write_model_card
from adapterbook.sources.packages import BASE_MODEL, BERT_MODEL, materialise
from adapterbook.training.model import load_base_model, make_peft_config
from adapterbook.training.reloading import load_saved
from tests.support.card_code import SENTENCE, install_base_model, run_card_code
from tests.support.factory import make_record

NUMBER = re.compile(r"\d(?:[\d.,]*\d)?(?:e-\d+)?%?")


def metadata_of(card: str) -> ModelCardData:
    """Return the metadata as the Hub's client reads them."""
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def halves(card: str) -> tuple[str, str]:
    """Return the English and the Chinese part."""
    english, chinese = card.split("\n## 繁體中文\n")
    return english.partition("\n## English\n")[2], chinese


def tables(text: str) -> list[list[str]]:
    """Return the numbers of each row of each table."""
    return [NUMBER.findall(line) for line in text.splitlines() if line.startswith("|") and "---" not in line]


def test_the_metadata_are_the_hub_s_own() -> None:
    """The Hub's client reads the card back: base model, task, library, and the record's results in every bit."""
    record = make_record("lora_1", "lr-1e-3", source="hub")
    data = metadata_of(render_model_card(record))
    assert (data.base_model, data.library_name, data.pipeline_tag) == (
        "distilbert/distilbert-base-cased",
        "peft",
        "text-classification",
    )
    assert (data.license, data.language, data.datasets) == ("apache-2.0", "en", ["stanfordnlp/imdb"])
    assert data.metrics == ["accuracy", "f1"]
    assert data["base_model_relation"] == "adapter"
    assert record.test is not None
    assert {result.metric_type: result.metric_value for result in data.eval_results or ()} == {
        "accuracy": record.test.accuracy,
        "f1": record.test.f1,
        "loss": record.test.loss,
    }
    assert {result.dataset_revision for result in data.eval_results or ()} == {record.source.dataset_revision}


def test_a_package_s_model_is_named_as_the_hub_names_it() -> None:
    """An embedded base model has a name on the Hub, an embedded data set has none."""
    data = metadata_of(render_model_card(make_record()))
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.datasets is None


def test_what_the_record_does_not_know_is_not_made_up() -> None:
    """A base model in a folder gets no Hub name, no licence and no language."""
    record = make_record(source="mine", source__base_model="my-bert", source__dataset="my-rows")
    card = render_model_card(record)
    data = metadata_of(card)
    assert (data.base_model, data.datasets, data.language, data.license) == (None, None, None, "unknown")
    assert "`my-bert` is a folder on the machine that trained this adapter." in card
    assert "`my-bert` 是訓練這個轉接器的機器上的資料夾" in card


@pytest.mark.parametrize("adapter", ["lora_1", "ia3"])
@pytest.mark.parametrize("source", ["embedded", "hub"])
def test_both_languages_say_the_same_numbers(adapter: str, source: str) -> None:
    """Each row of each table has the same numbers in both, and they are the record's as the pages show them."""
    record = make_record(adapter, "lr-2e-4", source=source)
    english, chinese = halves(render_model_card(record))
    assert tables(english) == tables(chinese)
    assert english.count("\n### ") == chinese.count("\n### ") == 3
    assert record.test is not None
    for value, kind in (
        (record.test.accuracy, "percent"),
        (record.test.loss, "loss"),
        (record.n_adapter_params, "count"),
        (record.training.learning_rate, "rate"),
    ):
        assert format_number(value, kind, "en") in english


def test_another_training_of_the_same_run_has_the_same_card() -> None:
    """A card has no times, memory or date, so a run that is trained again has the same files, bit for bit."""
    record = make_record()
    later = record.model_copy(
        update={
            "started_at": record.started_at + timedelta(days=3),
            "finished_at": record.finished_at + timedelta(days=3),
            "train_time_s": 1.5,
            "peak_memory_bytes": 1,
            "git": None,
        }
    )
    assert render_model_card(later) == render_model_card(record)


def test_the_baseline_says_that_it_is_one() -> None:
    """The card of a head that was trained alone says in both languages that its adapter was not trained."""
    english, chinese = halves(render_model_card(make_record("ia3", n_adapter_params=0)))
    assert "The adapter beside it was not\ntrained" in english
    assert "沒有訓練過" in chinese


def test_full_fine_tuning_does_not_say_that_the_base_model_was_frozen() -> None:
    """The card of a run that trained every parameter says so in both languages; a LoRA's card says the opposite."""
    record = make_record()
    full = halves(render_model_card(record.model_copy(update={"n_trainable_params": record.n_total_params})))
    frozen = halves(render_model_card(record))
    for card, said, not_said in zip(full, ("All weights", "所有權重"), ("frozen", "凍結"), strict=True):
        assert said in card and not_said not in card
    assert "frozen" in frozen[0] and "凍結" in frozen[1]


HOSTILE = "x`|\n---\n# <script>alert(1)</script> {{ 7 * 191 }}"


@pytest.mark.parametrize("changes", [{"source__base_model": HOSTILE, "source__dataset": HOSTILE}])
def test_hostile_names_stay_names(changes: dict[str, Any]) -> None:
    """No folder's name can end the metadata, begin a heading or leave its code, and no setting can end its fence."""
    record = make_record(source="mine", **changes)
    record = record.model_copy(
        update={"adapter": record.adapter.model_copy(update={"settings": {"bias": "```\n# no heading\n```"}})}
    )
    card = render_model_card(record)
    assert [result.dataset_name for result in metadata_of(card).eval_results or ()] == [HOSTILE] * 3
    body = card.split("\n---\n", 1)[1]
    code = re.sub(r"(?ms)^```\w+\n.*?^```$|`[^`\n]*`", "", body)
    assert "<script>" not in code
    assert "1337" not in card
    assert not re.search(r"(?m)^# (?!LoRA)", code)
    assert card.count("\n```") == 6


def test_the_card_is_yaml_that_any_reader_takes(tmp_path: Path) -> None:
    """The block between the dashes is YAML, and the file is written whole."""
    write_model_card(make_record(), tmp_path)
    text = (tmp_path / CARD).read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [CARD]
    metadata = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert metadata["model-index"][0]["name"] == "lora_1/submitted/seed-224"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the base model's package."""
    return install_base_model(tmp_path_factory.mktemp("package"))


@pytest.mark.parametrize(
    ("base_model", "query"), [(BASE_MODEL, "q_lin"), pytest.param(BERT_MODEL, "query", marks=pytest.mark.slow)]
)
def test_the_card_s_code_gives_the_adapter_s_probabilities_without_adapterbook(
    base_model: str, query: str, packages: Path, tmp_path: Path
) -> None:
    """With packages from PyPI alone, the code loads base model, head and adapter as training had them."""
    record = make_record(source__base_model=base_model, seed=7)
    expected = _save_adapter(materialise(base_model), query, tmp_path / "trained")
    (tmp_path / "elsewhere").mkdir()
    actual = run_card_code(render_model_card(record), tmp_path / "trained", packages, tmp_path / "elsewhere")
    assert actual == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_the_card_s_code_needs_no_seed_for_a_new_pooler(tmp_path: Path) -> None:
    """A BERT without weights for its pooler gets the one that was trained and saved with the adapter."""
    folder = tmp_path / "elsewhere" / "my-bert"
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    AutoTokenizer.from_pretrained(materialise(BERT_MODEL)).save_pretrained(folder)
    expected = _save_adapter(folder, "query", tmp_path / "trained")
    card = render_model_card(make_record(source="mine", source__base_model="my-bert"))
    actual = run_card_code(card, tmp_path / "trained", tmp_path, tmp_path / "elsewhere")
    assert actual == pytest.approx(expected, abs=1e-6)


def _save_adapter(base_model: Path, query: str, folder: Path) -> list[float]:
    """Save a random adapter over a base model as a run would; return its probabilities for the sentence."""
    base = load_base_model(base_model, seed=7)
    adapter = AdapterConfig(id="x", peft_type="LORA", settings={"target_modules": [query], "init_lora_weights": False},
                            title=BilingualText(zh="x", en="x"))  # fmt: skip
    model = get_peft_model(base, make_peft_config(adapter, base)).eval()
    model.save_pretrained(str(folder))
    with torch.no_grad():
        logits = model(**AutoTokenizer.from_pretrained(base_model)([SENTENCE], return_tensors="pt")).logits
    probabilities: list[float] = logits.double().softmax(dim=-1)[0].tolist()
    return probabilities


def test_the_card_loads_an_adapter_as_a_run_s_own_check_does() -> None:
    """Both make the same two calls; the check only adds that nothing is fetched or run."""
    guards = {"use_safetensors", "local_files_only", "trust_remote_code"}
    for card in (make_record(), make_record(source="hub"), make_record(tokens__max_tokens=None)):
        code = re.findall(r"(?ms)^```python\n(.*?)^```$", render_model_card(card))[0]
        found = _keywords(code)
        assert found["AutoModelForSequenceClassification"].pop("id2label")
        expected = _keywords(inspect.getsource(load_saved))
        for name, keywords in expected.items():
            assert found[name].keys() == keywords.keys() - guards
        for name in ("dtype", "ignore_mismatched_sizes"):
            model = "AutoModelForSequenceClassification"
            assert found[model][name] == expected[model][name]
        tokens = card.tokens
        assert tokens is not None
        limits = {} if tokens.max_tokens is None else {"model_max_length": str(tokens.max_tokens)}
        assert found["AutoTokenizer"] == {"pad_token": repr(tokens.pad_token), **limits}
        assert "model.config.pad_token_id = tokenizer.pad_token_id" in code
        assert code.index("pad_token_id") < code.index("PeftModel.from_pretrained")


def _keywords(code: str) -> dict[str, dict[str, str]]:
    """Return the keywords of each call of a class's ``from_pretrained``, the last call counting."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {
        ast.unparse(call.func.value): {str(keyword.arg): ast.unparse(keyword.value) for keyword in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"
    }


def test_the_card_of_a_model_from_the_hub_needs_no_conversion() -> None:
    """The code for a base model on the Hub is valid Python, plain Transformers and PEFT, and names that model."""
    for code in re.findall(r"(?ms)^```python\n(.*?)^```$", render_model_card(make_record(source="hub"))):
        compile(code, CARD, "exec")
        imports = [line.split()[1] for line in code.splitlines() if line.startswith("from ")]
        assert imports == ["peft", "transformers"]
        assert '"distilbert/distilbert-base-cased"' in code
