"""Read the start tags of HTML: all that the checks and the sitemap need of it."""

from __future__ import annotations

from html.parser import HTMLParser


def read_start_tags(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return name and attributes of each start tag, in order; an attribute without a value is empty.

    Examples
    --------
    >>> read_start_tags('<p id="a">x &lt; y<a href="b&amp;c" download>z</a>')
    [('p', {'id': 'a'}), ('a', {'href': 'b&c', 'download': ''})]
    """
    reader = _StartTags()
    reader.feed(html)
    reader.close()
    return reader.found


class _StartTags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
