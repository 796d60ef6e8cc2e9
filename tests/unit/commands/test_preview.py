"""Serve the site on this machine's own address, and show it again after each change."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from adapterbook.commands.preview import is_input, preview_site
from adapterbook.common.errors import AdapterBookError
from adapterbook.config.paths import Paths
from tests.support.browser import open_browser
from tests.support.factory import PROJECT, write_results
from tests.support.processes import wait_until

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/")


def make_project(root: Path) -> Paths:
    """Write a project of made-up results."""
    variants = {"submitted": {"title": "As submitted"}}
    paths = write_results(root, adapters=["ia3"], variants=variants)
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copytree(PROJECT.report / "assets", paths.report / "assets")
    for name in ("_quarto.yml", "book.yaml"):
        shutil.copy(PROJECT.root / name, root)
    shutil.copy(PROJECT.notebook, paths.notebook)
    return paths


def start_preview(paths: Paths, log: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m adapterbook preview`` on a free port, in a process group of its own."""
    settings = {"SOURCE": "embedded", "RENDERER": "embedded", "PYTHONPATH": str(PROJECT.root), "PORT": "0"}
    with log.open("w", encoding="utf-8") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "adapterbook", "preview"],
            cwd=paths.root, env=os.environ | settings | {"PYTHONUNBUFFERED": "1"},
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


@contextmanager
def preview(paths: Paths, log: Path) -> Iterator[int]:
    """Run a preview; give its port, and end it as Ctrl-C does."""
    process = start_preview(paths, log)
    try:
        wait_until(lambda: _tells_its_address(log) or process.poll() is not None)
        match = ADDRESS.search(log.read_text("utf-8"))
        assert match, log.read_text("utf-8")
        yield int(match[1])
    finally:
        process.terminate()
        assert process.wait(timeout=300) == 130, log.read_text("utf-8")


def ask(port: int, path: str) -> tuple[int, str, str]:
    """Return status, body and the caching that the server allows."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), answer.headers.get("Cache-Control", "")
    finally:
        connection.close()


@pytest.mark.slow
def test_a_change_is_seen_in_the_browser(tmp_path: Path) -> None:
    """The first page appears when it is made; a template is edited, and the open page says so, without a message."""
    paths = make_project(tmp_path / "project")
    site, log = paths.root / "_site", tmp_path / "log"
    with open_browser() as browser, preview(paths, log) as port:
        page = browser.new_context().new_page()
        messages: list[str] = []
        page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/report/en/glossary.html")
        page.locator("h1").wait_for(timeout=120_000)
        messages.clear()  # before the page was there, it was missing
        template = paths.templates / "pages/glossary.qmd.j2"
        template.write_text(template.read_text("utf-8") + "\nA sentence of today.\n", "utf-8")
        expect(page.get_by_text("A sentence of today.")).to_be_visible(timeout=120_000)
        page.locator("a.language").click()
        page.wait_for_url("**/report/zh/glossary.html")
        assert messages == []
        assert "Content-Security-Policy" in page.content()
        # What was sent holds the script, what lies in the folder does not.
        assert "/.preview/reload.js" in page.content()
        broken = paths.templates / "pages/glossary.qmd.j2"
        broken.write_text(broken.read_text("utf-8") + "\n{{ nothing_of_that_name }}\n", "utf-8")
        wait_until(lambda: "The site stays as it was" in log.read_text("utf-8"))
        assert ask(port, "/report/zh/glossary.html")[0] == 200
    assert not [path for path in site.rglob("*") if path.is_file() and b".preview" in path.read_bytes()]


def test_what_the_server_sends(tmp_path: Path) -> None:
    """Files as they are, pages with the script, the site's own page for what is lost, nothing outside, no cache."""
    paths = Paths(tmp_path / "project")  # there is nothing to make a site from: it stays as it is
    files = {
        "index.html": "<!DOCTYPE html><body><p>front</body>\n",
        "zh/index.html": "<!DOCTYPE html><p>no end",
        "404.html": "<!DOCTYPE html><p>這裡沒有網頁</p>",
        "assets/site.css": "a { color: red }\n",
    }
    for name, text in files.items():
        (paths.root / "_site" / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.root / "_site" / name).write_text(text, "utf-8")
    shutil.copy(PROJECT.root / "_quarto.yml", paths.root)
    paths.experiments.mkdir()
    (paths.root / "secret.html").write_text("secret", "utf-8")
    with preview(paths, tmp_path / "log") as port:
        status, text, caching = ask(port, "/")
        assert (status, caching) == (200, "no-store")
        assert re.fullmatch(
            r'.*<p>front<script src="/\.preview/reload\.js" data-site="[\d-]+"></script></body>\n', text
        )
        assert re.fullmatch(r".*<p>no end<script [^>]+></script>", ask(port, "/zh/")[1])
        assert ask(port, "/assets/site.css") == (200, files["assets/site.css"], "no-store")
        status, text, _ = ask(port, "/no/such/page.html")
        assert status == 404
        assert "這裡沒有網頁" in text
        for path in ("/../secret.html", "/%2e%2e/secret.html", "//etc/passwd"):
            status, text, _ = ask(port, path)
            assert status in (403, 404)
            assert "secret" not in text
        assert ask(port, "/.preview/site.js?seen=another")[1] == "location.reload();"
        wait_until(lambda: "The site stays as it was" in (tmp_path / "log").read_text("utf-8"))


