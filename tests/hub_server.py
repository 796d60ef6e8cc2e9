"""A Hub on loopback: what ``huggingface_hub`` asks of the real one, answered from local folders."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["COMMIT", "HubServer", "serve_hub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(r"/api/(models|datasets)/([^/?]+/[^/?]+)(?:/(?:revision|tree)/([^/?]+))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class HubServer:
    """What is served and what was asked.

    Attributes
    ----------
    repos : mapping
        Local folders by ``models/<name>`` or ``datasets/<name>``.
    url : str
        For ``HF_ENDPOINT``.
    requests : list of str
        Method and path of each request.
    break_after : int or None
        Close the connection after so many bytes of a file.
    corrupt : bool
        Send files whose content differs from their hash.
    """

    repos: Mapping[str, Path]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    break_after: int | None = None
    corrupt: bool = False


@contextmanager
def serve_hub(repos: Mapping[str, Path]) -> Iterator[HubServer]:
    """Serve folders as repositories, each at one commit, on a free port of 127.0.0.1."""
    hub = HubServer(repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the console."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path)
        self.hub.requests.append(f"{self.command} {path}")
        if match := API.match(path):
            kind, name, revision = match.groups()
            self._answer_api(f"{kind}/{name}", revision or "main", tree="/tree/" in path)
        elif match := FILE.match(path):
            kind = "datasets" if match[1] else "models"
            self._answer_file(f"{kind}/{match[2]}", match[3], match[4].split("?")[0], body=body)
        else:
            self._refuse("RepoNotFound", 404)

    def _folder(self, repo: str, revision: str) -> Path | None:
        if repo not in self.hub.repos:
            self._refuse("RepoNotFound", 401)
            return None
        if revision not in ("main", COMMIT):
            self._refuse("RevisionNotFound", 404)
            return None
        return self.hub.repos[repo]

    def _answer_api(self, repo: str, revision: str, *, tree: bool) -> None:
        folder = self._folder(repo, revision)
        if folder is None:
            return
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in files]
        if tree:
            content: Any = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)[:40]}
                for name, path in zip(names, files, strict=True)
            ]
        else:
            name = repo.partition("/")[2]
            content = {"id": name, "sha": COMMIT, "private": False, "siblings": [{"rfilename": item} for item in names]}
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer_file(self, repo: str, revision: str, name: str, *, body: bool) -> None:
        folder = self._folder(repo, revision)
        if folder is None:
            return
        file = folder / name
        if not file.is_file():
            self._refuse("EntryNotFound", 404)
            return
        content = file.read_bytes()
        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.hub.corrupt:
            content = content[:-1]
        self._send(200, content, headers, body=body)

    def _refuse(self, code: str, status: int) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.command == "GET":
            cut = self.hub.break_after
            self.wfile.write(content if cut is None else content[:cut])
            if cut is not None and cut < len(content):
                self.close_connection = True


def _etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
