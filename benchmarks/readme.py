"""Write the tables of ``results.json`` and ``finding.json`` into documents, between markers, in both languages.

A test compares the documents with the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from adapterbook.common.files import write_atomically
from benchmarks.quantities import format_value, load_quantities

READMES: Mapping[Literal["en", "zh"], str] = {"en": "README.md", "zh": "README.zh-TW.md"}
COSTS: Mapping[Literal["en", "zh"], str] = {"en": "docs/costs.md", "zh": "docs/costs.zh-TW.md"}
FIELD = re.compile(r"{([\w.]+)(:%)?}")

HEAD = {
    "en": "`make bench`, {date}: {cores} cores, {device}, median of {repeat}",
    "zh": "`make bench`，{date}：{cores} 個核心，{device}，{repeat} 次的中位數",
}
# Quantities are in braces; a row with a quantity that was not measured is left out.
ROWS = {
    "en": (
        ("the four adapters: `make train` / a bare Python loop", "{training.make_train} / {training.bare_loop}"),
        ("… of which not training itself / waiting for the last run",
         "{training.not_training:%} / {training.waiting:%}"),
        ("`make all` with nothing changed / one word / one record",
         "{rebuild.nothing} / {rebuild.one_word} / {rebuild.one_record}"),
        ("`make site`, embedded renderer / Quarto", "{renderer.embedded} / {renderer.quarto}"),
        ("report on 16 / 160 / 1,600 records", "{growth.time_16} / {growth.time_160} / {growth.time_1600}"),
        ("… peak memory", "{growth.memory_16} / {growth.memory_160} / {growth.memory_1600}"),
        ("… grows with the number of records to the power of", "{growth.exponent}"),
        ("first page: size / requests / first paint",
         "{first_page.http_bytes} / {first_page.http_requests} / {first_page.http_first_paint}"),
    ),
    "zh": (
        ("四種轉接器：`make train`／單純的 Python 迴圈", "{training.make_train}／{training.bare_loop}"),
        ("……其中不是訓練本身／等最後一次訓練跑完", "{training.not_training:%}／{training.waiting:%}"),
        ("`make all`：什麼都沒改／改一個詞／改一筆紀錄",
         "{rebuild.nothing}／{rebuild.one_word}／{rebuild.one_record}"),
        ("`make site`：內建排版器／Quarto", "{renderer.embedded}／{renderer.quarto}"),
        ("16／160／1,600 筆紀錄的報告", "{growth.time_16}／{growth.time_160}／{growth.time_1600}"),
        ("……記憶體用量的最高點", "{growth.memory_16}／{growth.memory_160}／{growth.memory_1600}"),
        ("……隨紀錄筆數的幾次方成長", "{growth.exponent}"),
        ("第一頁：大小／請求數／首次顯示",
         "{first_page.http_bytes}／{first_page.http_requests}／{first_page.http_first_paint}"),
    ),
}  # fmt: skip


def render_quotation(results: Mapping[str, Any], language: Literal["en", "zh"]) -> str:
    """Return the table of what was measured, in Markdown."""
    quantities = load_quantities(results)

    def number(match: re.Match[str]) -> str:
        quantity = quantities[match[1]]
        return f"{quantity.median * 100:.0f}%" if match[2] else format_value(quantity.median, quantity.unit)

    machine = results["machine"]
    head = HEAD[language].format(date=results["date"], cores=machine["n_cores"], device=machine["device_name"],
                                 repeat=results["repeat"])  # fmt: skip
    lines = [f"| {head} | |", "| --- | --- |"]
    for title, cell in ROWS[language]:
        if {match[1] for match in FIELD.finditer(cell)} <= set(quantities):
            lines.append(f"| {title} | {FIELD.sub(number, cell)} |")
    return "\n".join(lines) + "\n"


def quote(text: str, path: Path, name: str) -> None:
    """Write a table between the markers of its name in a document."""
    write_atomically(path, replace_quotation(path.read_text("utf-8"), name, text))


def find_quotation(document: str, name: str) -> str:
    """Return what stands between the markers of a name."""
    begin, end = _markers(name)
    return document.partition(begin)[2].partition(end)[0]


def replace_quotation(document: str, name: str, text: str) -> str:
    """Return a document with another text between the markers of a name."""
    begin, end = _markers(name)
    before, _, rest = document.partition(begin)
    return before + begin + text + end + rest.partition(end)[2]


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- /{name} -->"
