"""Serve a Hub on loopback: answer the requests of ``huggingface_hub`` from local folders, with faults on demand.

Like the real Hub, it names small files by git's hash and large ones by their SHA-256, and transfers the large ones at
another host. If it has a folder for uploads, it accepts them and serves the uploaded files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
API = re.compile(r"/api/(models|datasets)/([^/?]+/[^/?]+)(?:/(?:revision|tree)/([^/?]+))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
STORE = re.compile(r"/store/([0-9a-f]{64})")
UPLOAD_API = re.compile(r"/api/models/([^/?]+/[^/?]+)/(preupload|commit)/main")
BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
LARGE = {".safetensors", ".parquet", ".bin"}  # as .gitattributes says on the Hub


@dataclass
class Fault:
    """Describe a fault in the requests that match a pattern, such as ``GET /store/``; other requests work.

    Attributes
    ----------
    status, headers, body
        Sent instead of the answer, where a status is given.
    stall : str, optional
        ``silent``: nothing is sent. ``trickle``: the body comes byte by byte, ten a second. ``headers``: the status
        line does.
    break_after : int, optional
        Close the connection after so many bytes of the body.
    flip : bool
        One byte is another; the length stays.
    length_off : int
        Added to the length that the headers tell.
    n_times : int
        How many requests it hits.
    """

    pattern: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stall: Literal["silent", "trickle", "headers"] | None = None
    break_after: int | None = None
    flip: bool = False
    length_off: int = 0
    n_times: int = 1_000_000


@dataclass
class HubServer:
    """Hold what is served and what was asked.

    Attributes
    ----------
    repos : mapping
        Local folders by ``models/<name>`` or ``datasets/<name>``.
    url : str
        For ``HF_ENDPOINT``.
    requests : list of str
        Method and path of each request.
    tokens_elsewhere : list of str
        The Authorization headers that reached the host which sends large files.
    commit : str
        What main stands for; every commit serves the same files.
    ranges : bool
        Whether a download can go on in the middle of a file.
    extra_names : list of str
        Names that every listing holds beside the files.
    uploads : Path, optional
        Where repositories are made that somebody creates; they are served from then on.
    token, namespace : str
        Who may write, and where to.
    commits : list of str
        What was committed: repository and files.
    private : set of str
        Repositories that were created as such.
    """

    repos: dict[str, Path]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    tokens_elsewhere: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    commit: str = COMMIT
    ranges: bool = True
    extra_names: list[str] = field(default_factory=list)
    uploads: Path | None = None
    token: str = "hf_of_a_test"
    namespace: str = "ming"
    commits: list[str] = field(default_factory=list)
    private: set[str] = field(default_factory=set)
    closing: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def fault(self, pattern: str, **what: Any) -> Iterator[Fault]:
        """Break matching requests for a while."""
        fault = Fault(pattern, **what)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def next_fault(self, request: str) -> Fault | None:
        """Return the fault that hits a request, and count it."""
        for fault in self.faults:
            if fault.n_times > 0 and re.search(fault.pattern, request):
                fault.n_times -= 1
                return fault
        return None


@contextmanager
def serve_hub(repos: Mapping[str, Path], uploads: Path | None = None) -> Iterator[HubServer]:
    """Serve folders as repositories on a free port of 127.0.0.1, and take uploads into a folder."""
    hub = HubServer(dict(repos), uploads=uploads)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    fault: Fault | None
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer()

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_POST(self) -> None:
        """Accept a write request."""
        self._answer()

    def do_PUT(self) -> None:
        """Accept a large file."""
        self._answer()

    def _answer(self) -> None:
        path = unquote(self.path)
        content = self._read_body() if self.command in ("POST", "PUT") else b""
        self.hub.requests.append(f"{self.command} {path}")
        self.fault = self.hub.next_fault(f"{self.command} {path}")
        if self.fault is not None and self.fault.stall in ("silent", "headers"):
            self._stall(self.fault.stall)
        elif self.fault is not None and self.fault.status is not None:
            self._send(self.fault.status, self.fault.body, self.fault.headers)
        elif self.command in ("POST", "PUT"):
            self._answer_upload(path.split("?")[0], content)
        elif match := API.match(path):
            kind, name, revision = match.groups()
            self._answer_api(f"{kind}/{name}", revision or "main", tree="/tree/" in path)
        elif match := FILE.match(path):
            kind = "datasets" if match[1] else "models"
            self._answer_file(f"{kind}/{match[2]}", match[3], match[4].split("?")[0])
        elif match := STORE.match(path):
            self._answer_store(match[1])
        else:
            self._refuse("RepoNotFound", 404)

    def _folder(self, repo: str, revision: str) -> Path | None:
        if repo not in self.hub.repos:
            self._refuse("RepoNotFound", 401)
            return None
        if revision not in ("main", COMMIT, self.hub.commit):
            self._refuse("RevisionNotFound", 404)
            return None
        return self.hub.repos[repo]

    def _answer_api(self, repo: str, revision: str, *, tree: bool) -> None:
        folder = self._folder(repo, revision)
        if folder is None:
            return
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        content: Any
        if tree:
            content = [_describe(name, path) for name, path in files.items()]
            content += [{"type": "file", "path": name, "size": 2, "oid": "0" * 40} for name in self.hub.extra_names]
        else:
            name = repo.partition("/")[2]
            commit = self.hub.commit if revision == "main" else revision
            content = {"id": name, "sha": commit, "private": False, "siblings": [{"rfilename": item} for item in files]}
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer_file(self, repo: str, revision: str, name: str) -> None:
        folder = self._folder(repo, revision)
        if folder is None:
            return
        file = folder / name
        if name in self.hub.extra_names:
            self._send(200, b"{}", {"ETag": '"' + "0" * 40 + '"', "X-Repo-Commit": self.hub.commit})
        elif not file.is_file():
            self._refuse("EntryNotFound", 404)
        else:
            said = _describe(name, file)
            commit = self.hub.commit if revision == "main" else revision
            headers = {"X-Repo-Commit": commit, "ETag": f'"{said["oid"]}"'}
            if "lfs" in said:
                digest = said["lfs"]["oid"]
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(said["size"])}
                elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
                self._send(302, b"", headers | {"Location": f"{elsewhere}/store/{digest}"})
            else:
                self._send(200, file.read_bytes(), headers)

    def _read_body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer_upload(self, path: str, content: bytes) -> None:
        """Take an upload, step by step as the real Hub does: repository, kinds of files, large files, commit."""
        if self.command == "PUT" and (match := STORE.fullmatch(path)) and self.hub.uploads is not None:
            if "Authorization" in self.headers:
                self.hub.tokens_elsewhere.append(self.headers["Authorization"])
            matches = hashlib.sha256(content).hexdigest() == match[1]
            (self.hub.uploads / match[1]).write_bytes(content)
            self._send(200 if matches else 400, b"", {})
        elif path == "/api/validate-yaml":
            said = json.loads(content)["content"]
            errors = [] if said.startswith("---\n") else [{"message": "no metadata"}]
            self._send_json(400 if errors else 200, {"errors": errors, "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._send_json(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(content))
        elif (match := UPLOAD_API.fullmatch(path)) and f"models/{match[1]}" in self.hub.repos:
            answer = self._sort_files if match[2] == "preupload" else self._commit
            answer(match[1], content)
        elif (match := BATCH.fullmatch(path)) and f"models/{match[1]}" in self.hub.repos:
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            wanted = json.loads(content)["objects"]
            for item in wanted:
                if self.hub.uploads is None or not (self.hub.uploads / item["oid"]).is_file():  # else it is there
                    item["actions"] = {"upload": {"href": f"{elsewhere}/store/{item['oid']}"}}
            self._send_json(200, {"objects": wanted})
        else:
            self._refuse("RepoNotFound", 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != self.hub.namespace or self.hub.uploads is None:
            self._send_json(403, {"error": f"You don't have the rights to create a model under {name}"})
        elif f"models/{name}" in self.hub.repos:
            self._send_json(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        else:
            folder = self.hub.uploads / name
            folder.mkdir(parents=True)
            self.hub.repos[f"models/{name}"] = folder
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(name)
            self._send_json(200, {"url": f"{self.hub.url}/{name}"})

    def _sort_files(self, repo: str, content: bytes) -> None:
        folder, files = self.hub.repos[f"models/{repo}"], []
        for item in json.loads(content)["files"]:
            there = folder / item["path"]
            large = Path(item["path"]).suffix in LARGE
            said: dict[str, Any] = _describe(item["path"], there) if there.is_file() else {"oid": None}
            oid = said.get("lfs", said)["oid"]
            files.append({"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False,
                          "oid": oid})  # fmt: skip
        self._send_json(200, {"files": files})

    def _commit(self, repo: str, content: bytes) -> None:
        folder, names = self.hub.repos[f"models/{repo}"], []
        assert self.hub.uploads is not None
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                (folder / value["path"]).write_bytes((self.hub.uploads / value["oid"]).read_bytes())
            else:
                continue
            names.append(value["path"])
        self.hub.commits.append(f"{repo}: {', '.join(sorted(names))}")
        self._send_json(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def _send_json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer_store(self, digest: str) -> None:
        if "Authorization" in self.headers:
            self.hub.tokens_elsewhere.append(self.headers["Authorization"])
        for folder in self.hub.repos.values():
            for file in folder.rglob("*"):
                if file.suffix in LARGE and _sha256(file) == digest:
                    self._send_part(file.read_bytes())
                    return
        self._refuse("EntryNotFound", 404)

    def _send_part(self, content: bytes) -> None:
        """Send a file from the byte at which the client wants to continue."""
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None or not self.hub.ranges:
            self._send(200, content, {})
        else:
            n = len(content)
            self._send(206, content[int(start[1]) :], {"Content-Range": f"bytes {start[1]}-{n - 1}/{n}"})

    def _refuse(self, code: str, status: int) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        fault = self.fault or Fault("")
        if fault.flip:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content) + fault.length_off))
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(OSError):  # the client has given up
            if fault.stall == "trickle":
                self._trickle(content)
            elif fault.break_after is not None:
                self.wfile.write(content[: fault.break_after])
                self.close_connection = True
            else:
                self.wfile.write(content)
                self.close_connection = fault.length_off != 0

    def _stall(self, kind: str) -> None:
        with suppress(OSError):
            if kind == "headers":
                self._trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000)
            else:
                self.hub.closing.wait(30)
        self.close_connection = True

    def _trickle(self, content: bytes) -> None:
        for byte in content:
            if self.hub.closing.wait(0.1):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()


def _describe(name: str, file: Path) -> dict[str, Any]:
    """Describe a file as the Hub's listing does: a large one by its pointer, and the pointer by git's hash."""
    size = file.stat().st_size
    if file.suffix not in LARGE:
        return {"type": "file", "path": name, "size": size, "oid": _git_hash(file.read_bytes())}
    digest = _sha256(file)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n".encode()
    lfs = {"oid": digest, "size": size, "pointerSize": len(pointer)}
    return {"type": "file", "path": name, "size": size, "oid": _git_hash(pointer), "lfs": lfs}


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


_digests: dict[tuple[Path, int], str] = {}


def _sha256(file: Path) -> str:
    key = (file, file.stat().st_mtime_ns)
    if key not in _digests:
        _digests[key] = hashlib.sha256(file.read_bytes()).hexdigest()
    return _digests[key]
