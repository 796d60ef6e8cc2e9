"""``book.yaml`` → whose report it is: title, author, course, where it lies, and the licence of its text.

Owns the shape of that one file, and how the addresses in it are read. Refuses an address that is not plain https.
Renders nothing: what stands where is for the pages and the site to say, which escape every text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, model_validator

from adapterbook.common.yaml_files import load_yaml, shown_text, validate
from adapterbook.config.study import Settings, Title

MAX_ADDRESS: Final = 500  # characters
# A host and a path in letters that mean nothing to Markdown, YAML or HTML: an address can stand in a link as it is.
ADDRESS: Final = re.compile(r"https://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d{1,5})?(?:/[A-Za-z0-9._~%+@,=-]*)*")
# How a host names the files of a commit. Of a host that is not here only the repository itself is linked to.
COMMIT_PATHS: Final = {
    "github.com": "tree",
    "gitlab.com": "-/tree",
    "codeberg.org": "src/commit",
    "bitbucket.org": "src",
}


def _is_an_address(address: str) -> str:
    if len(address) > MAX_ADDRESS or not ADDRESS.fullmatch(address):
        raise ValueError(
            f"expected an address such as https://example.org/name, without user, query or white space, "
            f"got {shown_text(address)}"
        )
    return address.rstrip("/")


def _is_a_page(address: str) -> str:
    """Check an address, and leave its end as it is: to a page a slash may matter."""
    _is_an_address(address)
    return address


def _is_no_clone_address(address: str) -> str:
    return address.removesuffix(".git")


def _says_something(text: Title) -> Title:
    if not text.zh.strip() or not text.en.strip():
        raise ValueError("expected a text in both languages; where there is nothing to say, null")
    return text


Address = Annotated[str, AfterValidator(_is_an_address)]
Words = Annotated[Title, AfterValidator(_says_something)]


class Book(Settings):
    """All of ``book.yaml``.

    Attributes
    ----------
    title, subtitle : BilingualText
        Of the report.
    author, course, licence : BilingualText, optional
        Who wrote it, what for, and what others may do with the text.
    repository : str, optional
        The https address of the repository, without a slash or ``.git`` at its end.
    site_url : str, optional
        The https address that the site will be read at, without a slash at its end.
    licence_url : str, optional
        Where the licence's terms stand.
    """

    title: Words
    subtitle: Words
    author: Words | None = None
    course: Words | None = None
    repository: Annotated[Address, AfterValidator(_is_no_clone_address)] | None = None
    site_url: Address | None = None
    licence: Words | None = None
    licence_url: Annotated[str, AfterValidator(_is_a_page)] | None = None

    @model_validator(mode="after")
    def _licence_has_a_name(self) -> Book:
        if self.licence_url is not None and self.licence is None:
            raise ValueError("licence_url leads to a licence that has no name: say licence, too")
        return self

    def address_of_commit(self, commit: str) -> str | None:
        """Return where the repository shows its files at a commit, ``None`` where that is not known.

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
        If the file is missing, or naming every key that is unknown, missing, or not what it should be.
    """
    return validate(Book, load_yaml(path), path)
