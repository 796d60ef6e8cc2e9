"""Find the classes of a data set's labels, and number them.

A label is a whole number, a text, true or false, or one of a ``ClassLabel``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from unicodedata import category, normalize

from datasets import ClassLabel, Dataset

from adapterbook.config.source import MAX_LABELS, MIN_LABELS

MAX_NAME = 200  # characters
LARGEST = 2**53  # whole numbers beyond it are not exact as floats
KINDS = ("int", "uint", "float", "bool", "string", "large_string", "date", "timestamp", "binary", "decimal", "null")
OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turn the direction of what follows
NO_LABEL = -1  # of a ClassLabel: the Hub's way to say that a row has none, as in the test splits of GLUE


def find_classes(splits: Mapping[str, Dataset], wanted: Sequence[str] | None) -> tuple[dict[object, int], list[str]]:
    """Return the classes of a label column.

    Parameters
    ----------
    splits : mapping of split name to Dataset
        Every split that the study uses, each with a column ``label``.
    wanted : sequence of str or None
        The labels in the order that the source's file gives; None: those of the ``ClassLabel``, else numbers in order
        of size and texts in alphabetical order.

    Returns
    -------
    dict of label to int, list of str
        The number of each label as it stands in the column, and the names of the classes by number.

    Raises
    ------
    ValueError
        Naming what is wrong with the labels.
    """
    features = [rows.features["label"] for rows in splits.values()]
    given = list(features[0].names) if isinstance(features[0], ClassLabel) else None
    if any((list(feature.names) if isinstance(feature, ClassLabel) else None) != given for feature in features):
        raise ValueError("expected the same classes in every split: write the labels of all splits the same way")
    found: dict[object, str] = {}
    for split, rows in splits.items():
        kind = str(getattr(rows.features["label"], "dtype", None))
        if not kind.startswith(KINDS):  # such as a list, or texts and numbers in turn
            raise ValueError(f"split {split!r}: expected one label in every row, all numbers or all texts: mend "
                             "label_column, or write the labels of all rows the same way")  # fmt: skip
        values = rows.unique("label") if len(rows) else []
        n_missing = rows.data.column("label").null_count
        if given is not None and NO_LABEL in values:
            n_missing += sum(label == NO_LABEL for label in rows["label"])
            values.remove(NO_LABEL)
        if n_missing or "" in values:
            raise ValueError(f"split {split!r}: expected a label in every row, got {n_missing or 'some'} rows without "
                             "one: mend the label column, or name another split. In a CSV file an empty cell, NA, None "
                             "and null count as missing")  # fmt: skip
        found |= {value: _name_of(value, given) for value in values}
    names = list(wanted) if wanted is not None else given or sorted(set(found.values()), key=_place_of)
    _check_signs(names)
    if wanted is None and given is None:
        _check_twins(names)
    by_name = _number_by_name(names, given)
    unknown = sorted({name for name in found.values() if name not in by_name}, key=_place_of)
    unused = sorted(set(names) - set(given or found.values()) - {str(i) for i in range(len(given or ()))})
    if unknown or (wanted is not None and unused):
        raise ValueError(f"the data set's labels are {_some(given or sorted(set(found.values()), key=_place_of))}, but "
                         f"labels in the source's file names {_some(names)}: mend labels, or label_column")  # fmt: skip
    if not MIN_LABELS <= len(names) <= MAX_LABELS:
        raise ValueError(f"expected {MIN_LABELS} to {MAX_LABELS} different labels, got {len(names)} ({_some(names)}): "
                         "mend label_column, or take another data set")  # fmt: skip
    return {value: by_name[name] for value, name in found.items()}, names


def _name_of(value: object, given: Sequence[str] | None) -> str:
    """Return the name of a label; raise ValueError for a value that is not one."""
    if given is not None and isinstance(value, int):
        return given[value]
    # pandas writes whole numbers as floats if one is missing, data bases as decimals.
    if isinstance(value, (float, Decimal)) and value % 1 == 0 and -LARGEST <= value <= LARGEST:
        return str(int(value))
    if isinstance(value, (bool, int)) or (isinstance(value, str) and 0 < len(value) <= MAX_NAME):
        return str(value)
    raise ValueError(f"expected labels that are whole numbers, texts of {MAX_NAME} characters at most, or true and "
                     f"false, got {str(value)[:40]!r}: mend label_column")  # fmt: skip


def _check_signs(names: Sequence[str]) -> None:
    """Refuse labels that no page can show: with signs that act on a page, or without one that is seen."""
    for name in names:
        if not any(category(letter)[0] not in "CZ" for letter in name):
            raise ValueError(f"expected labels that can be seen, got {name[:40]!a}: mend the label column")
        if any(category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in OVERRIDES for letter in name):
            raise ValueError(f"expected labels without control characters, got {name[:40]!a}: mend the label column")


def _check_twins(names: Sequence[str]) -> None:
    """Refuse labels that are probably one class written in two ways."""
    same: dict[str, str] = {}
    for name in names:
        seen = "".join(letter for letter in normalize("NFKC", name) if category(letter) != "Cf")
        other = same.setdefault(" ".join(seen.split()).casefold(), name)
        if other != name:
            raise ValueError(f"the labels {other!a} and {name!a} differ only in blanks, capitals or how Unicode writes "
                             "them: write them the same way, or name all labels in the source's file if they are "
                             "different")  # fmt: skip


def _number_by_name(names: Sequence[str], given: Sequence[str] | None) -> dict[str, int]:
    """Return the number of each class; the source's file may call a ClassLabel's classes 0, 1, 2, … too."""
    numbers = {name: number for number, name in enumerate(names)}
    for place, name in enumerate(given or ()):
        if name not in numbers and str(place) in numbers:
            numbers[name] = numbers[str(place)]
    return numbers


def _place_of(name: str) -> tuple[bool, int, str]:
    """Return the sorting key of a label: numbers by size, then texts by their characters."""
    number = name.removeprefix("-")
    return (False, int(name), "") if number.isascii() and number.isdigit() and len(number) < 20 else (True, 0, name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:5]) + (", …" if len(names) > 5 else "")
