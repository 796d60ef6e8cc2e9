"""Give ``huggingface_hub`` an HTTP client that gives up in time.

The library's own client waits without limit for a listing of files, for a server that sends a byte now and then or
breaks off at the same place each time, and for as long as a ``Retry-After`` says.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils._http import parse_ratelimit_headers

N_BYTES_ENOUGH = 4096  # within the time limit; with less, the server counts as stalled
PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
RETRIED = {408, 429, 500, 502, 503, 504}


class HubStalledError(TimeoutError):
    """Report that nothing new has arrived for too long, or that the Hub asks for a longer wait."""


class Watch:
    """Measure how long a download has made no progress.

    Only new bytes count: a file that breaks off at the same byte again and again, or a question answered with the same
    error, is not progress.

    Parameters
    ----------
    patience_s : float
        How long nothing new may arrive, in seconds.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._lock = threading.Lock()
        self._since_s = time.monotonic()
        self._n_bytes = 0
        self._furthest: dict[str, int] = {}  # path → byte
        self._finished: set[str] = set()
        self._stopped = False

    def arrived(self, path: str, position: int) -> None:
        """Note that a file has arrived up to a byte."""
        with self._lock:
            self._n_bytes += max(0, position - self._furthest.get(path, 0))
            self._furthest[path] = max(position, self._furthest.get(path, 0))
            if self._n_bytes >= N_BYTES_ENOUGH:
                self._n_bytes, self._since_s = 0, time.monotonic()

    def finished(self, question: str) -> None:
        """Note that a question has been answered; a second answer does not count."""
        with self._lock:
            if question not in self._finished:
                self._finished.add(question)
                self._since_s = time.monotonic()

    def stop(self) -> None:
        """End every transfer at its next byte."""
        self._stopped = True

    def left_s(self) -> float:
        """Return the time left without progress, in seconds."""
        return 0.0 if self._stopped else self._since_s + self.patience_s - time.monotonic()

    def check(self, wait_s: float = 0.0) -> None:
        """Raise if no time is left, or would be after a wait.

        Raises
        ------
        HubStalledError
        """
        if wait_s > 0 and wait_s >= self.left_s():
            raise HubStalledError(f"it asks to wait for {wait_s:g} s")
        if self.left_s() <= 0:
            raise HubStalledError(f"nothing new has come for {self.patience_s:g} s")


_watches: list[Watch] = []  # of the download that is under way
# The client fetches files in its own threads, and some may outlive a download that was given up: each keeps the watch
# that it began with.
_thread = threading.local()


@contextmanager
def watch_download() -> Iterator[Watch]:
    """Watch every request of this process, with three times the client's limit as the patience.

    Notes
    -----
    ``HF_HUB_DOWNLOAD_TIMEOUT``, 10 s by default, is the client's limit for each read. So a stalled download ends after
    30 s, plus the rest of the current read.
    """
    watch = Watch(3.0 * constants.HF_HUB_DOWNLOAD_TIMEOUT)
    _watches.append(watch)
    try:
        yield watch
    finally:
        watch.stop()
        _watches.remove(watch)


class ProxySettingError(ValueError):
    """Report proxy settings with which no client can be made. Remedy: mend or unset the variables that it names."""


def open_session() -> httpx2.Client:
    """Return the client that ``huggingface_hub`` uses now.

    Raises
    ------
    ProxySettingError
        If the variables of the proxies cannot be used. The message holds no value: it may have a password.
    """
    try:
        return get_session()
    except Exception as error:  # whatever a library says of a value that it cannot use
        names = [name for name in os.environ if name.upper() in PROXY_VARIABLES and os.environ[name].strip()]
        if not names:
            raise
        why = "a SOCKS proxy needs a package that is not installed; name an HTTP proxy, or install socksio"
        is_socks = any(os.environ[name].strip().lower().startswith("socks") for name in names)
        if not (is_socks or isinstance(error, ImportError)):
            why = "expected an address such as http://host:8080, or in NO_PROXY names of hosts with commas"
        raise ProxySettingError(f"the proxy settings {' and '.join(names)} cannot be used: {why}") from error


def limit_patience() -> None:
    """Make ``huggingface_hub`` use a client that gives up in time, with its proxies and hooks; errors as above."""
    session = open_session()
    if not isinstance(session, _PatientClient):
        hooks = session.event_hooks
        set_client_factory(lambda: _PatientClient(event_hooks=hooks, follow_redirects=True, timeout=None))


class _PatientClient(httpx2.Client):
    """Send requests for ``huggingface_hub`` under a watch.

    A request outside a download has its own limit, for the whole request and not for each read.
    """

    def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request, and give up in time."""
        limits = request.extensions.get("timeout", {})
        download = _watch_of_thread()
        if download is not None:
            limit_s = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
            limits = {key: limit_s if limits.get(key) is None else min(limits[key], limit_s) for key in limits}
            request.extensions = {**request.extensions, "timeout": limits}
        elif stream or limits.get("read") is None:
            return super().send(request, stream=stream, **options)
        watch = download or Watch(limits["read"])
        watch.check()
        response = super().send(request, stream=True, **options)
        try:
            if download is not None and response.status_code in RETRIED:
                download.check(wait_s=_wait_s(response))
            response.stream = _WatchedStream(response, request, watch)
            if not stream:
                response.read()
        except BaseException:
            response.close()
            raise
        return response


def _watch_of_thread() -> Watch | None:
    """Return the watch of the download that this thread belongs to, if any."""
    if getattr(_thread, "watch", None) is None and _watches:
        _thread.watch = _watches[-1]
    return getattr(_thread, "watch", None)


class _WatchedStream(httpx2.SyncByteStream):
    """Pass on a response, note its progress in the watch, and end when the watch does."""

    def __init__(self, response: httpx2.Response, request: httpx2.Request, watch: Watch) -> None:
        assert isinstance(response.stream, httpx2.SyncByteStream)
        self._stream = response.stream
        self._watch = watch
        self._ok = response.is_success
        self._path = request.url.path
        self._question = f"{request.method} {request.url.path}"
        # A listing may have any number of pages, so a page is not progress: the listing must be complete in time.
        self._is_listing = self._path.startswith("/api/")
        wanted = request.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        self._start = int(wanted) if response.status_code == 206 and wanted.isdigit() else 0

    def __iter__(self) -> Iterator[bytes]:
        position = self._start
        for chunk in self._stream:
            position += len(chunk)
            if self._ok and not self._is_listing:
                self._watch.arrived(self._path, position)
            self._watch.check()
            yield chunk
        if self._ok and not self._is_listing:
            self._watch.finished(self._question)

    def close(self) -> None:
        self._stream.close()


def _wait_s(response: httpx2.Response) -> float:
    """Return how long the Hub asks to wait, in seconds; 0 if it does not say."""
    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    asked = response.headers.get("Retry-After", "").strip()
    return float(asked) if asked.isdigit() else 0.0
