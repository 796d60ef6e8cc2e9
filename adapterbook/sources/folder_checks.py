"""Check that a folder can serve as a base model or a data set.

Weights that are not safetensors, files that cannot be read, and names that lead out of the folder are refused. No code
of the folder runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import yaml

from adapterbook.common.errors import SourceError, first_line

Role = Literal["base_model", "dataset"]

# No pickles: loading them runs code. *.json and *.txt hold the settings and the tokenizer.
MODEL_FILES = ("*.json", "*.txt", "*.safetensors")
DATA_SUFFIXES = {".parquet", ".arrow", ".csv", ".tsv", ".json", ".jsonl"}
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What Transformers reads from a model's folder, and whether it must be an object.
SETTINGS = {
    "config.json": True,
    "tokenizer_config.json": True,
    "special_tokens_map.json": True,
    "added_tokens.json": True,
    "tokenizer.json": True,
    "vocab.json": True,
    INDEX: True,
}
TEXTS = ("vocab.txt", "merges.txt")


def check_files(role: Role, folder: Path, shown: str) -> None:
    """Check by file names that a folder holds a base model or a data set.

    Parameters
    ----------
    shown : str
        The folder's name for messages: never a path of this machine.

    Raises
    ------
    SourceError
        Naming everything that is missing.
    """
    if role == "dataset":
        if not any(DATA_SUFFIXES.intersection(file.suffixes) for file in folder.rglob("*") if file.is_file()):
            kinds = ", ".join(sorted(DATA_SUFFIXES))
            raise SourceError(f"{shown}: expected files of data ({kinds}) in the folder, got none.")
        return
    problems = []
    if not (folder / "config.json").is_file():
        problems.append("missing: config.json")
    if not _has_weights(folder):
        problems.append(f"missing: {WEIGHTS} (other weight formats may run code; save the model again as safetensors)")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        problems.append("missing: a tokenizer (tokenizer.json or vocab.txt)")
    if (folder / "adapter_config.json").is_file():  # Transformers would follow it to another base model
        problems.append("adapter_config.json: expected a base model, got an adapter: merge it and save the whole")
    if problems:
        raise SourceError(f"{shown} is not a model in Transformers' format:", problems)


def check_contents(role: Role, folder: Path, shown: str) -> None:
    """Check that a folder's files can be read, and that none names a file outside.

    Only the card and the lists of files of a data set are read, not its rows.

    Raises
    ------
    SourceError
        Naming every file that is broken.
    """
    problems = list(_model_problems(folder) if role == "base_model" else _dataset_problems(folder))
    if problems:
        kind = "base model" if role == "base_model" else "data set"
        raise SourceError(f"{shown} cannot be used as a {kind}:", problems)


def _has_weights(folder: Path) -> bool:
    """Return whether a model's folder has all safetensors files that it needs."""
    shards = _shards(folder)
    return bool(shards) and all((folder / shard).is_file() for shard in shards)


def _shards(folder: Path) -> list[str]:
    """Return the names of a model's weight files; none if the index is not valid or leads out of the folder."""
    if not (folder / INDEX).is_file():
        return [WEIGHTS]
    try:
        shards = sorted(set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return []
    return shards if all(isinstance(shard, str) and _stays_inside(shard) for shard in shards) else []


def _model_problems(folder: Path) -> Iterator[str]:
    for name, is_object in SETTINGS.items():
        if (folder / name).is_file() and (problem := _json_problem(folder / name, is_object)):
            yield f"{name}: {problem}"
    for name in TEXTS:
        if (folder / name).is_file():
            try:
                (folder / name).read_text("utf-8")
            except UnicodeDecodeError:
                yield f"{name}: expected text in UTF-8, got other bytes"
    if (folder / "tokenizer.json").is_file() and (problem := _tokenizer_problem(folder / "tokenizer.json")):
        yield f"tokenizer.json: {problem}"
    for shard in sorted({*_shards(folder), WEIGHTS}):
        if (folder / shard).is_file() and (problem := _safetensors_problem(folder / shard)):
            yield f"{shard}: expected a safetensors file, got one that is not ({problem})"


def _json_problem(file: Path, is_object: bool) -> str | None:
    try:
        content = json.loads(file.read_text("utf-8"))
    except UnicodeDecodeError:
        return "expected JSON in UTF-8, got other bytes"
    except (ValueError, RecursionError) as error:
        return f"expected JSON, got something else ({error})"
    return "expected a JSON object, got another value" if is_object and not isinstance(content, dict) else None


def _tokenizer_problem(file: Path) -> str | None:
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001  the library raises no other class
        return f"expected a tokenizer of the tokenizers library, got something else ({first_line(error)})"
    return None


def _safetensors_problem(file: Path) -> str | None:
    """Return why a file is not a safetensors file, by its header and its length; None if it is one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as weights:
            return None if list(weights.keys()) else "it holds no tensor"
    except (SafetensorError, OSError, ValueError) as error:
        return first_line(error).replace(str(file), file.name)


def _dataset_problems(folder: Path) -> Iterator[str]:
    """Yield a problem for each name that the ``datasets`` library would follow out of the folder."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.name in ("state.json", "dataset_dict.json"):
            written = _load_json(file)
            names = [*_strings(written.get("_data_files")), *_strings(written.get("splits"))]
        elif name == "README.md":
            names = list(_data_files(_load_card(file)))
        else:
            continue
        for outside in [item for item in names if not _stays_inside(item)]:
            yield f"{name}: expected files in the data set's own folder, got {outside!r}"


def _load_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # the datasets library reports it
    return content if isinstance(content, dict) else {}


def _load_card(file: Path) -> Any:
    """Return the YAML at the head of a data set's README; None if it is missing or cannot be read."""
    head, mark, rest = file.read_text("utf-8", errors="replace").lstrip("\ufeff").partition("---")
    if head.strip() or not mark:
        return None
    try:
        return yaml.safe_load(rest.partition("\n---")[0])
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _data_files(card: Any) -> Iterator[str]:
    """Yield each name of a file or folder in a card's configurations."""
    configs = card.get("configs") if isinstance(card, dict) else None
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict):
            yield from _strings(config.get("data_files"))
            yield from _strings(config.get("data_dir"))


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in nested lists and mappings, except the names of splits."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "split":
                yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _stays_inside(name: str) -> bool:
    """Return whether a name stays in its folder on any system and is not an address."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    anchored = posix.is_absolute() or bool(windows.drive or windows.root)
    return not anchored and ".." not in windows.parts and "://" not in name and not name.startswith("~")
