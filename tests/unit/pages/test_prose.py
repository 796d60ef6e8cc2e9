"""Lint the prose: no banned turn, no long sentence, and every work of the bibliography is cited."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import nodes

from tests.support.factory import BATCH_SIZE_VARIANTS, BIBLIOGRAPHY, EVAL_STRATEGY_VARIANTS, PROJECT
from tests.support.report_pages import LANGUAGES, MadePages, each_node, few_run_pages, make_study_pages, text_pieces

# Turns that reviewers found stiff, bookish or hard to understand, and second names for one thing.
BANNED: dict[str, list[str]] = yaml.safe_load(Path("tests/support/banned_turns.yaml").read_text("utf-8"))
# Of one sentence: Chinese characters, English words. A semicolon ends one here, because it separates items of lists.
LONGEST = {"zh": 90, "en": 45}
ENDS = {"zh": re.compile(r"[。！？；]|\n\n"), "en": re.compile(r"[.!?;:]\s|\n\n")}
IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
# A citation by hand, which no list of works would have.
BY_HAND = re.compile(r"[A-Z][\w-]+(?: 等人| et al\.)?[，,] ?(?:19|20)\d\d[）)]")


def sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a text."""
    return [" ".join(part.split()) for part in ENDS[language].split(text) if part and part.strip()]


def length(sentence: str, language: str) -> int:
    """Return how many Chinese characters or English words a sentence has."""
    return len(IDEOGRAPH.findall(sentence)) if language == "zh" else len(sentence.split())


def find_turns(text: str, language: str) -> list[str]:
    """Return the banned turns in a text, each with what stands around it."""
    places = {turn: _find(turn, text, language) for turn in BANNED[language]}
    return [f"{turn!r} in: …{text[max(0, at - 30) : at + 40]}…" for turn, at in places.items() if at >= 0]


def faults(text: str, language: str) -> list[str]:
    """Return the banned turns and the long sentences of a text."""
    long = [one for one in sentences(text, language) if length(one, language) > LONGEST[language]]
    return [*find_turns(text, language), *(f"{length(one, language)} long: {one}" for one in long)]


def _find(turn: str, text: str, language: str) -> int:
    if language == "zh":
        return text.find(turn)
    match = re.search(rf"\b{re.escape(turn)}\b", text, re.IGNORECASE)
    return match.start() if match else -1


def texts_of(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of a YAML file with their languages."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in LANGUAGES and isinstance(item, str):
                yield key, item
            else:
                yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """The adapters and the baseline with every ablation; at the submitted rate one of them gives one answer."""
    with few_run_pages(2):
        return make_study_pages(
            tmp_path_factory.mktemp("prose"),
            adapters=("lora_1", "lora_2", "lora_3", "ia3", "head_only"),
            extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS,
        ).parse_pages()


def prose_of(made: MadePages, language: str) -> Iterator[tuple[str, str]]:
    """Yield page and text of each paragraph and list item that quotes no sentence of the data."""
    for page in made.pages:
        if page.path.parent.name in (language, "adapters", "notebooks") and f"/{language}/" in str(page.path):
            for node in each_node(page.tree):
                if node["t"] in ("Para", "Plain") and not _quotes(node):
                    yield page.path.stem, "".join(text_pieces(node["c"]))


def _quotes(node: dict[str, Any]) -> bool:
    return any(item["t"] == "Span" and "sentence" in item["c"][0][1] for item in each_node(node))


@pytest.mark.parametrize("path", sorted(PROJECT.templates.rglob("*.j2")), ids=lambda path: path.name)
def test_templates_hold_no_banned_turn(path: Path) -> None:
    """A template's own text has none of the turns that reviewers marked, in any branch."""
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).parse(path.read_text("utf-8"))
    text = " ".join("".join(data.data for data in template.find_all(nodes.TemplateData)).split())
    assert not [turn for language in LANGUAGES for turn in find_turns(text, language)]


def test_yaml_texts_are_plain() -> None:
    """Phrases, glossary, titles and reasons have no banned turn and no long sentence."""
    files = [*PROJECT.templates.glob("*.yaml"), *(PROJECT.experiments / "adapters").glob("*.yaml"), PROJECT.study]
    found = {
        file.name: faults(text, language)
        for file in files
        for language, text in texts_of(yaml.safe_load(file.read_text("utf-8")))
        if faults(text, language)
    }
    assert not found


def test_the_notebooks_prose_is_plain() -> None:
    """The Markdown cells of the notebook have no banned turn and no long sentence."""
    cells = [
        cell for cell in json.loads(PROJECT.notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "markdown"
    ]
    found = []
    for cell in cells:
        text = "".join(cell["source"])
        found += faults(text, "zh" if IDEOGRAPH.search(text) else "en")
    assert cells and not found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_prose_is_plain(made: MadePages, language: str) -> None:
    """No paragraph of a built page has a banned turn or a long sentence."""
    found = {(page, fault) for page, text in prose_of(made, language) for fault in faults(text, language)}
    assert not found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_bibliography_is_what_the_pages_cite(made: MadePages, language: str) -> None:
    """Each work is cited on a page, no page cites another, and none by hand, which no list would have."""
    pages = [page for page in made.pages if language in page.path.parts and "notebooks" not in page.path.parts]
    cited = {key for page in pages for key in BIBLIOGRAPHY.cited(page.text)}
    assert cited == set(BIBLIOGRAPHY.entries)
    assert not [text for _, text in prose_of(made, language) if BY_HAND.search(text)]


def test_the_linter_finds_faults() -> None:
    """A banned turn and a long sentence are found in both languages, and plain text passes."""
    assert faults("只用一顆種子。", "zh") and faults("Whoever looks often enough is lucky.", "en")
    assert faults("長" * 91 + "。", "zh") and faults("word " * 46, "en")
    assert not faults("本研究只用一個隨機種子。", "zh") and not faults("We used one seed.", "en")
