"""Check folders of a base model or a data set: broken files and outside references are named, and no code runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapterbook.common.errors import SourceError
from adapterbook.sources.folder_checks import check_contents, check_files
from tests.support.tiny_hub import make_dataset, make_model


@pytest.fixture
def model(tmp_path: Path, embedded_model: Path) -> Path:
    """Make a model of a few kilobytes."""
    return make_model(tmp_path / "model", embedded_model)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Make a data set of a few rows."""
    return make_dataset(tmp_path / "imdb", n_rows=4)


def _index(model: Path, *shards: object) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    save_file({"more": np.zeros(2, np.float32)}, model / "model-00002-of-00002.safetensors")
    weight_map = {str(i): shard for i, shard in enumerate(shards)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")


def _header(length: int, text: bytes) -> bytes:
    return struct.pack("<Q", length) + text


HEADER = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
BROKEN_WEIGHTS = {
    "empty": b"",
    "short": b"\x01\x02",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "a header longer than the file": _header(2**20, HEADER),
    "a huge header": _header(2**62, HEADER),
    "a header that is no JSON": _header(9, b"not JSON."),
    "a header that is no UTF-8": _header(4, b"\xff\xfe\xfd\xfc"),
    "a header of another shape": _header(2, b"[]"),
    "tensors beyond the end": _header(len(HEADER), HEADER),
    "bytes behind the tensors": _header(len(HEADER), HEADER) + bytes(9),
    "no tensor": _header(2, b"{}"),
}


@pytest.mark.parametrize("case", BROKEN_WEIGHTS)
def test_broken_weights_are_named(model: Path, case: str) -> None:
    """A file that is not a whole safetensors file is refused before anything loads it."""
    check_contents("base_model", model, "mine")
    (model / "model.safetensors").write_bytes(BROKEN_WEIGHTS[case])
    with pytest.raises(SourceError, match="mine cannot be used as a base model") as caught:
        check_contents("base_model", model, "mine")
    assert "model.safetensors: expected a safetensors file, got one that is not" in str(caught.value)
    assert str(model) not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe", b"[" * 100_000], ids=repr)
def test_broken_settings_are_named(model: Path, name: str, content: bytes) -> None:
    """Settings that are not a JSON object are refused."""
    (model / name).write_bytes(content[:100_000])
    with pytest.raises(SourceError, match=name):
        check_contents("base_model", model, "mine")


def test_a_tokenizer_that_is_none_is_named(model: Path) -> None:
    """JSON that is not a tokenizer and a vocabulary that is not text are reported at once."""
    (model / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}', "utf-8")
    (model / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError) as caught:
        check_contents("base_model", model, "mine")
    assert "tokenizer.json: expected a tokenizer" in str(caught.value)
    assert "vocab.txt: expected text in UTF-8" in str(caught.value)


def test_weights_in_parts_are_checked_each(model: Path) -> None:
    """All parts that the index names must be there, and each must be whole."""
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    _index(model, *names)
    check_files("base_model", model, "mine")
    check_contents("base_model", model, "mine")
    (model / names[1]).write_bytes(b"half")
    with pytest.raises(SourceError, match=names[1]):
        check_contents("base_model", model, "mine")
    (model / names[1]).unlink()
    with pytest.raises(SourceError, match="safetensors"):
        check_files("base_model", model, "mine")


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/tmp/model.safetensors", "C:\\w.safetensors", 5, None, ["a"]]
)
def test_an_index_that_leads_out_of_the_folder_is_refused(model: Path, tmp_path: Path, shard: object) -> None:
    """Weights may only come from the folder whose hash is in the stamp."""
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    _index(model, shard)
    with pytest.raises(SourceError, match="safetensors"):
        check_files("base_model", model, "mine")


def test_an_adapter_is_no_base_model(model: Path) -> None:
    """A folder with adapter_config.json is refused, because Transformers would follow it to an unstamped base model."""
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}', "utf-8")
    with pytest.raises(SourceError, match="got an adapter"):
        check_files("base_model", model, "mine")


def _card(data_files: object) -> Callable[[Path], object]:
    front = json.dumps({"configs": [{"config_name": "x", "data_files": data_files}]})
    return lambda folder: (folder / "README.md").write_text(f"---\n{front}\n---\ntext\n", "utf-8")


def _state(name: str, content: object) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    "change",
    [
        _card("/etc/passwd"),
        _card(["train.csv", "../../secret.csv"]),
        _card([{"split": "train", "path": "https://elsewhere.example/train.csv"}]),
        _card([{"split": "train", "path": ["a.csv", "hf://datasets/x/y/z.csv"]}]),
        _card({"train": "a\\..\\..\\b.csv"}),
        _card("~/secret.csv"),
        _state("state.json", {"_data_files": [{"filename": "../../secret.arrow"}]}),
        _state("dataset_dict.json", {"splits": ["../elsewhere"]}),
    ],
)
def test_data_that_lie_elsewhere_are_refused(dataset: Path, change: Callable[[Path], object]) -> None:
    """A card, or a list of save_to_disk, that names a file outside the folder or an address is refused."""
    check_contents("dataset", dataset, "mine")
    change(dataset)
    with pytest.raises(SourceError, match="expected files in the data set's own folder"):
        check_contents("dataset", dataset, "mine")


@pytest.mark.parametrize("card", ["", "---", "---\n- [\n---\n", "---\n!!python/object:os.system {}\n---", "\ufefftext"])
def test_a_card_that_says_nothing_hinders_nothing(dataset: Path, card: str) -> None:
    """A README without a valid card leaves the data set to the datasets library."""
    (dataset / "README.md").write_text(card, "utf-8")
    check_contents("dataset", dataset, "mine")
