"""Test the splits: the rows that a study uses, that no test row leaks, and the data that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from adapterbook.common.errors import SourceError
from adapterbook.config.paths import Paths
from adapterbook.config.source import SourceConfig, load_published, load_source
from adapterbook.config.study import DataConfig, load_study
from adapterbook.training.data import hash_rows, label_names, load_splits, truncate_words

SOURCE = SourceConfig(name="mine", base_model="m", dataset="d")
TWO_SPLITS = SOURCE.model_copy(update={"test_split": "test"})


def _rows(n: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text number {i}" for i in range(n)], "label": [i % 2 for i in range(n)]})


def _bad(**columns: Any) -> pd.DataFrame:
    return _rows(40).assign(**columns)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a separate cache."""
    monkeypatch.setenv("ADAPTERBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_rows_are_those_of_the_seeded_permutation(tmp_path: Path) -> None:
    """Train takes the first rows of the shuffled split, validation the next, test those after; ids are positions."""
    splits = load_splits(_write(tmp_path, _rows(100)), SOURCE, _data())
    order = np.random.default_rng(1111).permutation(100)
    assert list(splits["train"]["row_id"]) == order[:8].tolist()
    assert list(splits["validation"]["row_id"]) == order[8:12].tolist()
    assert list(splits["test"]["row_id"]) == order[12:32].tolist()
    for split in splits.values():
        assert split.column_names == ["row_id", "text", "label"]
        for row in split:
            assert row["text"] == f"text number {row['row_id']}"
            assert row["label"] == row["row_id"] % 2


def test_test_rows_come_from_the_test_split_where_there_is_one(tmp_path: Path) -> None:
    """With a test split the test rows are the first of that split, shuffled with the same seed."""
    test = _rows(50).assign(text=lambda rows: "unseen " + rows["text"])
    splits = load_splits(_write(tmp_path, _rows(100), test), TWO_SPLITS, _data())
    assert list(splits["test"]["row_id"]) == np.random.default_rng(1111).permutation(50)[:20].tolist()
    assert all(text.startswith("unseen") for text in splits["test"]["text"])


@pytest.mark.parametrize("source", [SOURCE, TWO_SPLITS], ids=["one split", "test split"])
def test_no_test_text_was_seen_before(tmp_path: Path, source: SourceConfig) -> None:
    """Every test text is new after truncation: to train, to validation and among the test rows themselves."""
    # Row i and row i + 60 differ in the fourth word only, which the truncation to three words cuts off.
    rows = pd.DataFrame(
        {"text": [f"text  number\t{i % 60} part {i // 60}" for i in range(120)], "label": [i % 2 for i in range(120)]}
    )
    splits = load_splits(_write(tmp_path, rows, rows), source, _data(max_words=3))
    seen = {*splits["train"]["text"], *splits["validation"]["text"]}
    texts = list(splits["test"]["text"])
    assert len(texts) == len(set(texts)) == 20
    assert seen.isdisjoint(texts)
    assert all(len(text.split(" ")) == 3 for text in [*texts, *seen])
    order = np.random.default_rng(1111).permutation(120).tolist()
    numbers = {i % 60 for i in order[:12]}
    expected = []
    for i in order[12:] if source is SOURCE else order:
        if i % 60 not in numbers:
            numbers.add(i % 60)
            expected.append(i)
    assert list(splits["test"]["row_id"]) == expected[:20]


@pytest.mark.parametrize("source", [SOURCE, TWO_SPLITS], ids=["one split", "test split"])
def test_selection_rows_share_no_text_and_change_no_other_split(tmp_path: Path, source: SourceConfig) -> None:
    """The selection rows come from the train split, after all others; no other split changes."""
    rows = pd.DataFrame({"text": [f"text number {i % 60}" for i in range(120)], "label": [i % 2 for i in range(120)]})
    folder = _write(tmp_path, rows, rows)
    without, splits = load_splits(folder, source, _data()), load_splits(folder, source, _data(n_selection=15))
    assert list(splits) == ["train", "validation", "selection", "test"]
    others = {text for name in without for text in splits[name]["text"]}
    texts = list(splits["selection"]["text"])
    assert len(texts) == len(set(texts)) == 15
    assert others.isdisjoint(texts)
    assert all(splits[name].to_dict() == without[name].to_dict() for name in without)
    assert hash_rows(splits) != hash_rows(without)


def test_too_few_selection_rows_say_so(tmp_path: Path) -> None:
    """A data set with too few new texts for the selection is refused, with the key to lower."""
    with pytest.raises(
        SourceError, match=r"expected n_selection = 30 rows in split 'train' .* got 8: lower n_selection"
    ):
        load_splits(_write(tmp_path, _rows(40)), SOURCE, _data(n_selection=30))


def test_test_split_named_like_the_train_split_gives_later_rows(tmp_path: Path) -> None:
    """If one split serves for both, the test rows are still those after validation."""
    source = SOURCE.model_copy(update={"test_split": "train"})
    folder = _write(tmp_path, _rows(100))
    assert hash_rows(load_splits(folder, source, _data())) == hash_rows(load_splits(folder, SOURCE, _data()))


def test_published_rows_come_out_again(project: Paths) -> None:
    """On the real IMDB the split gives the first labels and texts, and all validation labels, that were published."""
    imdb = project.root.parent / "shared" / "imdb"
    if not imdb.is_dir():
        pytest.skip("the IMDB reviews are not beside the project (../shared/imdb)")
    source = load_source(project.experiments / "sources" / "hub.yaml")
    checks = load_published(project.experiments / "published" / "homework.yaml").data_checks
    splits = load_splits(imdb, source, load_study(project.study).data)
    assert list(splits["train"]["label"])[:10] == list(checks["first_train_labels"])
    assert list(splits["validation"]["label"]) == list(checks["validation_labels"])
    starts = checks["first_train_text_starts"]
    for text, start in zip(splits["train"]["text"], starts, strict=False):
        assert text.startswith(truncate_words(start, 50))
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [128, 32, 512]


def test_embedded_data_set_serves_the_whole_study(embedded_dataset: Path, project: Paths) -> None:
    """The study's 128 + 32 + 512 rows exist, each split has both classes, and the rows are the same each time."""
    source = load_source(project.experiments / "sources" / "embedded.yaml")
    data = load_study(project.study).data
    splits = load_splits(embedded_dataset, source, data)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [128, 32, 512]
    for split in splits.values():
        assert 0.3 < np.mean(split["label"]) < 0.7
    assert hash_rows(splits) == hash_rows(load_splits(embedded_dataset, source, data))


def _as_csv(folder: Path) -> None:
    _rows(40).to_csv(folder / "train.csv", index=False)


def _as_json(folder: Path) -> None:
    _rows(40).to_json(folder / "train.jsonl", orient="records", lines=True)


def _as_dataset(folder: Path) -> None:
    Dataset.from_pandas(_rows(40)).save_to_disk(str(folder))


def _as_dataset_dict(folder: Path) -> None:
    DatasetDict({"train": Dataset.from_pandas(_rows(40))}).save_to_disk(str(folder))


def _with_class_labels(folder: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_pandas(_rows(40), features=features).to_parquet(folder / "train.parquet")


@pytest.mark.parametrize("write", [_as_csv, _as_json, _as_dataset, _as_dataset_dict, _with_class_labels])
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Any) -> None:
    """CSV, JSON lines, both formats of save_to_disk and class labels give what Parquet gives."""
    folder = tmp_path / "other"
    folder.mkdir()
    write(folder)
    expected = load_splits(_write(tmp_path, _rows(40)), SOURCE, _data())
    before = _listing(folder)
    assert hash_rows(load_splits(folder, SOURCE, _data())) == hash_rows(expected)
    assert _listing(folder) == before


@pytest.mark.parametrize("name", ["b [v1]", "what?", "a*b"])
def test_a_folder_s_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    """Brackets, stars and question marks in the name of the data's folder stand for themselves, with both splits."""
    test = _rows(50).assign(text=lambda rows: "unseen " + rows["text"])
    plain, odd = (
        load_splits(_write(tmp_path / folder, _rows(100), test), TWO_SPLITS, _data()) for folder in ("x", name)
    )
    assert hash_rows(odd) == hash_rows(plain)
    with pytest.raises(SourceError, match="rename the folder"):
        load_splits(tmp_path / name / "rows", TWO_SPLITS.model_copy(update={"dataset_config": "plain"}), _data())


def test_other_column_names_are_read(tmp_path: Path) -> None:
    """The source names the columns of text and label, even if the usual names exist and hold something else."""
    rows = _rows(40).rename(columns={"text": "label", "label": "sentiment"}).assign(text=3.5)
    source = SOURCE.model_copy(update={"text_column": "label", "label_column": "sentiment"})
    expected = load_splits(_write(tmp_path / "a", _rows(40)), SOURCE, _data())
    assert hash_rows(load_splits(_write(tmp_path / "b", rows), source, _data())) == hash_rows(expected)


REFUSED = {
    "too few rows": (_rows(11), r"at least n_train \+ n_validation = 12 rows in split 'train', got 11: lower"),
    "too few test rows": (_rows(31), r"n_test = 20 rows .* got 19: lower n_test"),
    "one label": (_bad(label=[1] * 40), r"expected 2 to 100 different labels, got 1 \('1'\): mend label_column"),
    "too many labels": (_rows(200).assign(label=range(200)), "expected 2 to 100 different labels, got 200"),
    "shares": (_bad(label=[0.25, 0.5] * 20), "got '0.25': mend label_column"),
    "a label missing": (_bad(label=pd.array([0, 1, 1, None] * 10, "Int64")), "got 10 rows without one"),
    "an empty label": (_bad(label=["", "a"] * 20), "got some rows without one"),
    "text is a number": (_bad(text=range(40)), "expected text in the text column, got int64: mend text_column"),
    "a text missing": (_bad(text=["a", None] * 20), "a text in every row, got 20 rows without one"),
    "no label": (_rows(40).drop(columns="label"), "expected a column 'label', got 'text': mend label_column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unfit_data_is_refused(tmp_path: Path, case: str) -> None:
    """Data that the study cannot use is refused; the message says what was expected, what came and what to do."""
    rows, message = REFUSED[case]
    with pytest.raises(SourceError, match=rf"source mine: the data set d cannot be used:\n.*{message}"):
        load_splits(_write(tmp_path, rows), SOURCE, _data())


def test_missing_split_names_those_there_are(tmp_path: Path) -> None:
    """A split that the data set lacks is refused, and the error lists the existing splits."""
    with pytest.raises(SourceError, match="expected a split 'test', got train: mend train_split or test_split"):
        load_splits(_write(tmp_path, _rows(40)), TWO_SPLITS, _data())


def test_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    """An empty folder, and a file whose content does not fit its name, are errors of the source."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_text("no parquet", "utf-8")
    for name in ("empty", "broken"):
        with pytest.raises(SourceError, match="expected parquet, csv or json files"):
            load_splits(tmp_path / name, SOURCE, _data())


def _truncated(folder: Path) -> None:
    file = next(_write(folder.parent / "whole", _rows(400)).glob("*.parquet"))
    folder.joinpath("train.parquet").write_bytes(file.read_bytes()[:-200])


BROKEN: dict[str, Callable[[Path], object]] = {
    "a truncated Parquet file": _truncated,
    "an empty Parquet file": lambda folder: folder.joinpath("train.parquet").touch(),
    "another file under that name": lambda folder: folder.joinpath("train.parquet").write_bytes(b"PAR1 no PAR1"),
    "JSON that breaks off": lambda folder: folder.joinpath("train.jsonl").write_text('{"text": "a", "lab'),
    "JSON of numbers": lambda folder: folder.joinpath("train.json").write_text("5"),
    "CSV with NUL and other bytes": lambda folder: folder.joinpath("train.csv").write_bytes(b'text,label\n"\xff\0,1\n'),
    "an empty CSV file": lambda folder: folder.joinpath("train.csv").touch(),
    "two kinds of columns": lambda folder: [
        folder.joinpath(name).write_text(text) for name, text in (("a.csv", "text,label\na,1\n"), ("b.csv", "x\n1\n"))
    ],
    "a state of save_to_disk that is none": lambda folder: folder.joinpath("state.json").write_text("[1]"),
    "a list of splits that are not there": lambda folder: folder.joinpath("dataset_dict.json").write_text(
        '{"splits": ["train"]}'
    ),
    "a list of splits that is none": lambda folder: folder.joinpath("dataset_dict.json").write_text('{"splits": 5}'),
    "a loading script": lambda folder: [
        folder.joinpath(name).write_text("raise SystemExit('code of a data set was run')")
        for name in (f"{folder.name}.py", "train.py")
    ],
    "a card that names no file": lambda folder: [
        folder.joinpath("README.md").write_text("---\nconfigs:\n- {config_name: x, data_files: none-*}\n---\n"),
        folder.joinpath("train.csv").write_text("text,label\na,1\n"),
    ],
    "a card of another shape": lambda folder: [
        folder.joinpath("README.md").write_text("---\nconfigs: 5\ndataset_info: [1]\n---\n"),
        folder.joinpath("train.csv").write_text("text,label\na,1\n"),
    ],
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_message_without_a_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    """Files that cannot be read are a source error that holds no path of this machine; no code is run."""
    folder = tmp_path / "imdb"
    folder.mkdir()
    (tmp_path / "whole").mkdir()
    BROKEN[case](folder)
    with pytest.raises(SourceError, match="source mine: the data set d cannot be used") as caught:
        load_splits(folder, SOURCE, _data())
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "".join(capfd.readouterr()) == ""


def test_changed_file_is_read_anew(tmp_path: Path) -> None:
    """A data set that changed on disk is read again, not taken from the old cache."""
    before = load_splits(_write(tmp_path, _rows(40)), SOURCE, _data())
    changed = _rows(40)
    changed.loc[:, "text"] = "new " + changed["text"]
    after = load_splits(_write(tmp_path, changed), SOURCE, _data())
    assert all(text.startswith("new") for text in after["train"]["text"])
    assert hash_rows(before) != hash_rows(after)


def test_hash_tells_ids_texts_and_labels_apart(tmp_path: Path) -> None:
    """A different id, text or label in any split gives a different hash."""
    splits = load_splits(_write(tmp_path, _rows(40)), SOURCE, _data())
    hashes = {hash_rows(splits)}
    for name in splits:
        for column, value in (("row_id", 999), ("text", "other"), ("label", 1 - splits[name][0]["label"])):
            columns = splits[name].to_dict()
            columns[column][0] = value
            hashes.add(hash_rows(DatasetDict({**splits, name: Dataset.from_dict(columns)})))
    assert len(hashes) == 1 + 3 * 3


def _data(**changes: Any) -> DataConfig:
    values = {"n_train": 8, "n_validation": 4, "n_test": 20, "max_words": 50, "tokenise_batch_size": 4}
    return DataConfig(shuffle_seed=1111, **{**values, **changes})


def _write(folder: Path, train: pd.DataFrame, test: pd.DataFrame | None = None) -> Path:
    folder = folder / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    train.to_parquet(folder / "train.parquet", index=False)
    if test is not None:
        test.to_parquet(folder / "test.parquet", index=False)
    return folder


def _listing(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_words_are_counted_in_every_script() -> None:
    """50 words of Chinese or Thai are 50 words; what has blanks between its words is cut as in the homework."""
    chinese = "這部電影很好看，演員也好。" * 20
    kept = truncate_words(chinese, 50)
    assert sum(char not in "，。" for char in kept) == 50 and chinese.startswith(kept)
    assert truncate_words("日本語のテスト", 4) == "日本語の"
    assert truncate_words("ภาษาไทย", 2) != "ภาษาไทย"
    english = "Don't  miss this well-made movie -- e.g. its 3.5-star cast … “naïve” 10/10 :-) 😀😀 안녕 세상"
    for n in range(20):
        assert truncate_words(english, n) == " ".join(english.split()[:n])


CONFIGS = """---
configs:
- {config_name: long, data_files: [{split: train, path: long.csv}]}
- {config_name: short, data_files: [{split: train, path: short.csv}]}
---
"""


def test_a_configuration_is_chosen_by_its_key(tmp_path: Path) -> None:
    """Of several configurations the source names one; without it, or with an unknown one, the message lists them."""
    folder = tmp_path / "d"
    folder.mkdir()
    _rows(60).to_csv(folder / "long.csv", index=False)
    _rows(40).to_csv(folder / "short.csv", index=False)
    (folder / "README.md").write_text(CONFIGS, "utf-8")
    short = load_splits(folder, SOURCE.model_copy(update={"dataset_config": "short"}), _data())
    assert max(short["test"]["row_id"]) < 40
    for config in (None, "medium"):
        with pytest.raises(SourceError, match="one of its configurations, long, short: write it as dataset_config"):
            load_splits(folder, SOURCE.model_copy(update={"dataset_config": config}), _data())


def test_labels_of_text_become_classes_with_their_names(tmp_path: Path) -> None:
    """Rows carry numbers, and the column the names of the classes, in the order of the source's file if it has one."""
    rows = _rows(40).assign(label=["體育", "財經", "科技", "旅遊"] * 10)
    splits = load_splits(_write(tmp_path, rows), SOURCE, _data())
    names = label_names(splits)
    assert sorted(names) == sorted({"體育", "財經", "科技", "旅遊"})
    for row in splits["train"]:
        assert names[row["label"]] == rows["label"][row["row_id"]]
    titles = {name: {"zh": name, "en": f"topic {i}"} for i, name in enumerate(("科技", "體育", "旅遊", "財經"))}
    ordered = SOURCE.model_validate(SOURCE.model_dump() | {"labels": titles})
    assert label_names(load_splits(_write(tmp_path / "b", rows), ordered, _data())) == ("科技", "體育", "旅遊", "財經")
    assert [text.en for text in ordered.wording(["旅遊", "科技"]).labels] == ["topic 2", "topic 0"]
