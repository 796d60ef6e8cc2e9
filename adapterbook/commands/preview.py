"""Serve the site on this machine, rebuild it on change, and reload the open pages: `make preview`.

The server adds a script to each page that it sends; it is not in ``_site/``. The script requests another script, whose
answer waits for a new site. The livereload package and its like use a WebSocket, which the pages'
Content-Security-Policy does not allow.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, StaticFileHandler
from watchfiles import Change, awatch

from adapterbook.commands.report import site_folder
from adapterbook.common.errors import AdapterBookError
from adapterbook.config.paths import SHARED

Step = Literal["pages", "site"]
STEPS: Final[tuple[Step, ...]] = ("pages", "site")
ADDRESS: Final = "127.0.0.1"  # reachable from this machine only
WATCHED_FOLDERS: Final = ("templates", "experiments", "report/assets", "adapterbook")
WATCHED_FILES: Final = {"book.yaml", "_quarto.yml"}
RESULT_FILES: Final = {"record.json", "predictions.parquet", "notebook.ipynb"}
LEFT_OUT: Final = (".partial", ".tmp", ".swp", "~")  # names of editors' files and of unfinished ones
NO_SITE: Final = "none"
LONGEST_WAIT_S: Final = 25.0
LOOK_EVERY_S: Final = 0.3
LONGEST_END_S: Final = 10.0  # for a step to clean up after a signal
SCRIPT: Final = """\
(() => {
  "use strict";
  const seen = document.currentScript.dataset.site;
  const ask = () => {
    const question = document.createElement("script");
    question.src = `/.preview/site.js?seen=${seen}&at=${Date.now()}`;
    question.onload = () => { question.remove(); ask(); };
    question.onerror = () => { question.remove(); setTimeout(ask, 1000); };
    document.head.append(question);
  };
  addEventListener("load", () => setTimeout(ask)); // earlier, the page would load as long as it waits
})();
"""
NOTHING: Final = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>No page</title></head><body>'
    '<p>No page is here yet: see the terminal.</p><p lang="zh-TW">這裡還沒有網頁，請看終端機。</p></body></html>\n'
).encode()


def preview_site(root: Path, port: int, options: Mapping[Step, Sequence[str]], say: Callable[[str], None]) -> None:
    """Serve a project's site until the process is ended.

    Parameters
    ----------
    port : int
        0: any free port.
    options : mapping
        Options of the commands ``pages`` and ``site``, which rebuild the site.

    Raises
    ------
    AdapterBookError
        If the port is taken or not valid.
    KeyboardInterrupt
        At SIGINT or SIGTERM, after everything has ended.
    """
    asyncio.run(_preview(root, port, options, say))
    raise KeyboardInterrupt


def is_input(root: Path, path: Path) -> bool:
    """Tell whether the site is made from a file in a watched place; in a run's folder, three files count."""
    parts = path.relative_to(root).parts
    if any(part == "__pycache__" or part.startswith(".") for part in parts) or path.name.endswith(LEFT_OUT):
        return False
    if parts[:2] == ("experiments", "results"):
        return path.name in RESULT_FILES
    return len(parts) > 1 or path.name in WATCHED_FILES


async def _preview(root: Path, port: int, options: Mapping[Step, Sequence[str]], say: Callable[[str], None]) -> None:
    root = root.resolve()
    site = site_folder(root)
    listening = _listen(port)
    server = HTTPServer(_application(site))
    server.add_socket(listening)
    due, ended = asyncio.Event(), asyncio.Event()
    due.set()  # the site may be out of date or missing
    # An exception from a signal handler could interrupt the loop anywhere, and leave a watcher behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    address = f"http://{ADDRESS}:{listening.getsockname()[1]}/"
    say(f"{address} shows {site.name}/, rebuilt on change; Ctrl-C ends it.")
    try:
        async with asyncio.TaskGroup() as tasks:
            for base in dict.fromkeys((root, SHARED)):  # a study's own folder, and what it shares with the project
                folders = [base / name for name in WATCHED_FOLDERS if (base / name).is_dir()]
                tasks.create_task(_watch(base, folders, due, ended, recursive=True))
            # The folder, not the files in it, because many editors replace a file by a new one.
            tasks.create_task(_watch(root, [root], due, ended, recursive=False))
            making = tasks.create_task(_keep_making(root, due, options, say))
            await ended.wait()
            making.cancel()
    finally:
        server.stop()


