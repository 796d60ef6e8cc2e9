"""Test the page that a server shows for an address without a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapterbook.site.links import read_start_tags
from adapterbook.site.not_found import NOT_FOUND, render_not_found, write_not_found
from tests.support.browser import open_browser
from tests.support.site_sample import write_sample

ICON = '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>'


class _Server(SimpleHTTPRequestHandler):
    """Answer as GitHub Pages does: with 404.html of the site where there is no file."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        body = (Path(self.directory) / "prefix" / NOT_FOUND).read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write the sample project with an icon."""
    root = write_sample(tmp_path / "project")
    with (root / "report/_navigation.yml").open("a", encoding="utf-8") as file:
        file.write("  favicon: report/assets/favicon.svg\n")
    return root


@pytest.fixture
def server(project: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a site of one page below a prefix, and give its address."""
    site = tmp_path / "served" / "prefix"
    (site / "report/assets").mkdir(parents=True)
    (site / "report/assets/favicon.svg").write_text(ICON, "utf-8")
    (site / "index.html").write_text("<!DOCTYPE html><title>home</title>", "utf-8")
    (site / NOT_FOUND).write_text(render_not_found(project), "utf-8")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Server, directory=site.parent))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}/prefix"
    serving.shutdown()
    serving.server_close()


def test_the_lost_find_home_from_any_depth(server: str) -> None:
    """Below a prefix nobody told it, at every depth, the page leads to the front page, in the site's letters."""
    with open_browser() as browser:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        for path in ("lost", "report/zh/lost.html", "a/b/c/d/lost.html?q#x"):
            page.goto(f"{server}/{path}")
            page.wait_for_function("document.querySelector('main a').href.endsWith('index.html')")
            found = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
            assert found == [f"{server}/index.html"] * 3
            page.evaluate("document.fonts.ready")
            # The reader's own fonts come first, as on every page, so ask for ours by its name.
            assert page.evaluate("document.fonts.load('16px \"Report TC\"', '頁').then(faces => faces.length)") == 1
        assert [text for text in complaints if "404 (" not in text] == []
        page.click("main a")
        assert page.title() == "home"


def test_it_needs_no_file_beside_it(project: Path) -> None:
    """Nothing is fetched by an address, and both languages are there, the second marked."""
    text = render_not_found(project)
    tags = read_start_tags(text)
    assert [(tag, name) for tag, attributes in tags for name in attributes if name in ("src", "srcset")] == []
    assert [tag for tag, _ in tags if tag == "link"] == []
    assert "這個網址沒有網頁" in text
    assert '<p lang="en">There is no page at this address' in text


def test_it_knows_the_sites_address(project: Path) -> None:
    """With website.site-url its links lead there even where no script runs, and a title cannot become markup."""
    navigation = project / "report/_navigation.yml"
    text = navigation.read_text("utf-8").replace('title: "AdapterBook"', 'title: "A &#60;b&#62; & 書"')
    navigation.write_text(f'{text}  site-url: "https://example.org/book/"\n', "utf-8")
    page = render_not_found(project)
    homes = [attributes["href"] for tag, attributes in read_start_tags(page) if tag == "a"]
    assert homes == ["https://example.org/book/"] * 3
    assert "A &lt;b&gt; &amp; 書</title>" in page


def test_what_a_person_wrote_stays(project: Path) -> None:
    """A 404.html of the project is not overwritten; one that was generated is."""
    path = project / NOT_FOUND
    path.write_text("own", "utf-8")
    write_not_found(project)
    assert path.read_text("utf-8") == "own"
    path.write_text('<meta name="generator" content="AdapterBook">', "utf-8")
    write_not_found(project)
    assert path.read_text("utf-8") == render_not_found(project)
