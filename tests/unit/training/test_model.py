"""Test a base model with an adapter: its parameter counts, LoRA's algebra, and the check of an adapter's file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
)

from adapterbook.common.errors import ConfigError, SourceError
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_published
from adapterbook.config.study import AdapterConfig, BilingualText, load_adapters
from adapterbook.training.model import (
    check_adapters,
    count_parameters,
    describe_config,
    load_base_model,
    make_peft_config,
)
from tests.support.tiny_models import make_tokenizer

# PEFT 0.21 reads a property of the model that Transformers 5.23 has given another name.

ATTENTION = ["q_lin", "k_lin", "v_lin", "out_lin"]


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny DistilBERT with random weights, in Transformers' format."""
    folder = tmp_path_factory.mktemp("distilbert")
    torch.manual_seed(0)
    config = DistilBertConfig(dim=64, hidden_dim=128, n_layers=2, n_heads=4, vocab_size=100, max_position_embeddings=32)
    DistilBertModel(config).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny BERT with random weights, in Transformers' format."""
    folder = tmp_path_factory.mktemp("bert")
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    BertModel(BertConfig(**sizes, vocab_size=100)).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


@pytest.mark.parametrize("adapter_id", ["lora_1", "lora_2", "lora_3", "ia3"])
def test_shipped_adapters_train_the_derived_number_of_parameters(project: Paths, adapter_id: str) -> None:
    """On distilbert-base-cased's shape each adapter trains the number worked out by hand, 592,130 of it in the head."""
    adapter = load_adapters(project.experiments / "adapters")[adapter_id]
    derived = load_published(project.experiments / "published" / "homework.yaml").derived_trainable_params
    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=28996))
    n_base = sum(parameter.numel() for parameter in model.parameters())
    counts = count_parameters(get_peft_model(model, make_peft_config(adapter, model)))
    assert counts.n_trainable == derived[adapter_id]
    assert counts.n_head == 592_130
    assert counts.n_adapter == derived[adapter_id] - 592_130
    assert counts.n_total == n_base + counts.n_adapter


def test_full_fine_tuning_is_a_step_of_the_plain_model(project: Paths, distilbert: Path) -> None:
    """The shipped full.yaml trains every parameter once, and one step gives the logits of one without PEFT, exactly."""
    adapted = _adapt(distilbert, load_adapters(project.experiments / "adapters")["full"])
    plain = load_base_model(distilbert, seed=0)
    n_all = sum(parameter.numel() for parameter in plain.parameters())
    counts = count_parameters(adapted)
    assert (counts.n_trainable, counts.n_total, counts.n_head) == (n_all, n_all, 64 * 64 + 64 + 64 * 2 + 2)
    logits = []
    for model in (plain, adapted):
        model.train(False)
        optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], 1e-2)
        model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([1])).loss.backward()
        optimizer.step()
        logits.append(model(input_ids=torch.tensor([[4, 5, 6]])).logits)
    assert torch.equal(*logits)


def test_full_fine_tuning_that_freezes_weights_is_refused(project: Paths, distilbert: Path, bert: Path) -> None:
    """A file that forgets a module, or takes a method that freezes the base model, is told what stays frozen."""
    full = load_adapters(project.experiments / "adapters")["full"]
    modules = [name for name in full.settings["target_modules"] if name not in ("k_lin", "LayerNorm")]
    forgets = full.model_copy(update={"settings": full.settings | {"target_modules": modules}})
    frozen = "distilbert.embeddings.LayerNorm, distilbert.transformer.layer.0.attention.k_lin, "
    with pytest.raises(ConfigError, match=f"full.yaml is not.*\n.*full_fine_tuning: .*but {re.escape(frozen)}"):
        check_adapters([forgets], distilbert)
    lora = _adapter(target_modules=["query"]).model_copy(update={"full_fine_tuning": True})
    with pytest.raises(ConfigError, match="stay frozen: take peft_type LN_TUNING, and name every module"):
        check_adapters([lora], bert)
    check_adapters([full], distilbert)


def test_head_is_found_and_counted_where_the_file_names_none(distilbert: Path) -> None:
    """Without modules_to_save PEFT trains the whole head, including pre_classifier, and all of it counts as head."""
    named = _adapt(distilbert, _adapter(target_modules=ATTENTION, modules_to_save=["pre_classifier", "classifier"]))
    found = _adapt(distilbert, _adapter(target_modules=ATTENTION))
    assert count_parameters(found) == count_parameters(named)
    assert count_parameters(found).n_head == 64 * 64 + 64 + 64 * 2 + 2
    assert any("pre_classifier" in name for name, parameter in found.named_parameters() if parameter.requires_grad)