async def _keep_making(
    root: Path, due: asyncio.Event, options: Mapping[Step, Sequence[str]], say: Callable[[str], None]
) -> None:
    while True:
        await due.wait()
        due.clear()
        await _make(root, options, say)


async def _watch(
    root: Path, folders: Collection[Path], due: asyncio.Event, ended: asyncio.Event, *, recursive: bool
) -> None:
    def matters(_: Change, path: str) -> bool:
        return is_input(root, Path(path))

    async for _ in awatch(*folders, watch_filter=matters, recursive=recursive, stop_event=ended):
        due.set()


async def _make(root: Path, options: Mapping[Step, Sequence[str]], say: Callable[[str], None]) -> None:
    """Make pages and site in new processes, because the code may have changed."""
    for step in STEPS:
        command = [sys.executable, "-m", "adapterbook", step, *options[step]]
        process = await asyncio.create_subprocess_exec(*command, cwd=root, preexec_fn=_ignore_interrupt)
        try:
            failed = await process.wait()
        finally:
            await _end(process)
        if failed:
            say("The site stays as it was until the next change.")
            return


def _ignore_interrupt() -> None:
    """Keep Ctrl-C from a starting interpreter, which would print a traceback; the preview ends its steps by SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a running step: terminate it, then kill it."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), LONGEST_END_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _listen(port: int) -> socket.socket:
    error = None
    if 0 <= port < 2**16:
        try:
            listening = socket.create_server((ADDRESS, port))
            listening.setblocking(False)
            return listening
        except OSError as caught:
            error = caught
    if error is not None and error.errno == errno.EADDRINUSE:
        raise AdapterBookError(
            f"PORT={port} is taken, perhaps by another preview. Take another: `make preview PORT={port + 1}`."
        )
    raise AdapterBookError(f"PORT={port}: expected a port that may be opened here, from 1024 to 65535.") from error


def _application(site: Path) -> Application:
    return Application(
        [
            (r"/\.preview/reload\.js", _Script),
            (r"/\.preview/site\.js", _Question, {"site": site}),
            (r"/(.*)", _Pages, {"path": str(site), "default_filename": "index.html"}),
        ],
        log_function=lambda handler: None,
    )


def _name_of(site: Path) -> str:
    """Return an identity of the site: a new site is a new folder in the place of the old one."""
    try:
        facts = site.stat()
    except OSError:
        return NO_SITE
    return f"{facts.st_ino}-{facts.st_mtime_ns}"


def _with_script(page: bytes, site: Path) -> bytes:
    """Return a page with the script at the end of its body."""
    script = f'<script src="/.preview/reload.js" data-site="{_name_of(site)}"></script>'.encode()
    before, end, after = page.rpartition(b"</body>")
    return before + script + end + after if end else page + script


class _Pages(StaticFileHandler):
    """Serve the site's files, without caching, and add the script to each page."""

    async def get(self, path: str, include_body: bool = True) -> None:
        self.path = self.parse_url_path(path)
        self.absolute_path = self.validate_absolute_path(self.root, self.get_absolute_path(self.root, self.path))
        if self.absolute_path is None:
            return  # redirected
        if not self.absolute_path.endswith(".html"):
            await super().get(path, include_body)
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_extra_headers(path)
        await self.finish(_with_script(Path(self.absolute_path).read_bytes(), Path(self.root)))

    def compute_etag(self) -> None:
        """Return None, because tornado caches the ETag of a file without limit."""

    def should_return_304(self) -> bool:
        return False

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **_: Any) -> None:
        site = Path(self.root)
        page = site / "404.html"
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_with_script(page.read_bytes() if page.is_file() else NOTHING, site))


class _Script(RequestHandler):
    """Serve the script that each page runs."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(SCRIPT)


class _Question(RequestHandler):
    """Answer when there is another site than the one seen, or with nothing after a while."""

    def initialize(self, site: Path) -> None:
        self.site, self.left = site, False

    def on_connection_close(self) -> None:
        self.left = True

    async def get(self) -> None:
        seen, end = self.get_query_argument("seen", ""), time.monotonic() + LONGEST_WAIT_S
        while not self._is_new(seen) and not self.left and time.monotonic() < end:
            await asyncio.sleep(LOOK_EVERY_S)
        if not self.left:
            self.set_header("Content-Type", "text/javascript; charset=utf-8")
            self.set_header("Cache-Control", "no-store")
            await self.finish("location.reload();" if self._is_new(seen) else "")

    def _is_new(self, seen: str) -> bool:
        return _name_of(self.site) not in (seen, NO_SITE)
