"""Test the trial before the first run: what it lets pass for every family, and what it refuses in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from adapterbook.common.errors import AdapterBookError, ConfigError, RunError, SourceError
from adapterbook.config.study import AdapterConfig, BilingualText, DataConfig, TrainingConfig
from adapterbook.runs.plan import Run
from adapterbook.training.head import new_modules
from adapterbook.training.model import check_adapters, load_base_model, make_peft_config
from adapterbook.training.reloading import check_saved, load_saved, predict, tolerance_of
from adapterbook.training.tokens import count_truncated, load_tokenizer, token_limit
from adapterbook.training.trial import _choose_rows, try_runs
from tests.support.tiny_models import FAMILIES, make_base_model, make_tokenizer

TEXTS = ["good film", "very bad " * 40, "a fine book", "dull plot"]
HEADS = {
    "distilbert": ("pre_classifier", "classifier"),
    "bert": ("bert.pooler", "classifier"),
    "roberta": ("classifier",),
    "albert": ("albert.pooler", "classifier"),
    "deberta-v2": ("pooler", "classifier"),
    "electra": ("classifier",),
    "mpnet": ("classifier",),
    "modernbert": ("classifier",),
    "gpt2": ("score",),
}


def _splits(texts: list[str] = TEXTS) -> DatasetDict:
    features = Features({"row_id": Value("int64"), "text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    rows = Dataset.from_dict({"row_id": range(4), "text": texts, "label": [0, 1, 1, 0]}, features)
    return DatasetDict(dict.fromkeys(("train", "validation", "test"), rows))


def _run(targets: Any, peft_type: str = "LORA", training: dict[str, Any] | None = None, **settings: Any) -> Run:
    """Return a run of four steps."""
    modules = {} if targets is None else {"target_modules": targets}
    title = BilingualText(zh="x", en="x")
    adapter = AdapterConfig(id="mine", peft_type=peft_type, settings=modules | settings, title=title)
    arguments = {"learning_rate": 0.05, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    data = DataConfig(shuffle_seed=1, n_train=32, n_validation=4, n_test=4, max_words=500, tokenise_batch_size=8)
    config = TrainingConfig.model_validate(arguments | {"num_train_epochs": 2} | (training or {}))
    return Run(adapter, "submitted", 1, config, data, "tiny")


def _make(folder: Path, family: str, kind: Any = AutoModel, **settings: Any) -> Path:
    make_base_model(folder, family, kind, **settings)
    make_tokenizer(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_brings_all_that_its_base_model_lacks(family: str, tmp_path: Path) -> None:
    """A plain LoRA on a model saved without a pooler gives its predictions again, over a model of another seed.

    The tokenizer knows no limit, and a text is longer than the model takes.
    """
    kind = AutoModelForCausalLM if family == "gpt2" else AutoModelForMaskedLM
    folder, run = _make(tmp_path, family, kind), _run(FAMILIES[family][0])
    model = load_base_model(folder, seed=1)
    assert new_modules(model) == HEADS[family]
    assert token_limit(load_tokenizer(folder)) == (38 if family in ("roberta", "mpnet") else 40)
    check_adapters([run.adapter], folder)
    try_runs([run], folder, _splits())


@pytest.mark.parametrize(
    ("training", "same_device", "tolerance"),
    [({}, True, 1e-4), ({}, False, 1e-2), ({"fp16": True}, True, 1e-2), ({"bf16": True}, True, 0.06)],
)
def test_half_precision_is_given_more_room(training: dict[str, Any], same_device: bool, tolerance: float) -> None:
    """A run in bfloat16, whose products have 8 bits, is not failed for their rounding."""
    arguments = _run(["q_lin"], training=training).training
    assert tolerance_of(arguments, same_device=same_device) == tolerance


def test_the_longest_text_is_the_one_of_most_tokens(tmp_path: Path) -> None:
    """A text of few letters but many tokens is tried out, not the one of most letters."""
    folder = _make(tmp_path, "bert")
    texts = ["incomprehensibilities", "a a a a a a", "good film", "bad"]
    rows = _choose_rows(_splits(texts), load_tokenizer(folder), "base")
    assert list(rows["text"]) == ["a a a a a a", "incomprehensibilities"]


def test_without_the_pooler_the_check_fails(tmp_path: Path) -> None:
    """What PEFT does by itself, a random pooler that is neither trained nor saved, is found and named."""
    folder = _make(tmp_path / "base", "bert", AutoModelForMaskedLM)
    plain = LoraConfig(task_type="SEQ_CLS", target_modules=["query"], init_lora_weights=False)
    model = get_peft_model(load_base_model(folder, seed=1), plain).eval()
    model.save_pretrained(str(tmp_path / "adapter"))
    rows = _splits()["test"]
    probabilities = predict(model, load_tokenizer(folder), list(rows["text"]))
    with pytest.raises(
        RunError, match=r"does not give this run's predictions\. .* differs by 0\.\d+: PEFT did not save"
    ):
        check_saved(folder, tmp_path / "adapter", rows, probabilities)


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta", "deberta-v2", "gpt2"])
@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_a_head_that_the_base_model_brings_is_not_used(family: str, n_labels: int, tmp_path: Path) -> None:
    """The head is new for any number of stored labels, follows the seed, and has the study's labels and loss."""
    kind = AutoModelForSequenceClassification
    stored = make_base_model(tmp_path, family, kind, num_labels=n_labels)
    make_tokenizer(tmp_path)
    first, again, other = (load_base_model(tmp_path, seed) for seed in (1, 1, 2))
    names = [name for name, _ in first.named_parameters() if not name.startswith(first.base_model_prefix + ".")]
    assert {name.split(".")[0] for name in names} == set(new_modules(first))
    for name in (name for name in names if name.endswith("weight")):
        assert torch.equal(first.get_parameter(name), again.get_parameter(name)), name
        assert not torch.equal(first.get_parameter(name), other.get_parameter(name)), name
    encoder, brought = first.base_model.state_dict(), stored.base_model.state_dict()
    assert all(torch.equal(encoder[name], weights) for name, weights in brought.items())
    assert (first.config.num_labels, first.config.problem_type) == (2, "single_label_classification")


