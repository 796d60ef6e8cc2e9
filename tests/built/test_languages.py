"""Both languages on the finished site: the same things and the same numbers, each in its own words and forms.

By default the made-up study's site; with ``ADAPTERBOOK_SITE=_site`` that one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import opencc
import pytest
import yaml

from adapterbook.config.phrases import load_phrases
from tests.support.factory import PROJECT
from tests.support.study_site import both_languages, main_of, pages_of, parse_page

HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
CHINESE: Final = re.compile(r"[\u3400-\u9fff\uff00-\uffef\u3001-\u3011]")
NUMBER: Final = re.compile(r"[+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-−]?\d+)?%?")
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip
ISO_DATE: Final = re.compile(r"\b20\d\d-\d\d-\d\d\b")

# What s2twp would change in good Chinese of Taiwan, and why it stays.
KEPT: Final = (
    "參數",  # of a model; what a function takes is 引數
    "項目",  # an item; what one works on is 專案
    "算法",  # a way to count; an algorithm is 演算法
    "對象",  # what one compares with; in a program it is 物件
    "打開",  # a file in a browser, by hand
    "連接埠",  # the port of Taiwan's Windows and macOS
    # As the Ministry of Education's dictionary has them, beside 臺 佔 散佈 公佈 分佈:
    "台", "占", "散布", "公布", "分布",
    "多半只是", "最多只在", "只訓練了",  # not 半隻, nor 隻訓練
    "局部極小",  # of a function in mathematics; a region is 區域
    "二次函數",  # of mathematics; in a program it is 函式
)  # fmt: skip

# A term of the glossary, and what else people say for it: one word for one thing.
OTHER_WORDS: Final = {
    "zh": (
        "適配器", "配接器", "底座模型", "骨幹模型", "低秩調適", "分類層", "批量", "批次尺寸",
        "學習速率", "訓練週期", "回合數", "評價策略", "校驗集", "驗證資料集", "開發集", "過擬和", "過度擬合",
        "過度配適", "過適", "存檔點", "檢核點", "亂數種子", "隨機數種子", "置信區間", "信心區間", "可信區間",
        "柏拉圖前緣", "帕雷托", "精確度", "正確率", "參數有效", "標記器", "斷詞器",
    ),
    "en": (
        "backbone", "mini-batch", "minibatch", "step size", "dev set", "development set", "held-out set", "holdout",
        "over-fit", "snapshot", "credible interval", "classifier head", "random seed", "pareto frontier", "low rank",
        "parameter efficient", "number of iterations", "tokenization",
    ),
}  # fmt: skip


def page_pair(site: Path, stem: str) -> tuple[ET.Element, ET.Element]:
    """Return what a page holds in Chinese and in English."""
    zh, en = (main_of(parse_page(site / "report" / language / stem)) for language in ("zh", "en"))
    return zh, en


def texts(
    element: ET.Element, *, without: tuple[str, ...] = (), lang: str | None = None, inherited: str = ""
) -> Iterator[str]:
    """Yield the pieces of text in an element, but for some tags and classes, and where asked of one language only."""
    language = element.attrib.get("lang", inherited)
    classes = element.attrib.get("class", "").split()
    if element.tag in without or set(classes) & set(without):
        return
    wanted = lang is None or language.startswith(lang)
    if element.text and wanted:
        yield element.text
    for child in element:
        yield from texts(child, without=without, lang=lang, inherited=language)
        if child.tail and wanted:
            yield child.tail


def test_pages_are_built_alike(study_site: Path) -> None:
    """A page has the same headings by level and name, figures, tables by size, boxes and formulas in both languages."""

    def shape(main: ET.Element) -> dict[str, Any]:
        headings = [(node.tag, node.attrib.get("id")) for node in main.iter() if node.tag in HEADINGS]
        pictures = [node.attrib["src"].rpartition("/")[2] for node in main.iter("img")]
        tables = [[len(row) for row in table.iter("tr")] for table in main.iter("table")]
        boxes = [node.attrib.get("class") for node in main.iter() if "callout" in node.attrib.get("class", "").split()]
        named = [name for node in main.iter() if (name := node.attrib.get("id")) and name.startswith(("fig-", "tbl-"))]
        formulas = sum(node.attrib.get("display") == "block" for node in main.iter("math"))
        return {"headings": headings, "pictures": pictures, "tables": tables, "boxes": boxes, "named": named,
                "formulas": formulas}  # fmt: skip

    pages = both_languages(study_site)
    assert len(pages) > 10
    assert pages == [name.removeprefix("report/zh/") for name in pages_of(study_site) if name.startswith("report/zh/")]
    for stem in pages:
        zh, en = page_pair(study_site, stem)
        assert shape(zh) == shape(en), stem


def test_pages_have_the_same_numbers(study_site: Path) -> None:
    """Each number with an origin is there as often in both languages, with the same digits; so are those of tables."""

    def origins(main: ET.Element) -> Counter[tuple[str, ...]]:
        numbers = [node for node in main.iter() if "n" in node.attrib.get("class", "").split()]
        return Counter((digits(node), *sorted(node.attrib.values())) for node in numbers)

    def cells(main: ET.Element) -> list[str]:
        return [digits(cell) for row in main.iter("tr") for cell in row]

    counted = 0
    for stem in both_languages(study_site):
        zh, en = page_pair(study_site, stem)
        assert origins(zh) == origins(en), stem
        assert cells(zh) == cells(en), stem
        counted += origins(en).total()
    assert counted > 100


def digits(element: ET.Element) -> str:
    """Return the numbers in an element, sorted where they are a moment, which each language tells in its own order."""
    text = "".join(element.itertext())
    for number, month in enumerate(MONTHS, 1):
        text = re.sub(rf"\b{month}\b", str(number), text)
    found = NUMBER.findall(text)
    return " ".join(sorted(found) if len(found) > 3 else found)


def test_dates_and_units_have_the_form_of_their_language(study_site: Path) -> None:
    """Chinese pages write 2026 年 3 月 1 日 and 秒, English ones 1 March 2026 and s; neither the form of a machine."""
    months = "|".join(MONTHS)
    n_dates = Counter[str]()
    for stem in both_languages(study_site):
        for language, main in zip(("zh", "en"), page_pair(study_site, stem), strict=True):
            text = " ".join(texts(main, without=("pre", "code", "sentence")))
            assert not ISO_DATE.search(text), (language, stem)
            wrong = rf"\b(?:{months})\b \d|\d[\s\u00a0](?:s|min|h|bytes|rows/s)\b" if language == "zh" else "[年月日秒]"
            assert not re.search(wrong, text), (language, stem, re.search(wrong, text))
            right = r"\d{4} 年 \d+ 月 \d+ 日" if language == "zh" else rf"\b\d+ (?:{months}) \d{{4}}\b"
            n_dates[language] += len(re.findall(right, text.replace("\u00a0", " ")))
    assert n_dates["zh"] == n_dates["en"] > 10


def test_an_english_page_is_in_english(study_site: Path) -> None:
    """Outside what is marked as Chinese, and text quoted from data, an English page holds no Chinese character."""
    for stem in both_languages(study_site):
        page = parse_page(study_site / "report" / "en" / stem)
        pieces = texts(page, lang="en", without=("sentence", "sentences", "pre"))
        found = [piece for piece in pieces if CHINESE.search(piece)]
        assert found == [], stem


def test_chinese_is_that_of_taiwan(study_site: Path) -> None:
    """OpenCC, which turns mainland characters and words into Taiwan's, finds nothing to turn on any Chinese page."""
    convert = opencc.OpenCC("s2twp").convert
    found = Counter[str]()
    for name, text in chinese_texts(study_site):
        for kept in KEPT:
            text = text.replace(kept, "○")
        for line in re.split(r"[\n，。；：、（）「」？！|]", text):
            if convert(line) != line:
                found[f"{name}: {line.strip()} → {convert(line).strip()}"] += 1
    assert found == {}


