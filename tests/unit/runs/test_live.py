"""Prepare the adapters that readers can try: the arithmetic, what is refused, and when it is made again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, get_peft_model
from rich.console import Console
from safetensors.numpy import load, save
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from adapterbook.commands import train
from adapterbook.config.book import Book
from adapterbook.runs.live import names
from adapterbook.runs.live.arithmetic import Encoder, quantise
from adapterbook.runs.live.names import UnsupportedError, pack_adapter, pack_base, read_base, read_tokenizer
from adapterbook.runs.live.record import MAX_PARAMS, is_wanted, live_folder
from adapterbook.runs.record import load_record, seal_record, write_record
from adapterbook.runs.select import load_live
from adapterbook.sources.resolve import resolve_source
from tests.support.factory import read_report, read_statuses, write_results
from tests.support.live import prepare_live, seal_runs, write_adapter, write_base_model, write_tokenizer

SUBMITTED = {"submitted": {"title": "As submitted"}}
SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_heads": 4, "n_layers": 2},
    "bert": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2},
}
MODULES = {"distilbert": ["q_lin", "ffn.lin1", "ffn.lin2"], "bert": ["query", "intermediate.dense", "output.dense"]}
NORMS = {"distilbert": ["sa_layer_norm"], "bert": ["attention.output.LayerNorm"]}
HEADS = {"distilbert": ["pre_classifier", "classifier"], "bert": ["classifier"]}


def _peft_config(method: str, kind: str) -> Any:
    shared: dict[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": HEADS[kind]}
    if method == "LORA":
        return LoraConfig(r=4, lora_alpha=8, use_rslora=kind == "bert", target_modules=MODULES[kind], **shared)
    if method == "IA3":
        return IA3Config(target_modules=MODULES[kind], feedforward_modules=MODULES[kind][1:], **shared)
    return LNTuningConfig(target_modules=NORMS[kind], **shared)


@pytest.mark.parametrize("method", ["LORA", "IA3", "LN_TUNING"])
@pytest.mark.parametrize("kind", ["distilbert", "bert"])
@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_transformers_and_peft(
    tmp_path: Path, kind: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the 8 bits, the probabilities are PEFT's; without the adapter they are others."""
    monkeypatch.setattr(
        names, "quantise", lambda matrix: (np.ascontiguousarray(matrix, np.float32), np.ones(len(matrix), np.float32))
    )
    torch.manual_seed(3)
    sizes = {"vocab_size": 50, "max_position_embeddings": 40, "num_labels": 3, "initializer_range": 0.3} | SIZES[kind]
    whole: Any = (DistilBertForSequenceClassification(DistilBertConfig(**sizes)) if kind == "distilbert"
                  else BertForSequenceClassification(BertConfig(**sizes)))  # fmt: skip
    whole.base_model.save_pretrained(tmp_path / "base")
    model = get_peft_model(whole, _peft_config(method, kind)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(tmp_path / "adapter")
    tokens = [2, 7, 11, 3, 49, 20, 1]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([tokens])).logits.softmax(-1)[0].numpy()
    base = read_base(tmp_path / "base")
    part = load(save(pack_adapter(tmp_path / "adapter", base)))
    packed = load(save(pack_base(base)))
    assert np.abs(Encoder(base.shape, packed, part).probabilities(tokens) - expected).max() < 1e-5
    head = {name: weight for name, weight in part.items() if name.startswith(("pool", "classifier"))}
    assert np.abs(Encoder(base.shape, packed, head).probabilities(tokens) - expected).max() > 1e-3


def test_8_bits_are_half_a_step_off_at_most() -> None:
    """Each weight is stored to half of its row's step, and a row of zeros stays one."""
    matrix = np.random.default_rng(5).normal(size=(4, 100)).astype(np.float32)
    matrix[2] = 0
    integers, scales = quantise(matrix)
    assert integers.dtype == np.int8 and np.abs(integers).max() == 127
    assert (np.abs(integers * scales[:, None] - matrix) <= scales[:, None] / 2 + 1e-7).all()


def test_what_is_stored_is_what_was_packed(tmp_path: Path) -> None:
    """safetensors writes arrays as they lie in memory, so each lies row by row."""
    base = read_base(write_base_model(tmp_path / "base"))
    write_adapter(tmp_path / "adapter", "LORA", seed=1)
    for part in (pack_base(base), pack_adapter(tmp_path / "adapter", base)):
        stored = load(save(part))
        assert all((stored[name] == part[name]).all() for name in part)


