"""Check that phrases.yaml and glossary.yaml are read whole, and that a mistake in them is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapterbook.common.errors import ConfigError
from adapterbook.config.phrases import load_phrases
from tests.support.factory import PROJECT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with copies of both files."""
    for file in PROJECT.templates.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("phrases.yaml", "epoch: {zh: 輪次, en: Epoch}", "epoch: {zh: 輪次}", r"headings\.epoch\.en: missing"),
        ("phrases.yaml", "epoch: {zh: 輪次, en: Epoch}", "epoch: Epoch", r"headings\.epoch: "),
        (
            "phrases.yaml",
            "epoch: {zh: 輪次, en: Epoch}",
            'epoch: {zh: "", en: Epoch}',
            r"headings\.epoch: a phrase",
        ),
        ("phrases.yaml", "Costs on {device}", "Costs", r"tables\.costs\.caption: zh has the placeholders \['device'\]"),
        ("phrases.yaml", "tables:", "tabels: {}\ntables:", r"tabels: unknown key"),
        ("phrases.yaml", "pattern: ^$|", 'pattern: "(" #', r"source_reasons.*is not a regular expression"),
        ("glossary.yaml", "en: base model}", "fr: base}", r"terms\.base_model\.name\.en: missing"),
        ("glossary.yaml", "terms:", "labels: {}\nterms:", r"labels: unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(folder: Path, file: str, old: str, new: str, problem: str) -> None:
    """A phrase that lacks a language, an unknown key and a bad pattern are refused, each with file and key."""
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match=rf"(?s){file} is not valid.*{problem}"):
        load_phrases(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    """If a file is missing, one message names it."""
    (folder / "phrases.yaml").unlink()
    with pytest.raises(ConfigError, match=r"phrases\.yaml is missing"):
        load_phrases(folder)


def test_a_phrase_that_is_not_there_is_named(folder: Path) -> None:
    """Each look-up names the missing key and its group."""
    phrases = load_phrases(folder)
    with pytest.raises(LookupError, match=r"templates/phrases\.yaml has no 'nothing' under labels"):
        phrases.text("labels", "nothing", "en")
    with pytest.raises(LookupError, match=r"no 'nothing' under headings"):
        phrases.heading("costs", "nothing", "en")
    with pytest.raises(LookupError, match=r"no 'nothing' under tables"):
        phrases.caption("nothing", "en")


def test_a_table_may_call_a_column_otherwise(folder: Path) -> None:
    """A table's own heading applies to that table; every other table has the shared one."""
    file = folder / "phrases.yaml"
    own = "  batch_size:\n    headings:\n      adapter: {zh: 甲, en: A}\n    caption:"
    file.write_text(file.read_text("utf-8").replace("  batch_size:\n    caption:", own), "utf-8")
    phrases = load_phrases(folder)
    assert [phrases.heading(table, "adapter", "en") for table in ("batch_size", "learning_rate", "")] == [
        "A", "Adapter", "Adapter"
    ]  # fmt: skip


def test_a_study_lays_its_own_phrases_over_the_shared_ones(tmp_path: Path) -> None:
    """A study's file holds only what differs; if one of its phrases lacks a language, ours does not fill it in."""
    own = "headings:\n  epoch: {zh: 週期, en: Lap}\ntables:\n  costs:\n    headings:\n      file: {zh: 檔, en: Size}\n"
    (tmp_path / "phrases.yaml").write_text(own, "utf-8")
    phrases = load_phrases(tmp_path, PROJECT.templates)
    assert [phrases.heading("costs", key, "en") for key in ("epoch", "file", "time")] == ["Lap", "Size", "Time"]
    assert phrases.caption("costs", "en").startswith("Costs on {device}")
    assert phrases.terms == load_phrases(PROJECT.templates).terms
    (tmp_path / "phrases.yaml").write_text("headings:\n  epoch: {en: Round}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"(?s)phrases\.yaml is not valid.*headings\.epoch\.zh: missing"):
        load_phrases(tmp_path, PROJECT.templates)
