"""The Hugging Face Hub: which commit a name stands for, the way to a local snapshot of it, and what went wrong.

Owns every call to ``huggingface_hub`` that asks the Hub, with time limits that hold. What it says of an error holds
no address, path or setting of this machine: such texts reach records and pages. Knows nothing of what a base model or
a data set must hold: that is ``folders``'.
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
    The question runs in a daemon thread, and whoever waits for the answer keeps to ``timeout_s``: no limit of a
    client covers the look-up of the host's name.
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
        The revision that was asked for. The cache notes that it stands for this commit, so that the next run finds
        the snapshot without network.

    Raises
    ------
    One of `hub_errors()`

    Notes
    -----
    Ends in bounded time: see `hub_client.watch_download`. This thread only waits, so that neither a server that
    stalls within its headers nor Ctrl-C has to wait for a transfer.
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
            close_session()  # wakes the threads that read from a server which sends next to nothing
            raise
    if branch != commit:  # the client notes it only where it is given the branch
        note_branch(folder, branch)
    return folder


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what comes of asking the Hub: the client's own errors, and those of reading an answer that makes no sense.

    The client's tree is of OSErrors and ValueErrors. It takes the Hub's answers apart unchecked, so an answer of
    another shape is one of the others.
    """
    import httpx2

    return (
        OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError,
        httpx2.HTTPError, httpx2.InvalidURL,
    )  # fmt: skip


def explain_error(error: BaseException, timeout_s: float | None = None) -> str:
    """Return in one line why a name or its files are not to be had.

    Parameters
    ----------
    timeout_s : float, optional
        The limit in which the Hub was to answer.

    Notes
    -----
    Nothing of an error's own text is passed on, but a name that the Hub does not take: the text may hold the
    address, a path of this machine, and of a header that is no header the token.
    """
    import httpx2
    from huggingface_hub import errors

    from adapterbook.sources.hub_patience import HubStalledError

    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return "not in the Hub's cache, and HF_HUB_OFFLINE forbids to ask"
        if isinstance(cause, HubStalledError) and timeout_s is None:
            return f"the Hub stalled: {cause}"
        if isinstance(cause, httpx2.HTTPError) and isinstance(cause, errors.HfHubHTTPError):
            return _explain_refusal(cause)
    for cause in chain:
        if isinstance(cause, errors.HFValidationError):
            return f"no folder, and no name that the Hub takes ({first_line(cause)})"
        if isinstance(cause, errors.FileMetadataError):
            return "what answered is no Hub: it does not say what a file is (see HF_ENDPOINT and the proxy settings)"
        if isinstance(cause, (TimeoutError, httpx2.TimeoutException)):
            limit = "in time" if timeout_s is None else f"within {timeout_s:g} s"
            return f"not in the Hub's cache, and the Hub did not answer {limit}"
        if isinstance(cause, ssl.SSLError):
            return "the Hub's certificate was not accepted"
        if isinstance(cause, socket.gaierror):
            return "not in the Hub's cache, and the Hub was not reached (its host's name cannot be looked up)"
    return _explain_rest(chain)


def _explain_refusal(error: BaseException) -> str:
    """Return what a status of the Hub means."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "gated: ask for access on its page, and give HF_TOKEN"
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
        return f"the Hub is in trouble itself (status {status})"
    return f"the Hub refused (status {status})"


def _explain_rest(chain: list[BaseException]) -> str:
    """Return what is left: no connection, a connection that broke off, an answer without sense, a disk."""
    import httpx2

    for cause in chain:
        if isinstance(cause, (httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
            return "HF_ENDPOINT, or a proxy, is no address"
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
        return "a file arrived with another size than the Hub had said, or not at all"
    if isinstance(chain[0], json.JSONDecodeError):
        return "the Hub's answer makes no sense (it is no JSON)"
    return f"the Hub's answer makes no sense ({type(chain[0]).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from or after."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _in_background(question: Callable[[], Answer], name: str) -> Future[Answer]:
    """Return a future of what a function returns or raises, in a thread that keeps no process alive."""
    from huggingface_hub.utils import logging

    from adapterbook.sources.hub_patience import limit_patience

    limit_patience()
    # The client's warnings hold addresses, and an executed notebook, which is published, would keep them.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    answer: Future[Answer] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001  handed to the thread that asked, which raises it
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name=name).start()
    return answer


@contextmanager
def without_xet() -> Iterator[None]:
    """Transfer files over plain HTTP: Xet's client is another program, and keeps to no limit of ours."""
    from huggingface_hub import constants

    was = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = was