def test_task_is_classification_where_the_file_does_not_say(distilbert: Path) -> None:
    """A file without task_type still trains the head."""
    adapter = AdapterConfig(id="x", peft_type="LORA", settings={"target_modules": ATTENTION}, title=_title())
    assert count_parameters(_adapt(distilbert, adapter)).n_head > 0
    check_adapters([adapter], distilbert)


def test_lora_adds_its_scaled_product_to_the_weight(embedded_model: Path) -> None:
    """After merging, each adapted weight is W + (lora_alpha / r) B A, on the real converted model."""
    base = load_base_model(embedded_model, seed=0)
    before = {name: parameter.detach().clone() for name, parameter in base.named_parameters()}
    adapted = get_peft_model(
        base, make_peft_config(_adapter(r=4, lora_alpha=6, target_modules=["q_lin", "ffn.lin1"]), base)
    )
    torch.manual_seed(1)
    products = {}
    for name, module in adapted.get_base_model().named_modules():
        if hasattr(module, "lora_A") and name:
            for part in (module.lora_A["default"], module.lora_B["default"]):
                torch.nn.init.normal_(part.weight)
            products[name] = module.lora_B["default"].weight @ module.lora_A["default"].weight
    merged = dict(adapted.merge_and_unload().named_parameters())
    assert len(products) == 12
    for name, product in products.items():
        expected = before[f"{name}.weight"] + 6 / 4 * product
        assert torch.allclose(merged[f"{name}.weight"], expected, atol=1e-5), name
    untouched = "distilbert.transformer.layer.0.attention.k_lin.weight"
    assert torch.equal(merged[untouched], before[untouched])


def test_same_seed_gives_the_same_head(embedded_model: Path) -> None:
    """The new head depends on the seed alone; the encoder's weights do not depend on it."""
    first, again, other = (load_base_model(embedded_model, seed).state_dict() for seed in (224, 224, 225))
    assert all(torch.equal(first[name], again[name]) for name in first)
    different = {name for name in first if not torch.equal(first[name], other[name])}
    assert different == {"pre_classifier.weight", "classifier.weight"}


def test_base_model_is_a_two_class_classifier_in_float32(embedded_model: Path) -> None:
    """Label 0 is negative, label 1 is positive, and every weight is float32."""
    model = load_base_model(embedded_model, seed=0, labels=("negative", "positive"))
    assert model.config.num_labels == 2
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_pickled_weights_are_refused(distilbert: Path, tmp_path: Path) -> None:
    """A folder with only pytorch_model.bin is an error, because reading a pickle runs code."""
    (tmp_path / "config.json").write_bytes((distilbert / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match="expected safetensors weights"):
        load_base_model(tmp_path, seed=0)


def test_folder_without_an_architecture_is_refused(tmp_path: Path) -> None:
    """A config.json that Transformers cannot place is an error of the source."""
    (tmp_path / "config.json").write_text('{"model_type": "nonesuch"}', "utf-8")
    with pytest.raises(SourceError, match="cannot be loaded as a classifier"):
        check_adapters([], tmp_path)


def test_shipped_adapters_are_valid(project: Paths, embedded_model: Path) -> None:
    """Every adapter of the project passes on the embedded base model."""
    check_adapters(load_adapters(project.experiments / "adapters").values(), embedded_model)


GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("LORA", {}),
    "DoRA": ("LORA", {"use_dora": True}),
    "rsLoRA, PiSSA": ("LORA", {"use_rslora": True, "init_lora_weights": "pissa_niter_4"}),
    "an int for a float": ("LORA", {"lora_dropout": 0, "rank_pattern": {"0": 4}}),
    "LoKr": ("LOKR", {"decompose_both": True}),
    "LoHa": ("LOHA", {"r": 4}),
    "OFT": ("OFT", {"oft_block_size": 16, "r": 0}),
    "BOFT": ("BOFT", {"boft_block_size": 4}),
    "VeRA": ("VERA", {"r": 16}),
    "AdaLoRA": ("ADALORA", {"total_step": 80}),
    "AdaLoRA without its steps": ("ADALORA", {}),
    "IA3": ("IA3", {"feedforward_modules": []}),
    "FourierFT": ("FOURIERFT", {"n_frequency": 50}),
}


