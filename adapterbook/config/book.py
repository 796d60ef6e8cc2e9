"""Read ``book.yaml``: the report's title, author, course, addresses and licence.

An address must be plain https. The texts are escaped where pages and site show them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, model_validator

from adapterbook.common.yaml_files import load_yaml, shown_text, validate
from adapterbook.config.study import Settings, Title

MAX_ADDRESS: Final = 500  # characters
# A host and a path without characters that Markdown, YAML or HTML read: an address stands in a link as it is.
ADDRESS: Final = re.compile(r"https://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d{1,5})?(?:/[A-Za-z0-9._~%+@,=-]*)*")
# How a host addresses the files of a commit. For any other host only the repository is linked.
COMMIT_PATHS: Final = {
    "github.com": "tree",
    "gitlab.com": "-/tree",
    "codeberg.org": "src/commit",
    "bitbucket.org": "src",
}


def _check_address(address: str) -> str:
    if len(address) > MAX_ADDRESS or not ADDRESS.fullmatch(address):
        raise ValueError(
            f"expected an address such as https://example.org/name, without user, query or white space, "
            f"got {shown_text(address)}"
        )
    return address.rstrip("/")


def _check_page(address: str) -> str:
    """Check an address, and keep a slash at its end, which may matter for a page."""
    _check_address(address)
    return address


def _strip_git(address: str) -> str:
    return address.removesuffix(".git")


def _check_words(text: Title) -> Title:
    if not text.zh.strip() or not text.en.strip():
        raise ValueError("expected a text in both languages; or null for no text")
    return text


Address = Annotated[str, AfterValidator(_check_address)]
Words = Annotated[Title, AfterValidator(_check_words)]


class Book(Settings):
    """Hold the settings of ``book.yaml``.

    Attributes
    ----------
    title, subtitle : BilingualText
        Of the report.
    author, course, licence : BilingualText, optional
        Who wrote it, for which course, and how others may use the text.
    repository : str, optional
        The https address of the repository, without a slash or ``.git`` at its end.
    site_url : str, optional
        The https address of the published site, without a slash at its end.
    licence_url : str, optional
        The https address of the licence's terms.
    live_adapters : bool, optional
        Whether there is a page on which readers try the adapters; None: if the base model is small.
    """

    title: Words
    subtitle: Words
    author: Words | None = None
    course: Words | None = None
    repository: Annotated[Address, AfterValidator(_strip_git)] | None = None
    site_url: Address | None = None
    licence: Words | None = None
    licence_url: Annotated[str, AfterValidator(_check_page)] | None = None
    live_adapters: bool | None = None

    @model_validator(mode="after")
    def _licence_has_a_name(self) -> Book:
        if self.licence_url is not None and self.licence is None:
            raise ValueError("licence_url needs the name of the licence: set licence, too")
        return self

    def address_of_commit(self, commit: str) -> str | None:
        """Return the address of the repository's files at a commit, ``None`` if the host is not known.

        Examples
        --------
        >>> book = Book.model_validate({"title": "A", "subtitle": "B", "repository": "https://github.com/a/b"})
        >>> book.address_of_commit("0123abcd")
        'https://github.com/a/b/tree/0123abcd'
        """
        if self.repository is None:
            return None
        path = COMMIT_PATHS.get(self.repository.removeprefix("https://").partition("/")[0].lower())
        return None if path is None else f"{self.repository}/{path}/{commit}"


def load_book(path: Path) -> Book:
    """Read ``book.yaml``.

    Raises
    ------
    ConfigError
        If the file is missing or not valid; the message names every key that is wrong.
    """
    return validate(Book, load_yaml(path), path)