def chinese_texts(site: Path) -> Iterator[tuple[str, str]]:
    """Yield all Chinese that is written: pages with their menus, alternative texts, templates and README, by name."""
    for name in pages_of(site):
        page = parse_page(site / name)
        # The head's and the attributes' words are read too.
        keys = ("alt", "title", "aria-label", "content", "placeholder")
        attributes = [node.attrib[key] for node in page.iter() for key in keys if key in node.attrib]
        words = [value for value in attributes if CHINESE.search(value)]
        pieces = texts(page, lang="zh", without=("sentence", "script"))
        yield name, "".join(pieces) + "\n" + "\n".join(words)
    for path in sorted([*PROJECT.templates.rglob("*.j2"), *PROJECT.experiments.rglob("*.yaml")]):
        if "results" not in path.parts and "en" not in path.parts:
            yield path.name, path.read_text("utf-8")
    yield "README.zh-TW.md", re.sub(r"(?s)```.*?```|`[^`]*`", "", (PROJECT.root / "README.zh-TW.md").read_text("utf-8"))


@pytest.mark.parametrize(
    ("wrong", "right"), [("学习率", "學習率"), ("默認的網絡", "預設的網路"), ("信息與軟件", "資訊與軟體")]
)
def test_opencc_would_find_it(wrong: str, right: str) -> None:
    """The check can fail: simplified characters and the mainland's words are turned."""
    assert opencc.OpenCC("s2twp").convert(wrong) == right


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_glossary_has_the_words_that_are_used(study_site: Path, language: str) -> None:
    """Every term of the glossary is on another page or in a template too, and no page has another word for it."""
    phrases = load_phrases(PROJECT.templates)
    pages = {}
    for stem in both_languages(study_site):
        main = page_pair(study_site, stem)[language == "en"]
        # The titles of other people's works are in their own language.
        pages[stem] = "".join(texts(main, without=("pre", "sentence", "references"))).replace("’", "'")
    # A study of one seed shows less than a template can say.
    written = [path.read_text("utf-8") for path in PROJECT.templates.rglob("*.*") if path.name != "glossary.yaml"]
    everywhere = "\n".join([*written, *(text for stem, text in pages.items() if stem != "glossary.html")]).lower()
    terms = [term.name.zh if language == "zh" else term.name.en for term in phrases.terms.values()]
    names = {term: [name.lower() for name in re.split(r"\s*[（(）)]\s*", term) if name] for term in terms}
    assert [term for term in terms if not any(name in everywhere for name in names[term])] == []
    found = [(stem, word) for stem, text in pages.items() for word in OTHER_WORDS[language] if word in text.lower()]
    assert found == []


