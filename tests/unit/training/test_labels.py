"""Test the classes that labels make, and their numbers."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from adapterbook.training.labels import find_classes


def _rows(labels: list[Any], names: list[str] | None = None) -> Dataset:
    features = None if names is None else Features({"label": ClassLabel(names=names)})
    return Dataset.from_dict({"label": labels}, features=features)


KINDS: dict[str, tuple[list[Any], Any, list[str], Any]] = {
    "integers": ([3, 1, 2, 10], None, ["1", "2", "3", "10"], {3: 2, 1: 0, 2: 1, 10: 3}),
    "texts": (["pos", "neg", "neutral"], None, ["neg", "neutral", "pos"], {"pos": 2, "neg": 0, "neutral": 1}),
    "Chinese": (["體育", "財經"], None, ["財經", "體育"], {"體育": 1, "財經": 0}),
    "booleans": ([True, False], None, ["False", "True"], {True: 1, False: 0}),
    "whole floats": ([1.0, 0.0], None, ["0", "1"], {1.0: 1, 0.0: 0}),
    "ratings as text": (["10", "9", "-1"], None, ["-1", "9", "10"], {"10": 2, "9": 1, "-1": 0}),
    "ClassLabel": ([1, 0], ["spam", "ham", "unused"], ["spam", "ham", "unused"], {0: 0, 1: 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind_are_numbered(kind: str) -> None:
    """Integers, texts, booleans and class labels become 0, 1, 2, … in an order that can be told from the data."""
    labels, names, expected, numbers = KINDS[kind]
    assert find_classes({"train": _rows(labels, names)}, None) == (numbers, expected)


def test_the_file_gives_the_order() -> None:
    """The source's file decides which label is 0; of a ClassLabel it may name the numbers."""
    assert find_classes({"train": _rows(["ham", "spam"])}, ["spam", "ham"]) == ({"ham": 1, "spam": 0}, ["spam", "ham"])
    assert find_classes({"train": _rows([0, 1], ["neg", "pos"])}, ["0", "1"]) == ({0: 0, 1: 1}, ["0", "1"])


def test_labels_that_differ_in_capitals_may_be_named() -> None:
    """The source's file says that two labels which differ only in capitals are two classes."""
    assert find_classes({"train": _rows(["US", "us"])}, ["US", "us"]) == ({"US": 0, "us": 1}, ["US", "us"])


REFUSED = {
    "a label that the file lacks": ({"train": _rows(["a", "b", "c"])}, ["a", "b"], "labels are 'a', 'b', 'c', but"),
    "a label that no row has": ({"train": _rows(["a", "b"])}, ["a", "b", "z"], "names 'a', 'b', 'z'"),
    "other classes in the test split": (
        {"train": _rows([0, 1], ["a", "b"]), "test": _rows([0, 1], ["b", "a"])}, None, "the same classes in every",
    ),
    "rows without a label, as in GLUE": ({"test": _rows([-1, -1, 0], ["a", "b"])}, None, "got 2 rows without one"),
    "a number that is no class": ({"train": _rows([0.5, 1.0])}, None, "got '0.5'"),
    "a number that no float holds": ({"train": _rows([1e300, 2e300])}, None, r"got '1e\+300'"),
    "a list": ({"train": _rows([[1], [0]])}, None, "expected one label in every row"),
    "a blank more": ({"train": _rows(["pos", "pos ", "neg"])}, None, "'pos' and 'pos ' differ only in blanks"),
    "other capitals": ({"train": _rows(["Pos", "pos", "neg"])}, None, "'Pos' and 'pos' differ only in blanks, cap"),
    "an escape": ({"train": _rows(["a\x1b[31m", "b"])}, None, r"without control characters, got 'a\\x1b\[31m'"),
    "a turn of direction": ({"train": _rows(["a\u202e", "b"])}, None, "without control characters"),
    "a date": (
        {"train": Dataset.from_dict({"label": [1, 2]}, features=Features({"label": Value("timestamp[s]")}))},
        None, "expected labels that are whole numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_label_is_refused(case: str) -> None:
    """Labels that do not fit the file, are missing, or are no classes are refused, with what came."""
    splits, wanted, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        find_classes(splits, wanted)