def test_what_the_page_cannot_compute_is_refused(tmp_path: Path) -> None:
    """Another layout, another tokenizer, an unknown method and changed matrices are refused, each with its reason."""
    base = read_base(write_base_model(tmp_path / "base"))
    refused = []
    for change in ({"model_type": "roberta"}, {"activation": "relu"}):
        other = write_base_model(tmp_path / str(change))
        config = json.loads((other / "config.json").read_text()) | change
        (other / "config.json").write_text(json.dumps(config))
        with pytest.raises(UnsupportedError) as raised:
            read_base(other)
        refused.append(raised.value.reason)
    write_tokenizer(tmp_path / "base", type="Lowercase")
    with pytest.raises(UnsupportedError) as raised:
        read_tokenizer(tmp_path / "base", 64)
    refused.append(raised.value.reason)
    for name, shape in (("attention.q_lin.lora_magnitude_vector", (16,)), ("attention.q_lin.weight", (16, 16))):
        write_adapter(tmp_path / name, "LORA", seed=1)
        file = tmp_path / name / "adapter_model.safetensors"
        extra = {f"base_model.model.distilbert.transformer.layer.0.{name}": np.ones(shape, np.float32)}
        file.write_bytes(save(load(file.read_bytes()) | extra))
        with pytest.raises(UnsupportedError) as raised:
            pack_adapter(tmp_path / name, base)
        refused.append(raised.value.reason)
    assert refused == ["architecture", "architecture", "tokenizer", "method", "size"]


def test_it_is_made_again_when_a_run_changes(tmp_path: Path) -> None:
    """The record names its runs by their seals: another seal makes it stale, and a new one is up to date."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"), variants=SUBMITTED, n_test=12)
    base = write_base_model(tmp_path / "base")
    seal_runs(paths)
    status = load_live(paths, "embedded")[1]
    assert status is not None and status.state == "missing"
    record = prepare_live(paths, base)
    assert [(item.adapter, item.setting, item.rank) for item in record.adapters] == [
        ("lora_1", "submitted", 4), ("ia3", "submitted", None),
    ]  # fmt: skip
    status = load_live(paths, "embedded")[1]
    assert status is not None and status.up_to_date
    folder = paths.results / "embedded" / "ia3" / "submitted" / "seed-224"
    (folder / "adapter" / "README.md").write_text("another run")
    write_record(seal_record(load_record(folder), folder), folder)
    status = load_live(paths, "embedded")[1]
    assert status is not None and status.stale == ("runs",)
    prepare_live(paths, base)
    status = load_live(paths, "embedded")[1]
    assert status is not None and status.up_to_date
    assert not (live_folder(paths, "embedded").parent / ".staging").exists()


@pytest.mark.parametrize("weights", [None, b"damaged"])
def test_weights_that_cannot_be_read_are_said(tmp_path: Path, weights: bytes | None) -> None:
    """Records without their weights, or with damaged ones, give a message and no page; `make all` goes on."""
    paths = write_results(tmp_path, adapters=("lora_1",), variants=SUBMITTED, n_test=12)
    seal_runs(paths)
    file = paths.results / "embedded/lora_1/submitted/seed-224/adapter/adapter_model.safetensors"
    if weights is None:
        file.unlink()
    else:
        file.write_bytes(weights)
    said = io.StringIO()
    train._update_live(paths, resolve_source("embedded", paths), Console(file=said, width=200))
    reason = "a file of a run cannot be read" if weights else "the weights of lora_1/submitted/seed-224 are not here"
    assert reason in said.getvalue()
    assert not live_folder(paths, "embedded").exists()


def test_it_is_wanted_for_small_models_unless_the_book_says_otherwise(tmp_path: Path) -> None:
    """Without a word in book.yaml the size of the base model decides."""
    big = {"lora_1/submitted/seed-224": {"n_total_params": MAX_PARAMS + 10, "n_trainable_params": 9}}
    for number, (changes, by_size) in enumerate([({}, True), (big, False)]):
        paths = write_results(tmp_path / str(number), adapters=("lora_1",), variants=SUBMITTED, changes=changes)
        statuses = read_statuses(paths)
        said = {None: by_size, True: True, False: False}
        for live, wanted in said.items():
            book = Book.model_validate({"title": "A", "subtitle": "B", "live_adapters": live})
            assert is_wanted(book, statuses) is wanted
        assert is_wanted(None, statuses) is by_size
        assert not is_wanted(None, [])


def test_a_file_with_a_path_for_a_name_is_refused(tmp_path: Path) -> None:
    """A stranger's record cannot name a file outside its folder."""
    paths = write_results(tmp_path, adapters=("lora_1",), variants=SUBMITTED, n_test=12)
    seal_runs(paths)
    record = prepare_live(paths, write_base_model(tmp_path / "base"))
    file = live_folder(paths, "embedded") / "record.json"
    file.write_text(record.model_copy(update={"sizes": record.sizes | {"../../../secret": 1}}).model_dump_json())
    status = load_live(paths, "embedded")[1]
    assert status is not None and status.state == "broken" and "plain name" in str(status.problem)


def test_the_best_is_the_reports(tmp_path: Path) -> None:
    """Without a search, too, the page shows the learning rate that the report calls an adapter's best."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3", "head_only"), n_test=12, seeds=(224, 225))
    seal_runs(paths)
    report = read_report(paths)
    chosen = load_live(paths, "embedded")[0]
    for name, adapter in report.adapters.items():
        best = chosen.get((name, "best")) or chosen[name, "submitted"]
        assert (best.run.variant, best.run.seed) == (adapter.best_variant, 224)
    assert {setting for _, setting in chosen} == {"best", "submitted"}
