"""Ask the Hugging Face Hub which commit a name stands for, download its snapshot, and explain what went wrong.

Every question has a time limit. Explanations hold no address, path or setting of this machine, because they reach
records and pages.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from adapterbook.common.errors import first_line
from adapterbook.sources.hub_cache import COMMIT, RepoType, note_branch, remove_leftovers

Answer = TypeVar("Answer")

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
    The question runs in a daemon thread, and the caller waits for at most ``timeout_s``: the client's own limits do
    not cover the look-up of the host's name.
    """

    def ask() -> str:
        from huggingface_hub import HfApi

        commit: object = HfApi().repo_info(name, repo_type=repo_type, revision=revision, timeout=timeout_s).sha
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise ValueError("the Hub named no commit")
        return commit

    return _in_background(ask, f"hub-{repo_type}")


def download_snapshot(name: str, repo_type: RepoType, branch: str, commit: str, patterns: list[str]) -> Path:
    """Download the matching files of a commit into the Hub's cache, and return the snapshot's folder.

    Parameters
    ----------
    branch : str
        The revision that was asked for. The cache notes its commit, so the next run finds the snapshot without network.

    Raises
    ------
    One of `hub_errors()`

    Notes
    -----
    Ends in bounded time, see `hub_patience.watch_download`. This thread only waits, so it can give up on a server that
    stalls within its headers, and Ctrl-C works at once.
    """
    from huggingface_hub import close_session, snapshot_download

    from adapterbook.sources.hub_patience import HubStalledError, watch_download

    def download() -> Path:
        with without_xet():
            return Path(snapshot_download(name, repo_type=repo_type, revision=commit, allow_patterns=patterns))

    remove_leftovers(name, repo_type)
    with watch_download() as watch:
        answer = _in_background(download, "hub-download")
        try:
            while True:
                try:
                    folder = answer.result(max(0.0, watch.left_s()))
                    break
                except TimeoutError:
                    if answer.done():
                        raise
                    if watch.left_s() <= 0:
                        raise HubStalledError(f"nothing new has come for {watch.patience_s:g} s") from None
        except BaseException:
            watch.stop()
            close_session()  # wakes the threads that wait for a slow server
            raise
    if branch != commit:  # the client notes it only if it is given the branch
        note_branch(folder, branch)
    return folder


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors that asking the Hub can raise: the client's own, and those of reading a malformed answer.

    The client's errors are OSErrors and ValueErrors. It does not check the shape of an answer, so a malformed one
    raises one of the others.
    """
    import httpx2

    return (
        OSError, ValueError, TypeError, ImportError, LookupError, AttributeError, AssertionError, RuntimeError,
        httpx2.HTTPError, httpx2.InvalidURL,
    )  # fmt: skip


def explain_error(error: BaseException, timeout_s: float | None = None) -> str:
    """Return in one line why a name or its files are not available.

    Parameters
    ----------
    timeout_s : float, optional
        The time limit for the Hub's answer.

    Notes
    -----
    An error's own text is not passed on, except for a name that the Hub does not accept: it may hold the address, a
    path of this machine, or, if a header is malformed, the token.
    """
    import httpx2
    from huggingface_hub import errors

    from adapterbook.sources.hub_patience import HubStalledError, ProxySettingError

    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ProxySettingError):
            return f"not in the Hub's cache, and {cause}"
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return "not in the Hub's cache, and HF_HUB_OFFLINE forbids asking it"
        if isinstance(cause, HubStalledError) and timeout_s is None:
            return f"the Hub stalled: {cause}"
        if isinstance(cause, httpx2.HTTPError) and isinstance(cause, errors.HfHubHTTPError):
            return _explain_refusal(cause)
    for cause in chain:
        if isinstance(cause, errors.HFValidationError):
            return f"not a folder, and not a name that the Hub accepts ({first_line(cause)})"
        if isinstance(cause, errors.FileMetadataError):
            return "what answered is not a Hub: it does not describe its files (see HF_ENDPOINT and the proxy settings)"
        if isinstance(cause, (TimeoutError, httpx2.TimeoutException)):
            limit = "in time" if timeout_s is None else f"within {timeout_s:g} s"
            return f"not in the Hub's cache, and the Hub did not answer {limit}"
        if isinstance(cause, ssl.SSLError):
            return "the Hub's certificate was not accepted"
        if isinstance(cause, socket.gaierror):
            return "not in the Hub's cache, and the Hub was not reached (its host's name cannot be looked up)"
    return _explain_rest(chain)


def _explain_refusal(error: BaseException) -> str:
    """Return what a status code of the Hub means."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "gated: ask for access on its page, and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the Hub has no such name, or it is private or gated"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the Hub has the name, but not the revision"
    if isinstance(error, errors.EntryNotFoundError):
        return "the Hub lists a file that it does not have"
    if status in (401, 403):
        return f"the Hub refuses access ({status}): is HF_TOKEN valid, and is it allowed to read?"
    if status == 429:
        return "the Hub refuses for now (429, too many requests)"
    if isinstance(status, int) and status >= 500:
        return f"the Hub has an internal error (status {status})"
    return f"the Hub refused (status {status})"


def _explain_rest(chain: list[BaseException]) -> str:
    """Explain the other errors: no connection, a broken one, a malformed answer, or the disk."""
    import httpx2

    for cause in chain:
        if isinstance(cause, (httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
            return "HF_ENDPOINT, or a proxy, is not an address"
        if isinstance(cause, httpx2.ConnectError):
            numbers = [c.errno for c in chain if isinstance(c, OSError) and c.errno is not None and c.errno > 0]
            why = os.strerror(numbers[0]) if numbers else "no connection"
            return f"not in the Hub's cache, and the Hub was not reached ({why})"
        if isinstance(cause, httpx2.HTTPError):
            return f"the connection to the Hub broke off ({type(cause).__name__})"
    for cause in chain:
        if isinstance(cause, ConnectionError):
            return f"not in the Hub's cache, and the Hub was not reached ({type(cause).__name__})"
        if isinstance(cause, OSError) and cause.errno is not None:
            return f"the Hub's cache (HF_HOME) cannot be used: {os.strerror(cause.errno)}"
    if isinstance(chain[0], OSError):
        return "a file did not arrive, or not with the size that the Hub announced"
    if isinstance(chain[0], json.JSONDecodeError):
        return "the Hub's answer is malformed (not JSON)"
    return f"the Hub's answer is malformed ({type(chain[0]).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it was raised from or after."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _in_background(question: Callable[[], Answer], name: str) -> Future[Answer]:
    """Return a future of a function's result, computed in a daemon thread."""
    from huggingface_hub.utils import logging

    from adapterbook.sources.hub_patience import limit_patience

    answer: Future[Answer] = Future()
    try:
        limit_patience()
    except hub_errors() as error:
        answer.set_exception(error)
        return answer
    # The client's warnings hold addresses, which would stay in an executed notebook and be published.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name=name).start()
    return answer


@contextmanager
def without_xet() -> Iterator[None]:
    """Transfer files over plain HTTP, because Xet's client ignores our time limits."""
    from huggingface_hub import constants

    was = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = was
