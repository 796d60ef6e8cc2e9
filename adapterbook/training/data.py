"""Load the train, validation, selection and test rows of a study from a data set's folder.

Texts that are not text, and labels that are no classes, are refused. A row whose text was already taken is left out of
the selection and the test rows. The notebook tokenises the rows.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import datasets
import regex
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets.data_files import get_data_patterns

from adapterbook.common.errors import SourceError
from adapterbook.config.source import SourceConfig
from adapterbook.config.study import DataConfig
from adapterbook.sources.packages import cache_folder
from adapterbook.training.labels import find_classes

# The library raises these for a folder that it cannot read; RuntimeError if the folder holds a loading script, which
# is not run.
UNREADABLE = (
    datasets.exceptions.DatasetsError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError,
    yaml.YAMLError,
)  # fmt: skip

SPLITS = ("train", "validation", "selection", "test")
# Scripts that put no blanks between words, and the boundaries of words in them (Unicode Standard Annex 29).
UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Line_Break=SA}]")
BOUNDARY = regex.compile(r"(?w)\b")


def load_splits(dataset: Path, source: SourceConfig, data: DataConfig) -> DatasetDict:
    """Return the rows of a study.

    The train split is shuffled with ``shuffle_seed``; its first ``n_train`` rows are train, the ``n_validation`` rows
    after them validation. The test rows come from the shuffled test split, or, if the source names none, from
    the rows after validation. A test row is skipped if its truncated text is already in train, validation or test. The
    ``n_selection`` rows come from the train split too, after all these, each with a text that no other row has.

    Parameters
    ----------
    dataset : Path
        Folder with parquet, csv or json files, or one that ``save_to_disk`` wrote.
    source : SourceConfig
        Names of the columns and splits.
    data : DataConfig
        How many rows, which seed, how many words.

    Returns
    -------
    DatasetDict
        ``train``, ``validation``, ``selection`` if there are such rows, and ``test``, each with the columns ``row_id``
        (int, position in the data set's own split before shuffling), ``text`` (str, ``max_words`` words at most) and
        ``label``, a ``ClassLabel``: ints from 0, with the names of the classes in the column's feature.

    Raises
    ------
    SourceError
        If the folder cannot be read, or a split, a column, a text, a label or rows are missing.
    """
    splits = _load(dataset, source)
    wanted = [source.train_split] if source.test_split is None else [source.train_split, source.test_split]
    missing = [name for name in dict.fromkeys(wanted) if name not in splits]
    if missing:
        there = ", ".join(splits) or "none"
        raise _error(
            source, [f"expected a split {name!r}, got {there}: mend train_split or test_split" for name in missing]
        )
    shuffled = {name: _shuffle(splits[name], name, source, data) for name in dict.fromkeys(wanted)}
    shorten = _Shortener(shuffled, source, data)
    rows = shuffled[source.train_split]
    n_seen = data.n_train + data.n_validation
    if len(rows) < n_seen:
        raise _error(
            source,
            [
                f"expected at least n_train + n_validation = {n_seen} rows in split {source.train_split!r}, "
                f"got {len(rows)}: lower them in study.yaml, or take a larger data set"
            ],
        )
    train, validation = shorten(rows.select(range(data.n_train))), shorten(rows.select(range(data.n_train, n_seen)))
    # If one split serves for all, the rows that were taken before are skipped by their texts.
    seen = {*train["text"], *validation["text"]}
    test = _select_new(shuffled, source.test_split or source.train_split, "n_test", seen, source, shorten)
    selection = _select_new(shuffled, source.train_split, "n_selection", {*seen, *test["text"]}, source, shorten)
    selected = {"selection": selection} if data.n_selection else {}
    return DatasetDict({"train": train, "validation": validation, **selected, "test": test})


def label_names(splits: DatasetDict) -> tuple[str, ...]:
    """Return the names of the classes, by number."""
    return tuple(splits["train"].features["label"].names)


def hash_rows(splits: DatasetDict) -> str:
    """Return a SHA-256 over the row ids, texts and labels of every split, in order."""
    digest = hashlib.sha256()
    for name in (name for name in SPLITS if name in splits):
        columns = [list(splits[name][column]) for column in ("row_id", "text", "label")]
        digest.update(json.dumps([name, *columns]).encode())
    return digest.hexdigest()


def truncate_words(text: str, max_words: int) -> str:
    """Return the first words of a text, joined by single spaces, as in the homework.

    Words are what stands between blanks, as ``text.split()`` finds them. A piece with characters of a script that puts
    no blanks between words, such as Chinese, is cut further at Unicode's boundaries; punctuation counts with the word
    before it.

    Notes
    -----
    Source: Unicode Standard Annex 29, section 4, without a dictionary: each Han character is a word.

    Examples
    --------
    >>> truncate_words("A  wonderful\\nmovie, in   every way", 4)
    'A wonderful movie, in'
    >>> truncate_words("這部電影，很好看。 A must-see!", 5)
    '這部電影，很'
    >>> truncate_words("我看了 Star Wars 三次", 5)
    '我看了 Star Wars'
    """
    kept: list[str] = []
    for piece in text.split():
        if max_words == 0:
            break
        words = _split_piece(piece)[:max_words]
        max_words -= len(words)
        kept.append("".join(words))
    return " ".join(kept)


def _split_piece(piece: str) -> list[str]:
    """Return the words of a text without blanks, each with the punctuation that follows it."""
    if not UNSPACED.search(piece):
        return [piece]
    words: list[str] = []
    for segment in filter(None, BOUNDARY.split(piece)):
        open_word = words and not any(map(str.isalnum, words[-1]))  # only punctuation so far
        if words and (open_word or not any(map(str.isalnum, segment))):
            words[-1] += segment
        else:
            words.append(segment)
    return words


def _load(folder: Path, source: SourceConfig) -> DatasetDict:
    """Read a data set's folder without writing into it."""
    try:
        with _quiet():
            if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                loaded = datasets.load_from_disk(str(folder))
            else:
                loaded = datasets.load_dataset(
                    str(folder),
                    source.dataset_config,
                    data_files=_files_in_brackets(folder, source),
                    cache_dir=str(cache_folder() / "datasets"),
                )
    except UNREADABLE as error:
        configs = _configs_of(folder)
        if configs and source.dataset_config not in configs:
            some = ", ".join(configs[:10]) + (", …" if len(configs) > 10 else "")
            raise _error(source, [f"expected one of its configurations, {some}: write it as dataset_config in the "
                                  "source's file"]) from None  # fmt: skip
        problem = f"expected parquet, csv or json files, or a folder of save_to_disk, got: {_explain(error, folder)}"
        if isinstance(error, yaml.YAMLError):
            problem = "the YAML at the top of its README.md cannot be read: mend it, or remove that file"
        if isinstance(error.__cause__ or error, UnicodeError):
            problem += ". Save the file as UTF-8; a spreadsheet calls it “CSV UTF-8”"
        # With `from None`, because the error's text holds paths of this machine, which would stay in the notebook.
        raise _error(source, [problem]) from None
    # save_to_disk of one split writes no reliable name: it is the train split.
    return loaded if isinstance(loaded, DatasetDict) else DatasetDict({source.train_split: loaded})


def _files_in_brackets(folder: Path, source: SourceConfig) -> dict[str, list[str]] | None:
    """Return the files of each split, if the library would take the folder's name, such as ``b [v1]``, for a pattern.

    Returns
    -------
    dict or None
        By split, its patterns with the folder's own characters escaped; None: the library finds the files by itself.
    """
    path = glob.escape(str(folder))
    if path == str(folder):
        return None
    if source.dataset_config is not None:
        raise ValueError("a configuration in a folder whose name holds [, * or ?; rename the folder")
    return {str(split): [f"{path}/{name}" for name in names] for split, names in get_data_patterns(path).items()}


def _configs_of(folder: Path) -> list[str]:
    """Return the names of a folder's configurations, none if it has only one or cannot be read."""
    try:
        with _quiet():
            names: list[str] = datasets.get_dataset_config_names(str(folder))
    except UNREADABLE:
        return []
    return names if len(names) > 1 else []


def _shuffle(rows: Dataset, split: str, source: SourceConfig, data: DataConfig) -> Dataset:
    """Check a split, give its rows their ids, and shuffle it; columns row_id, text, label."""
    columns = {source.text_column: "text", source.label_column: "label"}
    problems = [
        f"split {split!r}: expected a column {name!r}, got {', '.join(map(repr, rows.column_names))}: "
        + _column_remedy(rows.column_names, role)
        for name, role in columns.items()
        if name not in rows.column_names
    ]
    if problems:
        raise _error(source, problems)
    rows = rows.select_columns(list(columns))
    if source.text_column != "text" or source.label_column != "label":
        rows = rows.rename_columns({old: new for old, new in columns.items() if old != new})
    problems = _text_problems(rows, split)
    if problems:
        raise _error(source, problems)
    with _quiet():
        rows = rows.add_column("row_id", list(range(len(rows))))
        # In memory, because Dataset.shuffle would write its indices into the data set's folder.
        return rows.shuffle(seed=data.shuffle_seed, keep_in_memory=True)


def _column_remedy(names: Sequence[str], role: str) -> str:
    marks = [mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]]
    return f"separate its cells with commas, not {marks[0]!r}" if marks else f"mend {role}_column"