def test_menus_are_the_same_in_both_languages(study_site: Path) -> None:
    """The menu, the table of contents and the footer of a page have as many links to the like places."""
    for stem in both_languages(study_site):
        places = []
        for language in ("zh", "en"):
            page = parse_page(study_site / "report" / language / stem)
            links = [
                node.attrib["href"].replace(f"report/{language}/", "report/*/")
                for part in page.iter()
                if part.tag in ("nav", "footer", "header") for node in part.iter("a")
                if node.attrib.get("class") != "language"
            ]  # fmt: skip
            places.append(links)
        assert places[0] == places[1], stem


def test_readers_are_told_the_language_of_each_part(study_site: Path) -> None:
    """A page says its language, and the link to the other one says that language: a screen reader changes its voice."""
    for stem in both_languages(study_site):
        for language, other in (("zh-TW", "en"), ("en", "zh-TW")):
            page = parse_page(study_site / "report" / language[:2] / stem)
            assert page.attrib["lang"] == language
            switch = next(node for node in page.iter("a") if node.attrib.get("class") == "language")
            assert switch.attrib["lang"] == switch.attrib["hreflang"] == other


def test_labels_of_the_layout_are_there_in_both_languages() -> None:
    """What the layout says in one language it says in the other."""
    labels = yaml.safe_load((PROJECT.root / "adapterbook/site/embedded/labels.yml").read_text("utf-8"))
    assert labels["zh"].keys() == labels["en"].keys()
    assert all(CHINESE.search(words) for words in labels["zh"].values())