@pytest.mark.parametrize("case", GOOD)
def test_other_methods_are_accepted_on_both_architectures(case: str, distilbert: Path, bert: Path) -> None:
    """Every method that PEFT can train as a classifier passes, with DistilBERT's module names and with BERT's."""
    peft_type, settings = GOOD[case]
    check_adapters([_adapter(peft_type, target_modules=["q_lin", "v_lin"], **settings)], distilbert)
    check_adapters([_adapter(peft_type, target_modules=["query", "value"], **settings)], bert)


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "LN_TUNING", "target_modules": ["sa_layer_norm", "output_layer_norm"]},
        {"target_modules": r".*\.attention\.[qv]_lin"},
        {"target_modules": "all-linear", "modules_to_save": ["pre_classifier", "classifier"]},
        {"peft_type": "IA3", "target_modules": ["k_lin", "ffn.lin2"], "feedforward_modules": ["ffn.lin2"]},
    ],
)
def test_modules_are_named_the_way_peft_takes_them(settings: dict[str, Any], distilbert: Path) -> None:
    """Endings of names, a pattern over whole names and "all-linear" pass; so do modules that are not linear."""
    check_adapters([_adapter(**settings)], distilbert)


def test_message_is_the_one_of_the_style_guide(distilbert: Path) -> None:
    """An unknown key and a module that matches nothing are both in one message, each with what to do."""
    adapter = _adapter(adapter_id="lora_1", lora_drop=0.1, target_modules=["q_proj", "k_lin"])
    with pytest.raises(ConfigError) as caught:
        check_adapters([adapter], distilbert)
    assert str(caught.value) == (
        "experiments/adapters/lora_1.yaml is not a valid adapter:\n"
        "  - lora_drop: unknown key; LoraConfig takes lora_dropout (did you mean that?)\n"
        '  - target_modules: "q_proj" matches no module of the base model; its linear modules are\n'
        "    q_lin, k_lin, v_lin, out_lin, ffn.lin1, ffn.lin2"
    )


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown method": ("LORAA", {}, r"peft_type: 'LORAA' is not a method of PEFT \(did you mean LORA\?\)"),
    "text for a number": ("LORA", {"r": "8"}, "r: expected int, got str '8'"),
    "fraction for a count": ("LORA", {"r": 8.5}, "r: expected int, got float 8.5"),
    "truth for a count": ("LORA", {"r": True}, "r: expected int, got bool True"),
    "unknown choice": ("LORA", {"bias": "some"}, "bias: expected 'none' or 'all' or 'lora_only', got str 'some'"),
    "unknown initialisation": ("LORA", {"init_lora_weights": "bogus"}, "bogus"),
    "rank of nothing": ("LORA", {"r": 0}, "positive integer"),
    "another task": ("LORA", {"task_type": "CAUSAL_LM"}, "task_type: expected SEQ_CLS"),
    "not to be trained": ("LORA", {"inference_mode": True}, "inference_mode: not for an adapter's file"),
    "key far from any": ("LORA", {"xyz": 1}, "xyz: unknown key; LoraConfig takes task_type, r, "),
    "numbers for modules": ("LORA", {"target_modules": [1]}, r"target_modules: expected .*list\[str\].*, got list"),
    "broken pattern": ("LORA", {"target_modules": "(q_lin"}, r'target_modules: "\(q_lin" matches no module'),
    "half a name": ("LORA", {"target_modules": ["lin"]}, 'target_modules: "lin" matches no module'),
    "unknown head": ("LORA", {"modules_to_save": ["clasifier"]}, "(?s)modules_to_save.*pre_classifier, classifier"),
    "no normalisation": (
        "LN_TUNING",
        {"target_modules": ["norm"]},
        "(?s)LayerNorm modules are.*embeddings.LayerNorm, sa_layer_norm, output_layer_norm",
    ),
    "IA3 of two minds": ("IA3", {"feedforward_modules": ["ffn.lin1"]}, "should be a subset of `target_modules`"),
    "AdaLoRA of no steps": ("ADALORA", {"total_step": 0}, "total_step"),
    "block that does not divide": ("BOFT", {"boft_block_size": 7}, "BOFT cannot serve|divisible"),
    "method that asks for a decoder": (
        "PREFIX_TUNING",
        {"num_virtual_tokens": 2, "token_dim": 64, "num_layers": 2, "num_attention_heads": 4},
        "PREFIX_TUNING cannot serve .*past key values",
    ),
    "method for causal models": ("CPT", {"num_virtual_tokens": 2}, "CAUSAL_LM"),
    "method for another architecture": ("ADAPTION_PROMPT", {"adapter_len": 2, "adapter_layers": 1}, "distilbert"),
    "method without the cache it needs": ("PREFIX_TUNING", {"num_virtual_tokens": 2}, "PREFIX_TUNING cannot serve"),
    "method that wants more than text": ("POLY", {"n_tasks": 1, "n_skills": 1}, "task_ids"),
    "head left untrained": ("TRAINABLE_TOKENS", {"token_indices": [1, 2]}, "classification head untrained"),
}
WITHOUT_TARGETS = {"CPT", "ADAPTION_PROMPT", "PREFIX_TUNING", "TRAINABLE_TOKENS"}