def _text_problems(rows: Dataset, split: str) -> list[str]:
    kind = getattr(rows.features["text"], "dtype", type(rows.features["text"]).__name__)
    if kind not in ("string", "large_string", "string_view"):
        return [f"split {split!r}: expected text in the text column, got {kind}: mend text_column"]
    n_missing = rows.data.column("text").null_count
    if not n_missing:
        return []
    return [
        f"split {split!r}: expected a text in every row, got {n_missing} rows without one: leave them out. In a CSV "
        "file an empty cell, NA, None and null count as missing"
    ]


class _Shortener:
    """Give selected rows truncated texts and numbered labels, in memory, so that no old cache file is read."""

    def __init__(self, splits: Mapping[str, Dataset], source: SourceConfig, data: DataConfig) -> None:
        try:
            self._numbers, names = find_classes(splits, None if source.labels is None else list(source.labels))
        except ValueError as error:
            raise _error(source, [str(error)]) from None
        self._columns = Features({"row_id": Value("int64"), "text": Value("string"), "label": ClassLabel(names=names)})
        self.data = data

    def __call__(self, rows: Dataset) -> Dataset:
        columns = {
            "row_id": list(rows["row_id"]),
            "text": [truncate_words(text, self.data.max_words) for text in rows["text"]],
            "label": [self._numbers[label] for label in rows["label"]],
        }
        return Dataset.from_dict(columns, features=self._columns)


