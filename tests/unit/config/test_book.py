"""Read book.yaml, and show on the pages whose report it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from adapterbook.common.errors import ConfigError
from adapterbook.common.formatting import Language
from adapterbook.config.book import Book, load_book
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.pages.head import both, commit_link, document_fields, page_footer, signature
from tests.support.factory import HOSTILE_TEXTS, PROJECT

PHRASES = load_phrases(PROJECT.templates)
FULL = {
    "title": {"zh": "我的報告", "en": "My report"},
    "subtitle": {"zh": "副標題", "en": "A subtitle"},
    "author": {"zh": "李明", "en": "Ming Li"},
    "course": "Deep Learning",
    "repository": "https://github.com/ming/report",
    "site_url": "https://ming.github.io/report/",
    "licence": {"zh": "創用 CC 姓名標示 4.0 國際", "en": "CC BY 4.0"},
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
}


def write_book(folder: Path, **changes: object) -> Path:
    """Write a book.yaml with everything in it, but for what is changed."""
    file = folder / "book.yaml"
    file.write_text(yaml.safe_dump(FULL | changes, allow_unicode=True), "utf-8")
    return file


def test_the_shipped_book_is_valid_and_says_nothing_of_an_author() -> None:
    """A fresh clone has a title; author, course, addresses and licence are its user's to give."""
    book = load_book(PROJECT.book)
    given = {name for name in Book.model_fields if getattr(book, name) is not None}
    assert given == {"title", "subtitle"}


def test_every_example_in_the_shipped_book_is_valid(tmp_path: Path) -> None:
    """Each example in the comments can replace the null beside it."""
    text = re.sub(r"null +# (.*?)(?:; .*)?$", r"\1", PROJECT.book.read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / "book.yaml").write_text(text, "utf-8")
    book = load_book(tmp_path / "book.yaml")
    assert None not in [getattr(book, name) for name in Book.model_fields]
    assert book.course is not None
    assert book.course.zh == "深度學習 作業五"


def test_addresses_lose_what_would_stand_twice(tmp_path: Path) -> None:
    """An address loses its last slash and the .git of a clone; the page of a licence keeps its slash."""
    book = load_book(write_book(tmp_path, repository="https://github.com/ming/report.git"))
    assert book.repository == "https://github.com/ming/report"
    assert book.site_url == "https://ming.github.io/report"
    assert book.licence_url == "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    "address",
    [
        "http://github.com/a/b",
        "git@github.com:a/b.git",
        "javascript:alert(1)",
        "https://me:secret@github.com/a/b",
        "https://github.com/a b",
        "https://github.com/a?b=c",
        "https://github.com/a)[b](javascript:x",
        'https://github.com/a"onclick="x',
        "https://github.com/" + "a" * 500,
        "https://localhost",
        "",
    ],
)
@pytest.mark.parametrize("key", ["repository", "site_url", "licence_url"])
def test_an_address_is_plain_https_or_refused(tmp_path: Path, key: str, address: str) -> None:
    """The message names the file, the key, what was expected and what came."""
    with pytest.raises(ConfigError, match=rf"(?s)book\.yaml is not valid:.*{key}.*https://example\.org/name"):
        load_book(write_book(tmp_path, **{key: address}))


def test_all_problems_of_a_book_come_at_once(tmp_path: Path) -> None:
    """A missing title, an unknown key, a text in one language only and an empty text are refused."""
    content = FULL | {"author": {"zh": "李明"}, "course": " ", "licence": "x" * 201, "autor": "me"}
    del content["title"]
    (tmp_path / "book.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_book(tmp_path / "book.yaml")
    for part in ("title", "author", "course", "licence", "autor"):
        assert part in str(caught.value)


def test_a_missing_book_is_named(tmp_path: Path) -> None:
    """A project without book.yaml is refused, and the message names the file."""
    with pytest.raises(ConfigError, match=r"book\.yaml is missing"):
        load_book(Paths(tmp_path).book)


def test_a_licence_address_needs_a_licence(tmp_path: Path) -> None:
    """An address of a licence without its name is refused, because a link needs words."""
    with pytest.raises(ConfigError, match="licence_url"):
        load_book(write_book(tmp_path, licence=None))


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/a/b", "https://github.com/a/b/tree/0123"),
        ("https://gitlab.com/g/a/b", "https://gitlab.com/g/a/b/-/tree/0123"),
        ("https://codeberg.org/a/b", "https://codeberg.org/a/b/src/commit/0123"),
        ("https://git.example.org/a/b", None),
        (None, None),
    ],
)
def test_a_commit_is_linked_where_it_is_known_how(repository: str | None, address: str | None) -> None:
    """A commit is linked if the host's form of address is known; otherwise it has no link."""
    book = Book.model_validate({"title": "A", "subtitle": "B", "repository": repository})
    assert book.address_of_commit("0123") == address
    assert commit_link(book, "0123") == (f"[`0123`]({address})" if address else "`0123`")


def test_a_commit_shows_eight_letters_and_leads_to_all() -> None:
    """A page shows eight letters of a commit, and the link holds all of it."""
    book = Book.model_validate(FULL)
    assert commit_link(book, "0123456789abcdef") == (
        "[`01234567`](https://github.com/ming/report/tree/0123456789abcdef)"
    )


def test_the_foot_names_all_that_is_known_in_each_language() -> None:
    """The foot of a page has author, course, licence with link, repository and PDF in both languages."""
    footer = page_footer(Book.model_validate(FULL), PHRASES)
    assert footer["left"] == (
        "[李明 · Deep Learning · 文字授權：[創用 CC 姓名標示 4&#46;0 國際](https://creativecommons.org/licenses/by/4.0/)"
        " · [原始碼](https://github.com/ming/report)"
        ' · [字型與程式的授權](/report/assets/licences.txt){hreflang="en"}'
        ' · [整份報告（PDF，中文）](/report-zh.pdf){hreflang="zh-TW"}]{.imprint lang="zh-TW"}'
    )
    for part in ("Ming Li · Deep Learning", "Licence of the text&#58; [CC BY 4&#46;0](https://crea", "[Source code]("):
        assert part in footer["right"]


def test_what_is_not_known_is_not_said() -> None:
    """A book with only a title has the licences and the PDF at its foot, and no empty place."""
    book = Book.model_validate({"title": "A", "subtitle": "B"})
    assert page_footer(book, PHRASES)["right"].startswith("[[Licences of fonts")
    assert signature(book, "en") == []
    assert document_fields(book, "zh") == {"title": "A", "subtitle": "B"}


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("hostile", [text[:200] for text in HOSTILE_TEXTS])
def test_hostile_words_stay_words(hostile: str, language: Language) -> None:
    """No bracket, brace or angle of a book's text acts as Markdown."""
    book = Book.model_validate(FULL | dict.fromkeys(("title", "subtitle", "author", "course", "licence"), hostile))
    for text in page_footer(book, PHRASES).values():
        words = re.sub(r"\]\([\w:/.-]+\)|\{(?:\.imprint )?(?:href)?lang=\"[\w-]+\"\}", "", text)
        assert not set(words.replace("[", "").replace("]", "")) & set("<>{}`$*_~^\\|@")
    for text in document_fields(book, language).values():
        assert not set(text) & set("<>{`$*_~^\\|@")


def test_one_word_for_both_languages_is_said_once() -> None:
    """The menus, which both languages share, name the site in both."""
    book = Book.model_validate(FULL)
    assert both(book.title) == "我的報告 · My report"
    assert book.course is not None
    assert both(book.course) == "Deep Learning"
