"""Check that the words of figures are those of templates/phrases.yaml, and what a mistake in that file gets."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from adapterbook.common.errors import ConfigError
from adapterbook.config.phrases import load_phrases
from adapterbook.figures.catalogue import LANGUAGES, plan_report
from tests.support.factory import (
    ADAPTERS,
    BATCH_SIZE_VARIANTS,
    EVAL_STRATEGY_VARIANTS,
    PROJECT,
    read_report,
    write_results,
)

OLD = 'line: {zh: "批次大小 {size}（每輪 {steps} 步）", en: "Batch size {size} ({steps} steps an epoch)"}'


def changed_templates(tmp_path: Path, old: str, new: str) -> Path:
    """Return a copy of the templates with one line of phrases.yaml changed."""
    folder = tmp_path / "templates"
    shutil.copytree(PROJECT.templates, folder)
    text = (folder / "phrases.yaml").read_text("utf-8")
    assert text.count(old) == 1
    (folder / "phrases.yaml").write_text(text.replace(old, new), "utf-8")
    return folder


def test_a_title_is_changed_in_one_file(tmp_path: Path) -> None:
    """A title and its alternative text follow phrases.yaml in both languages, and no other figure changes."""
    report = read_report(write_results(tmp_path / "p", adapters=("lora_1", "ia3"), extra_variants=BATCH_SIZE_VARIANTS))
    folder = changed_templates(
        tmp_path,
        "title: {zh: 不同批次大小的驗證損失：隨步數，以及隨移動距離, "
        'en: "Validation loss by batch size: over steps, and over travel"}',
        "title: {zh: 批次大小的影響, en: What the batch size does}",
    )
    before, _ = plan_report(report, tmp_path, load_phrases(PROJECT.templates))
    after, _ = plan_report(report, tmp_path, load_phrases(folder))
    assert {id for id in before if before[id] != after[id]} == {"batch-size"}
    figure = after["batch-size"]
    assert (figure.title.zh, figure.title.en) == ("批次大小的影響", "What the batch size does")
    assert figure.alt.zh.startswith("批次大小的影響（LoRA 1）。批次大小 ")
    assert figure.alt.en.startswith("What the batch size does (LoRA 1). With batch size ")


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (OLD.replace("（每輪 {steps} 步）", ""), r"batch-size\.line: zh has the placeholders \['size'\], en"),
        (OLD.replace("{steps}", ""), r"figures\.batch-size\.line\.zh: lacks the placeholder {steps}"),
        (
            OLD.replace("{steps}", "{step}"),
            r"batch-size\.line\.zh: unknown placeholder {step}; known are {size}, {steps}",
        ),
        (OLD.replace("line:", "lines:"), r"figures\.batch-size\.line: missing"),
        (OLD.replace("{size}", "{size:>9}"), r"figures\.batch-size\.line\.zh: lacks the placeholder {size}"),
    ],
)
def test_a_mistake_in_a_phrase_is_named(tmp_path: Path, new: str, problem: str) -> None:
    """A placeholder that is missing or unknown, and a phrase that is missing, end in one message with the key."""
    report = read_report(write_results(tmp_path / "p", adapters=("lora_1", "ia3"), extra_variants=BATCH_SIZE_VARIANTS))
    with pytest.raises(ConfigError, match=rf"(?s)phrases\.yaml is not valid:.*{problem}"):
        plan_report(report, tmp_path, load_phrases(changed_templates(tmp_path, OLD, new)))


def test_no_figure_shows_an_unfilled_placeholder(tmp_path: Path) -> None:
    """Every placeholder of every title and alternative text is filled, in both languages."""
    variants = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS
    report = read_report(write_results(tmp_path, adapters=(*ADAPTERS, "head_only"), extra_variants=variants))
    figures, _ = plan_report(report, tmp_path, load_phrases(PROJECT.templates))
    for figure in figures.values():
        for text in (figure.title, figure.alt):
            assert not [language for language in LANGUAGES if re.search("[{}]", text.in_language(language))], figure.id


def test_no_chinese_word_stands_in_the_code_of_figures() -> None:
    """The room's Python files have no Chinese letter: every word is in phrases.yaml."""
    files = sorted((PROJECT.root / "adapterbook" / "figures").glob("*.py"))
    assert len(files) > 10
    assert [file.name for file in files if re.search("[\u4e00-\u9fff]", file.read_text("utf-8"))] == []
