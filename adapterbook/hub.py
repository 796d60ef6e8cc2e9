"""The Hugging Face Hub: which commit a name stands for, and the way to a local snapshot of it.

Owns every call to ``huggingface_hub``, with time limits that hold, and what its errors mean to a person. Knows
nothing of what a base model or a data set must hold: that is ``sources``'.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

__all__ = [
    "RepoType",
    "ask_commit",
    "cached_snapshot",
    "download_snapshot",
    "explain_error",
    "hub_errors",
    "is_hub_name",
]

RepoType = Literal["model", "dataset"]

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def is_hub_name(name: str) -> bool:
    """Return whether a text has the form of a name on the Hub.

    Examples
    --------
    >>> is_hub_name("stanfordnlp/imdb"), is_hub_name("../shared/imdb")
    (True, False)
    """
    return HUB_NAME.fullmatch(name) is not None


def ask_commit(name: str, repo_type: RepoType, revision: str | None, timeout_s: float) -> Future[str]:
    """Return a future of the commit that a name on the Hub stands for today.

    Notes
    -----
    The question runs in a daemon thread, and whoever waits for the answer keeps to ``timeout_s``: the client's own
    limit covers neither the look-up of the host's name nor a server that sends a byte now and then.
    """
    answer: Future[str] = Future()

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            info = HfApi().repo_info(name, repo_type=repo_type, revision=revision, timeout=timeout_s)
            if info.sha is None:
                raise ValueError("the Hub named no commit")
            answer.set_result(info.sha)
        except BaseException as error:  # noqa: BLE001  handed to the thread that asked, which raises it
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name=f"hub-{repo_type}").start()
    return answer


def cached_snapshot(name: str, repo_type: RepoType, revision: str | None, patterns: list[str]) -> Path | None:
    """Return the folder of a snapshot in the Hub's cache, or None; needs no network.

    Notes
    -----
    The folder's name is the commit. A snapshot that is known to lack one of the files that match is None; where an
    older client made the cache nothing is known, and the caller looks into the folder.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name, repo_type=repo_type, revision=revision, allow_patterns=patterns, local_files_only=True
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found)


def download_snapshot(name: str, repo_type: RepoType, branch: str, commit: str, patterns: list[str]) -> Path:
    """Download the matching files of a commit into the Hub's cache, and return the snapshot's folder.

    Parameters
    ----------
    branch : str
        The revision that was asked for. The cache notes that it stands for this commit, so that the next run finds
        the snapshot without network.

    Raises
    ------
    One of `hub_errors()`
    """
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, repo_type=repo_type, revision=commit, allow_patterns=patterns))
    if branch != commit:  # the client notes it only where it is given the branch
        note = folder.parents[1] / "refs" / branch
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit, "utf-8")
    return folder


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what the client raises: its own tree is of OSErrors and ValueErrors, as is an answer that is no JSON."""
    import httpx2

    return (OSError, ValueError, TypeError, KeyError, httpx2.HTTPError, httpx2.InvalidURL)


def explain_error(error: BaseException, timeout_s: float) -> str:
    """Return in one line why a name is not to be had; it was not in the cache when the Hub was asked."""
    import httpx2
    from huggingface_hub.errors import (
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return f"no folder, and no name that the Hub takes ({first_line(error)})"
    if isinstance(error, OfflineModeIsEnabled):
        return "not in the Hub's cache, and HF_HUB_OFFLINE forbids to ask"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has no such name, or it is private or gated"
    if isinstance(error, RevisionNotFoundError):
        return "the Hub has the name, but not the revision"
    if isinstance(error, (TimeoutError, httpx2.TimeoutException)):
        return f"not in the Hub's cache, and the Hub did not answer within {timeout_s:g} s"
    return f"not in the Hub's cache, and the Hub was not reached ({first_line(error)})"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