def _select_new(
    shuffled: Mapping[str, Dataset],
    split: str,
    count: Literal["n_test", "n_selection"],
    seen: set[str],
    source: SourceConfig,
    shorten: _Shortener,
) -> Dataset:
    """Return the first rows of a split, as many as a key of the study says, whose truncated text is new."""
    n, candidates = getattr(shorten.data, count), shuffled[split]
    taken: dict[str, int] = {}  # text → position among the candidates
    for i, text in enumerate(candidates["text"] if n else ()):
        truncated = truncate_words(text, shorten.data.max_words)
        if truncated not in seen:
            taken.setdefault(truncated, i)
        if len(taken) == n:
            break
    if len(taken) == n:
        return shorten(candidates.select(list(taken.values())))
    others = "neither training nor validation" if count == "n_test" else "no training, validation or test row"
    raise _error(
        source,
        [
            f"expected {count} = {n} rows in split {split!r} whose text {others} has, got {len(taken)}: "
            f"lower {count} in study.yaml, or take a larger data set"
        ],
    )


def _explain(error: BaseException, folder: Path) -> str:
    """Return the message of an error and of its cause, without the folder's path."""
    said = []
    for cause in (error, error.__cause__ or error.__context__):
        if cause is not None:
            first = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
            first = first.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
            said.append(first.replace(str(cache_folder()), "<cache>").replace(str(Path.home()), "~"))
    return " (".join(dict.fromkeys(said)) + ")" * (len(set(said)) - 1)


def _error(source: SourceConfig, problems: list[str]) -> SourceError:
    shown = Path(source.dataset).name if Path(source.dataset).is_absolute() else source.dataset
    return SourceError(f"source {source.name}: the data set {shown} cannot be used:", problems)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars, advice about data cards, and paths off the terminal and the notebook."""
    was_on = not datasets.are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("huggingface_hub.repocard", "datasets")]
    levels = [logger.level for logger in loggers]
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # the error is raised too, without the path
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if was_on:
            datasets.enable_progress_bars()