def _tells_its_address(log: Path) -> bool:
    return bool(ADDRESS.search(log.read_text("utf-8")))


def _left_of(group: int) -> list[list[str]]:
    """Return the command lines of a group's processes that are still there after a moment."""
    psutil.wait_procs(_members(group), timeout=10)
    return [process.cmdline() for process in _members(group) if process.status() != psutil.STATUS_ZOMBIE]


def _members(group: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                members.append(process)
    return members


MAKES_PAGES, MAKES_SITE = ADDRESS, re.compile("files under report/")  # what the log says as a step begins
SLOW = [
    pytest.param(moment, number, all_of_it, n_times, marks=pytest.mark.slow)
    for moment, number, all_of_it, n_times in (
        (MAKES_PAGES, signal.SIGINT, True, 1),
        (MAKES_PAGES, signal.SIGTERM, False, 1),
        (MAKES_PAGES, signal.SIGTERM, True, 2),
        (MAKES_SITE, signal.SIGINT, True, 2),
        (MAKES_SITE, signal.SIGINT, False, 1),
        (MAKES_SITE, signal.SIGTERM, False, 2),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number", "all_of_it", "n_times"),
    [(MAKES_PAGES, signal.SIGINT, False, 2), (MAKES_SITE, signal.SIGTERM, True, 1), *SLOW],
)
def test_it_ends_at_once_whenever_it_is_told_to(
    tmp_path: Path, moment: re.Pattern[str], number: signal.Signals, all_of_it: bool, n_times: int
) -> None:
    """SIGTERM or Ctrl-C in a build, to all processes or the first alone, once or twice, leaves no process."""
    paths, log = make_project(tmp_path / "project"), tmp_path / "log"
    process = start_preview(paths, log)
    wait_until(lambda: moment.search(log.read_text("utf-8")), process)
    wait_until(lambda: psutil.Process(process.pid).children(), process)
    for _ in range(n_times):
        os.killpg(process.pid, number) if all_of_it else process.send_signal(number)
    assert process.wait(timeout=300) == 130, log.read_text("utf-8")
    assert "Traceback" not in log.read_text("utf-8"), log.read_text("utf-8")
    assert not _left_of(process.pid)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """…with the command for another, before anything is made; so is one that cannot be."""
    shutil.copy(PROJECT.root / "_quarto.yml", tmp_path)
    (tmp_path / "experiments").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AdapterBookError, match=rf"PORT={port} is taken.*make preview PORT={port + 1}"):
            preview_site(tmp_path, port, {"pages": [], "site": []}, print)
    for port in (-1, 70_000):
        with pytest.raises(AdapterBookError, match=rf"PORT={port}: expected a port"):
            preview_site(tmp_path, port, {"pages": [], "site": []}, print)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("templates/pages/overview.qmd.j2", True),
        ("book.yaml", True),
        ("_quarto.yml", True),
        ("index.qmd", False),
        ("README.md", False),
        ("adapterbook/pages/build.py", True),
        ("adapterbook/__pycache__/x.pyc", False),
        ("experiments/study.yaml", True),
        ("experiments/adapters/.ia3.yaml.swp", False),
        ("experiments/adapters/ia3.yaml~", False),
        ("experiments/results/embedded/ia3/submitted/seed-1/record.json", True),
        ("experiments/results/embedded/ia3/submitted/seed-1/adapter/adapter_model.safetensors", False),
        ("experiments/results/.staging/embedded/x/record.json", False),
        ("experiments/results/.lock", False),
    ],
)
def test_what_is_watched(name: str, wanted: bool) -> None:
    """What a site is made from, and not what lies beside it or comes and goes."""
    assert is_input(Path("/project"), Path("/project") / name) == wanted
