"""Measure the first page in a browser (e): bytes, requests and the time to its first paint, as Chromium counts."""

from __future__ import annotations

import os
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from adapterbook.common.errors import RunError
from benchmarks.quantities import Quantity

PAGE = "report/zh/index.html"
MAX_BYTES = 250e3
# Without these Chromium contacts its maker's hosts, for updates for example.
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIRST_PAINT = "(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime || null"
SCROLL_DOWN = """async () => {
  for (let y = 0; y < document.body.scrollHeight; y += 400) {
    scrollTo({ top: y, behavior: "instant" });
    await new Promise(done => setTimeout(done, 20));
  }
}"""


def measure_first_page(site: Path, repeat: int, say: Callable[[str], None]) -> list[Quantity]:
    """Open the overview in a fresh Chromium, from a file and from a server on this machine, then scroll to its end.

    Bytes are those of all response bodies, uncompressed: of what is fetched at once, and of all of it with the pictures
    further down, which are fetched when a reader comes near.
    """
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        say("no playwright (requirements-dev.txt) or no Chromium (CHROMIUM names one): skipped")
        return []
    seen: dict[str, list[dict[str, float]]] = {"file": [], "http": []}
    with sync_playwright() as playwright, _serve(site) as address:
        for _ in range(repeat):
            for way, url in (("file", (site / PAGE).resolve().as_uri()), ("http", f"{address}/{PAGE}")):
                browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
                seen[way].append(_visit(browser.new_page(viewport={"width": 1280, "height": 900}), url))
                browser.close()
    quantities = []
    for way, visits in seen.items():
        for name, unit, limit in (("bytes", "B", MAX_BYTES), ("all_bytes", "B", None), ("requests", "", None),
                                  ("first_paint", "s", None)):  # fmt: skip
            quantities.append(Quantity(f"first_page.{way}_{name}", unit, [visit[name] for visit in visits], limit))
    say("; ".join(f"{way}: {visits[-1]}" for way, visits in seen.items()))
    return quantities


def _visit(page: Any, url: str) -> dict[str, float]:
    """Open a page and scroll to its end; return bytes and requests before that, all bytes, and when it is painted."""
    bodies: dict[str, float] = {}
    urls: dict[str, str] = {}
    session = page.context.new_cdp_session(page)

    def count(event: dict[str, Any]) -> None:
        bodies[event["requestId"]] = bodies.get(event["requestId"], 0) + event["dataLength"]

    session.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.dataReceived", count)
    session.send("Network.enable")

    def real() -> set[str]:
        return {key for key, address in urls.items() if not address.startswith(("data:", "blob:"))}

    def fetched() -> float:
        return sum(bodies.get(key, 0) for key in real())

    page.goto(url, wait_until="networkidle")
    at_once, requests = fetched(), len(real())
    page.evaluate(SCROLL_DOWN)
    page.wait_for_load_state("networkidle")
    paint_ms = page.evaluate(FIRST_PAINT)
    if paint_ms is None:
        raise RunError(f"Chromium painted nothing of {Path(url).name}.")
    return {"bytes": at_once, "all_bytes": fetched(), "requests": requests, "first_paint": paint_ms / 1000}


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
