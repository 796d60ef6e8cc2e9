"""The templates as they are written: both languages, Taiwan's Chinese, no typed results."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from adapterbook.config.phrases import load_phrases
from tests.support.factory import PROJECT

TEMPLATES = PROJECT.templates
FILES = sorted(TEMPLATES.rglob("*.j2"))
IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
# Mainland terms, and what is said in Taiwan.
MAINLAND_TERMS = ("批量大小", "學習速率", "適配器", "信息", "數據", "默認", "程序", "代碼", "視頻", "軟件",
                  "硬件", "網絡", "內存", "文件夾", "質量", "優化器", "文檔")  # fmt: skip


TEXT = "\n".join(path.read_text("utf-8") for path in FILES)


def test_each_template_asks_for_the_language() -> None:
    """Every page, section and sentence has both languages in one file."""
    assert not [path for path in FILES if "zh" not in path.read_text("utf-8") and path.parent.name != "shared"]


def test_no_template_computes() -> None:
    """The analysis decides; no template of sentences collects or counts, and no line is longer than a screen."""
    for path in FILES:
        if path.parent.name != "shared":
            text = path.read_text("utf-8")
            assert "namespace" not in text and "{% do " not in text, path.name
    assert not [line for line in (TEMPLATES / "sentences.j2").read_text("utf-8").split("\n") if len(line) > 160]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(TEMPLATES).as_posix())
def test_templates_hold_no_typed_result(path: Path) -> None:
    """A number with a decimal point in a template's own text is a constant of the method, never a result."""
    environment = jinja2.Environment()
    template = environment.parse(path.read_text("utf-8"))
    text = " ".join(data.data for data in template.find_all(nodes.TemplateData))
    allowed = {"0.05", "3.11", "9.2"}  # the level of the tests; the Python that the project needs; a section of a book
    assert set(re.findall(r"\d+\.\d+", text)) <= allowed
    constants = [constant.value for constant in template.find_all(nodes.Const)]
    assert not [value for value in constants if isinstance(value, float)]


def test_chinese_is_traditional() -> None:
    """Every character is one of Big5, which has no simplified ones, and the terms are Taiwan's."""
    text = TEXT + "".join(path.read_text("utf-8") for path in TEMPLATES.glob("*.yaml"))
    assert not [char for char in set(IDEOGRAPH.findall(text)) if not char.encode("big5", errors="ignore")]
    assert not [term for term in MAINLAND_TERMS if term in text]
    for term in ("批次大小", "學習率", "評估策略", "訓練輪數", "過擬合", "驗證集", "低秩分解", "凍結", "基礎模型"):
        assert term in text


def test_every_phrase_is_used() -> None:
    """A heading, table or label that no template, no code and no script names is gone from phrases.yaml."""
    text = "\n".join(path.read_text("utf-8") for path in [*FILES, *Path("adapterbook").rglob("*.py")])
    quoted = set(re.findall(r"[\"'](\w+)[\"']", text))
    scripts = "\n".join(path.read_text("utf-8") for path in Path("report/assets").rglob("*.js"))
    quoted |= set(re.findall(r"\bwords\.(\w+)", scripts))
    phrases = load_phrases(TEMPLATES)
    keys = {*phrases.headings, *phrases.tables, *phrases.labels, *phrases.explorer, *phrases.live, *phrases.menus}
    keys |= {key for table in phrases.tables.values() for key in table.headings}
    # Keys that the code puts together: baseline_chance, pairs_best, …
    families = ("axis", "baseline", "log", "pairs", "pareto", "scales", "split", "verdict")
    assert not {key for key in keys - quoted if key.partition("_")[0] not in families}


def test_no_template_writes_a_link_to_elsewhere() -> None:
    """The pages ask nothing of another host."""
    assert not re.findall(r"https?://", TEXT)
