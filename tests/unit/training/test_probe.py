"""Test the linear probe: its features against the model's own output, the choice of its penalty, its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from adapterbook.common.errors import RunError
from adapterbook.config.paths import Paths
from adapterbook.config.study import DataConfig
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.probe import FEATURES, probe_folder, probe_status, stamp_probe
from adapterbook.runs.record import hash_files
from adapterbook.sources.packages import BASE_MODEL, BERT_MODEL, materialise
from adapterbook.sources.resolve import resolve_source
from adapterbook.training.probe import compute_features, compute_probe, fit_probe, make_probe
from tests.support.factory import PROJECT, write_results
from tests.support.probe import write_probe

TEXTS = ["good", "a long sentence, with many more words in it than the others have", "not so good"]
LABELS = ClassLabel(names=["negative", "positive"])
DATA = DataConfig(shuffle_seed=1111, n_train=32, n_validation=16, n_test=24, max_words=50, tokenise_batch_size=16)


def splits_of(labels: list[int]) -> DatasetDict:
    rows = Dataset.from_dict({"row_id": [0, 1, 2], "text": TEXTS, "label": labels}).cast_column("label", LABELS)
    return DatasetDict(train=rows, validation=rows, test=rows)


@pytest.mark.parametrize("name", [BASE_MODEL, pytest.param(BERT_MODEL, marks=pytest.mark.slow)])
def test_features_are_means_without_the_padding(name: str) -> None:
    """Each row has the mean of its tokens' last hidden states, and what the head reads of them, as if it were alone."""
    folder = materialise(name)
    features, head = compute_features(folder, splits_of([1, 0, 1]))
    encoder, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert head is not None and head[0].n_in == 384
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            output = encoder(**tokenizer(text, return_tensors="pt"))
            states = output.last_hidden_state[0]  # (tokens, width)
            read = states[0] if name == BASE_MODEL else output.pooler_output[0]  # by DistilBERT's head, by BERT's
        np.testing.assert_allclose(features["test.mean"][i], states.mean(dim=0).numpy(), atol=1e-5)
        np.testing.assert_allclose(features["test.head"][i], read.numpy(), atol=1e-5)
    assert features["train.mean"].dtype == np.float32 and list(features["validation.label"]) == [1, 0, 1]


def made_up_features(**selection: Any) -> dict[str, Any]:
    """Make up features of which the first tells the label; the two rows to choose on are far from zero or near it."""
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    mean = rng.normal(size=(40, 3)).astype(np.float32)
    mean[:, 0] += 2 * label - 1
    found = {f"{name}.{key}": value for name in ("train", "validation", "test")
             for key, value in (("mean", mean), ("label", label))}  # fmt: skip
    return found | selection


def test_the_penalty_is_the_strongest_of_those_with_most_rows_right() -> None:
    """A tie goes to the smaller C; the selection rows decide if there are any, else the validation rows."""
    test = Dataset.from_dict({"row_id": list(range(40)), "text": ["x"] * 40, "label": [i % 2 for i in range(40)]})
    test = test.cast_column("label", LABELS)
    easy = np.array([[9, 0, 0], [-9, 0, 0]], dtype=np.float32)
    probe = fit_probe(made_up_features(**{"selection.mean": easy, "selection.label": np.array([1, 0])}), test)
    assert probe.chosen_on == "selection" and {choice.n_right for choice in probe.grid} == {2}
    assert probe.C == probe.grid[0].C == min(choice.C for choice in probe.grid)
    features = made_up_features()
    probe = fit_probe(features, test)
    assert probe.chosen_on == "validation"
    best = max(choice.n_right for choice in probe.grid)
    assert next(choice.C for choice in probe.grid if choice.n_right == best) == probe.C
    reference = LogisticRegression(C=probe.C).fit(features["train.mean"], features["train.label"])
    expected = reference.predict_proba(features["test.mean"])[:, 1]
    np.testing.assert_allclose(probe.predictions["probability"], expected, atol=1e-4)
    assert probe.test.accuracy == (probe.predictions["label"] == probe.predictions["prediction"]).mean()


def test_training_rows_of_one_label_are_an_error_that_says_what_to_do(embedded_model: Path) -> None:
    """Without two labels nothing can be fitted."""
    with pytest.raises(RunError, match="all 3 train rows have label 1: change n_train or shuffle_seed"):
        compute_probe(embedded_model, splits_of([1, 1, 1]))


def test_a_probe_is_a_sealed_folder_that_is_up_to_date(tmp_path: Path) -> None:
    """Its record names the other files with their hashes; made again it is the same, and other data make it stale."""
    paths, source = Paths(tmp_path), resolve_source("embedded", PROJECT)
    stamps = stamp_probe(DATA, source.data_identity())
    assert probe_status(paths, "embedded", stamps).state == "missing"
    record = make_probe(DATA, paths, source)
    folder = probe_folder(paths, "embedded")
    assert [path.name for path in paths.results.iterdir()] == ["embedded"], "no leftovers"
    assert record.files == hash_files(folder) and record.files.keys() == {FEATURES, "predictions.parquet"}
    assert record.seal == record.compute_seal()
    status = probe_status(paths, "embedded", stamps)
    assert status.up_to_date and status.record == record
    assert load_file(folder / FEATURES)["train.mean"].shape == (32, record.n_features) == (32, 384)
    table = load_predictions(folder)
    assert record.test.accuracy == (table["label"] == table["prediction"]).mean() and record.test.n == 24
    again = make_probe(DATA, paths, source)
    assert again.files == record.files
    other = stamp_probe(DATA.model_copy(update={"n_train": 16}), source.data_identity())
    assert probe_status(paths, "embedded", other).stale == ("config",)
    (folder / "record.json").write_text("{", "utf-8")
    assert probe_status(paths, "embedded", stamps).state == "broken"


def test_a_record_of_another_source_is_broken(tmp_path: Path) -> None:
    """A record that was copied into the folder of another source is not used."""
    paths = write_results(tmp_path, adapters=("lora_1",), variants={"submitted": {"title": "x"}})
    write_probe(paths)
    assert probe_status(paths, "embedded", {}).up_to_date
    probe_folder(paths, "embedded").rename(paths.results / "embedded" / "moved")
    (paths.results / "other").mkdir()
    (paths.results / "embedded" / "moved").rename(probe_folder(paths, "other"))
    status = probe_status(paths, "other", {})
    assert status.state == "broken" and status.problem == ("the record is of embedded, but lies in the folder of other")