def test_a_tokenizer_without_padding_takes_the_end_of_a_text(tmp_path: Path) -> None:
    """GPT-2 pads with its end token, and the model looks for the last token that is not padding."""
    folder = tmp_path
    make_base_model(folder, "gpt2", AutoModelForCausalLM)
    make_tokenizer(folder, pad_token=None)
    assert load_tokenizer(folder).pad_token == "</s>"
    assert load_base_model(folder, seed=1).config.pad_token_id == 2
    try_runs([_run(["c_attn"])], folder, _splits())
    make_tokenizer(folder, pad_token=None, eos_token=None)
    with pytest.raises(SourceError, match="has no padding token: name one as pad_token in tokenizer_config"):
        load_tokenizer(folder)


def test_texts_that_are_cut_are_counted(tmp_path: Path) -> None:
    """Of three splits of four texts, the long one is cut in each; a text of exactly the limit is not."""
    folder = _make(tmp_path, "roberta")
    tokenizer = load_tokenizer(folder)
    assert count_truncated(_splits(), tokenizer) == 3
    assert count_truncated(_splits(["good " * 36] * 4), tokenizer) == 0
    assert count_truncated(_splits(["good " * 37] * 4), tokenizer) == 12


REFUSED: dict[str, tuple[Run, str]] = {
    "optimiser": (_run(["q_lin"], training={"optim": "lomo"}), "mine/submitted: optim or lr_scheduler_type: .*lomo"),
    "schedule": (
        _run(["q_lin"], training={"lr_scheduler_type": "warmup_stable_decay"}),
        "mine/submitted: optim or lr_scheduler_type: ",
    ),
    "steps": (
        _run(["q_lin"], "ADALORA", total_step=1000),
        "total_step: expected the run's 4 steps, got 1000: leave it out, and each run gets its number",
    ),
    "corda": (_run(["q_lin"], init_lora_weights="corda"), "init_lora_weights: corda is not possible here: CorDA"),
    "lora_ga": (_run(["q_lin"], init_lora_weights="lora_ga"), "init_lora_weights: lora_ga is not possible here"),
    "loftq": (
        _run(["q_lin"], init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
        "init_lora_weights: loftq is not possible here: LoftQ replaces the base model's weights",
    ),
}


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny DistilBERT with a tokenizer."""
    return _make(tmp_path_factory.mktemp("distilbert"), "distilbert")


@pytest.mark.parametrize("case", REFUSED)
def test_what_fails_in_every_run_fails_in_the_trial(case: str, distilbert: Path) -> None:
    """One message before the first run names the runs and what is wrong with them."""
    run, expected = REFUSED[case]
    with pytest.raises(ConfigError, match=expected):
        try_runs([run], distilbert, _splits())


def test_each_kind_of_run_is_tried_and_a_problem_of_several_is_said_once(distilbert: Path) -> None:
    """Of three runs two fail alike, and the message names both."""
    wrong = {"optim": "lomo"}
    runs = [
        _run(["q_lin"]),
        _run(["q_lin"], training=wrong),
        _run(["v_lin"], "IA3", training=wrong, feedforward_modules=[]),
    ]
    runs[2] = Run(
        runs[2].adapter.model_copy(update={"id": "other"}), "second", 1, runs[2].training, runs[2].data, "tiny"
    )
    with pytest.raises(ConfigError) as raised:
        try_runs(runs, distilbert, _splits())
    (problem,) = raised.value.problems
    assert problem.startswith("mine/submitted, other/second: ")


PASSING: dict[str, Run] = {
    "all-linear": _run("all-linear"),
    "prompts": _run(None, "PROMPT_TUNING", num_virtual_tokens=2, token_dim=16, num_layers=2, num_attention_heads=2,
                    num_transformer_submodules=1),
    "GLoRA": _run(["q_lin"], "GLORA"),
    "AdaLoRA": _run(["q_lin"], "ADALORA"),
    "EVA": _run(["q_lin"], init_lora_weights="eva", r=2),
    "PiSSA": _run(["q_lin"], init_lora_weights="pissa", r=2),
    "full": _run(["q_lin", "k_lin", "v_lin", "out_lin", "LayerNorm"], "LN_TUNING"),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSING)
def test_methods_with_needs_get_them(case: str, distilbert: Path) -> None:
    """Each trains, is saved, and gives its predictions again, although its file names no module of the head."""
    run = PASSING[case]
    texts = (
        [text[:300] for text in TEXTS] if case != "prompts" else ["good film", "very bad", "a fine book", "dull plot"]
    )
    check_adapters([run.adapter], distilbert)
    try_runs([run], distilbert, _splits(texts))


def test_a_text_without_tokens_is_named(tmp_path: Path) -> None:
    """A tokenizer that adds no special tokens makes nothing of an empty text."""
    folder = _make(tmp_path, "gpt2")
    tokenizer = load_tokenizer(folder)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(SourceError, match="its tokenizer makes no token of '': leave such rows out"):
        try_runs([_run(["c_attn"])], folder, _splits(["good", "", "bad", "film"]))


def test_a_prediction_that_depends_on_padding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts go to GPT-2 as vectors, in which it cannot tell padding: it would read the padding's logits."""
    folder = _make(tmp_path, "gpt2")
    prompts = _run(None, "PROMPT_TUNING", num_virtual_tokens=2, token_dim=16, num_layers=2, num_attention_heads=2,
                   num_transformer_submodules=1)  # fmt: skip
    with pytest.raises(AdapterBookError, match="a text's prediction depends on the texts beside it: padding changes"):
        try_runs([prompts], folder, _splits(["good", "very bad film", "bad", "film"]))


def test_the_trial_changes_no_random_number_and_trains_no_weight(distilbert: Path) -> None:
    """The next model is the one that would have come without the trial."""
    model: PreTrainedModel = load_base_model(distilbert, seed=3)
    state = torch.get_rng_state()
    try_runs([_run(["q_lin"])], distilbert, _splits())
    assert torch.equal(state, torch.get_rng_state())
    again = load_base_model(distilbert, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_saved_adapter_loads_without_the_study(distilbert: Path, tmp_path: Path) -> None:
    """`load_saved` uses nothing but two folders, and its head is the adapter's."""
    run = _run(["q_lin"])
    base_model = load_base_model(distilbert, seed=1)
    model = get_peft_model(base_model, make_peft_config(run.adapter, base_model)).eval()
    model.save_pretrained(str(tmp_path))
    texts = list(_splits()["test"]["text"])
    loaded, tokenizer = load_saved(distilbert, tmp_path, 2)
    assert np.abs(predict(loaded, tokenizer, texts) - predict(model, tokenizer, texts)).max() <= 1e-5
