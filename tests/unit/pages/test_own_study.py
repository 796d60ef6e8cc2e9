"""Pages of a study with other adapters than the project's: no sentence presumes a method, a baseline or a homework."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.pages import write_pages
from tests.support.factory import PROJECT, write_results
from tests.support.report_pages import MadePages, analyse_project, plan_without_drawing

VARIANTS = {
    "submitted": {"title": {"zh": "協定", "en": "Protocol"}},
    "lr-1e-3": {"title": {"zh": "較大", "en": "Larger"}, "training": {"learning_rate": 1.0e-3}},
}
BASELINE = r"baseline with|head alone|a baseline but|只訓練分類頭"
IA3 = r"IA³|\bIA3\b"
LORA = r"LoRA|\bLORA\b|low-rank|低秩"
PUBLISHED = r"homework|\bpublished\b|原作業|已發表"
# One notebook serves every study: its own words and code name some methods as examples.
OF_THE_NOTEBOOK = "/notebooks/"


def make(root: Path, adapters: tuple[str, ...], *, loha: str = "", published: bool = True) -> MadePages:
    """Make the pages of a study; `loha` becomes a LoHa, and every adapter is called by its id."""
    paths = write_results(root, adapters=adapters, variants=VARIANTS)
    for name in adapters:
        file = paths.experiments / "adapters" / f"{name}.yaml"
        content: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
        content["title"] = {"zh": f"第 {name} 號", "en": f"Number {name}"}
        content["rationale"] = {"zh": "試試看。", "en": "A try."}
        if name == loha:
            content = {key: value for key, value in content.items() if not key.startswith(("lora", "use_"))}
            content["peft_type"] = "LOHA"
        file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    if not published:
        shutil.rmtree(paths.experiments / "published")
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copy(PROJECT.book, paths.book)
    shutil.copy(PROJECT.notebook, paths.notebook)
    report = analyse_project(paths)
    figures = plan_without_drawing(report, paths)
    return MadePages(report, figures, paths, write_pages(report, figures, paths))


def words_found(made: MadePages, pattern: str) -> dict[str, list[str]]:
    """Return where a page, a menu or a figure's words fit a pattern, with what stands around it."""
    texts = {str(page.path): page.text for page in made.pages if OF_THE_NOTEBOOK not in str(page.path)}
    texts |= {figure.id: f"{figure.title} {figure.alt}" for figure in made.figures.values() if figure.drawn}
    around = re.compile(rf".{{0,40}}(?:{pattern}).{{0,40}}")
    found = {name: around.findall(text) for name, text in texts.items()}
    return {name: places for name, places in found.items() if places}


@pytest.mark.parametrize(
    ("adapters", "loha", "absent"),
    [
        (("lora_1", "mine", "head_only"), "mine", IA3),
        pytest.param(("lora_1", "mine"), "", rf"{IA3}|{BASELINE}", marks=pytest.mark.slow),
        pytest.param(("lora_1",), "", rf"{IA3}|{BASELINE}", marks=pytest.mark.slow),
        (("ia3",), "", rf"{LORA}|{BASELINE}"),
        pytest.param(("mine", "second"), "mine", IA3, marks=pytest.mark.slow),
    ],
)
def test_no_word_about_a_method_that_the_study_lacks(
    tmp_path: Path, adapters: tuple[str, ...], loha: str, absent: str
) -> None:
    """…neither in a sentence, nor in the glossary, a menu, a caption or an alternative text; nor about a baseline."""
    if "head_only" in adapters:  # which is made of an IA³, and its page shows so
        made = make(tmp_path, adapters, loha=loha)
        found = words_found(made, absent)
        assert [name for name in found if "head_only" not in name and "head-only" not in name] == []
    else:
        assert words_found(make(tmp_path, adapters, loha=loha), absent) == {}


def test_the_methods_that_a_study_has_are_named(tmp_path: Path) -> None:
    """What the test above does not find is there where it belongs: it looks in the right places."""
    made = make(tmp_path, ("lora_1", "ia3", "head_only"))
    for pattern in (IA3, LORA, BASELINE, PUBLISHED):
        found = words_found(made, pattern)
        for language in ("zh", "en"):
            assert [name for name in found if f"/{language}/" in name], f"{pattern} on no {language} page"


def test_a_study_that_repeats_no_other_says_nothing_of_published_results(tmp_path: Path) -> None:
    """Without a file in published/ no page says what it cannot be compared with."""
    assert words_found(make(tmp_path, ("lora_1", "ia3"), published=False), PUBLISHED) == {}


@pytest.mark.parametrize(
    "adapters",
    [
        ("lora_1",),
        pytest.param(("lora_1", "mine"), marks=pytest.mark.slow),
        pytest.param(("lora_1", "ia3"), marks=pytest.mark.slow),
        ("lora_1", "mine", "ia3"),
    ],
)
def test_the_question_is_about_the_adapters_that_there_are(tmp_path: Path, adapters: tuple[str, ...]) -> None:
    """One adapter is not asked which is best; two methods, which of them; more, which adapter."""
    made = make(tmp_path, adapters, loha="mine")
    asked = {
        ("lora_1",): ("唯一的轉接器", "the one adapter of this study"),
        ("lora_1", "mine"): ("本研究的哪個轉接器", "Which adapter of this study"),
        ("lora_1", "ia3"): ("哪一種能訓練出較好的", "Which of them learns the better"),
        ("lora_1", "mine", "ia3"): ("本研究的哪個轉接器", "Which adapter of this study"),
    }[adapters]
    for language, words in zip(("zh", "en"), asked, strict=True):
        page = made.page(f"{language}/index")
        assert words in page.text_of(page.tree["blocks"])
