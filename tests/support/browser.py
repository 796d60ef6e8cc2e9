"""Open a real browser for tests: the system's Chromium, driven by Playwright; without one the test is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

# Chromium asks its maker's hosts for updates and the like unless it is told not to.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ABORTED = "net::ERR_ABORTED"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Return the browser that ``CHROMIUM`` names, else the one on the PATH, else ``None``."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip the test, with its reason, if there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium); set CHROMIUM to name one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """Hold a page that is open in the browser, and everything that went wrong since it opened."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        """Tell whether the page is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@contextmanager
def visit(browser: Browser, path: Path, *, width: int = 1280, theme: str = "light") -> Iterator[Visit]:
    """Open the file ``path`` in a window of ``width`` CSS pixels with the system's theme, ``light`` or ``dark``.

    ``messages`` collects console errors and warnings, uncaught exceptions and failed requests; ``requests`` every URL
    that was asked for.
    """
    size = ViewportSize(width=width, height=900)
    context = browser.new_context(viewport=size, color_scheme="dark" if theme == "dark" else "light")
    try:
        page = context.new_page()
        opened = Visit(page)
        page.on(
            "console",
            lambda message: opened.messages.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: opened.messages.append(str(error)))
        # A page that is left or reloaded aborts what it still loads.
        page.on(
            "requestfailed",
            lambda request: None if request.failure == ABORTED else opened.messages.append(f"failed: {request.url}"),
        )
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.resolve().as_uri())
        yield opened
    finally:
        context.close()