@pytest.mark.parametrize("case", BAD)
def test_unfit_adapters_are_refused_before_anything_trains(case: str, distilbert: Path) -> None:
    """A wrong setting, or a method that cannot serve here, is one clear error that names the file."""
    peft_type, settings, message = BAD[case]
    targets: dict[str, Any] = {} if peft_type in WITHOUT_TARGETS else {"target_modules": ["q_lin"]}
    with pytest.raises(ConfigError, match=message) as caught:
        check_adapters([_adapter(peft_type, **{**targets, **settings})], distilbert)
    assert caught.value.summary == "experiments/adapters/x.yaml is not a valid adapter:"


def test_problems_of_all_adapters_come_at_once(distilbert: Path) -> None:
    """Two bad files of three are both in the message, and the good one is not."""
    adapters = [
        _adapter(adapter_id="first", target_modules=["q_proj"]),
        _adapter(adapter_id="good", target_modules=["q_lin"]),
        _adapter(adapter_id="second", r="8"),
    ]
    with pytest.raises(ConfigError) as caught:
        check_adapters(adapters, distilbert)
    assert caught.value.summary == "2 adapters are not valid:"
    assert "first.yaml" in str(caught.value)
    assert "second.yaml" in str(caught.value)
    assert "good.yaml" not in str(caught.value)


def test_check_leaves_the_random_numbers_alone(distilbert: Path) -> None:
    """A check of an adapter does not change the random numbers drawn after it."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_adapters([_adapter(target_modules=["q_lin"])], distilbert)
    assert torch.equal(torch.rand(3), expected)


def test_making_a_config_leaves_the_settings_as_they_were(distilbert: Path) -> None:
    """PEFT adds heads to a config's lists; the adapter's settings, which stamps hash, stay as written."""
    adapter = _adapter(target_modules=ATTENTION, modules_to_save=["classifier"])
    before = json.dumps(adapter.settings)
    _adapt(distilbert, adapter)
    assert json.dumps(adapter.settings) == before


def test_setting_that_peft_refuses_is_an_error_of_the_file(distilbert: Path) -> None:
    """make_peft_config also names the file when it is called without a check."""
    with pytest.raises(ConfigError, match=r"experiments/adapters/x\.yaml is not a valid adapter:\n.*lora_drop"):
        make_peft_config(_adapter(lora_drop=0.1), load_base_model(distilbert, seed=0))


def test_described_config_is_json_without_paths_and_always_the_same(distilbert: Path) -> None:
    """The description holds each keyword argument as JSON, sets in order, no path of the machine, and no head twice."""
    settings: dict[str, Any] = {
        "r": 4,
        "target_modules": ATTENTION,
        "modules_to_save": ["pre_classifier", "classifier"],
    }
    base_model = load_base_model(distilbert, seed=0)
    config = make_peft_config(_adapter(**settings), base_model)
    described = describe_config(config)
    assert json.loads(json.dumps(described)) == described
    assert described["target_modules"] == sorted(ATTENTION)
    assert (described["peft_type"], described["task_type"], described["r"]) == ("LORA", "SEQ_CLS", 4)
    assert set(LoraConfig.__dataclass_fields__) - set(described) <= {"base_model_name_or_path", "runtime_config"}
    adapted = get_peft_model(base_model, config)
    after = describe_config(adapted.peft_config["default"])
    assert str(distilbert) not in json.dumps(after)
    assert len(after["modules_to_save"]) == len(set(after["modules_to_save"]))


def _title() -> BilingualText:
    return BilingualText(zh="測試", en="test")


def _adapter(peft_type: str = "LORA", adapter_id: str = "x", **settings: Any) -> AdapterConfig:
    return AdapterConfig(
        id=adapter_id, peft_type=peft_type, settings={"task_type": "SEQ_CLS", **settings}, title=_title()
    )


def _adapt(folder: Path, adapter: AdapterConfig) -> PeftModel:
    base_model = load_base_model(folder, seed=0)
    model = get_peft_model(base_model, make_peft_config(adapter, base_model))
    assert isinstance(model, PeftModel)
    return model
