"""Put hostile texts in every place that a text can reach a page from, through the embedded renderer and pandoc.

Each text stands between two marks, by which it is found again on the page: what is between them has to be the text as
typed, and the text may add no element, attribute or request anywhere. There are 400 texts, in the slow variant 1000.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import adapterbook.site
from adapterbook.analysis.shapes import Report
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.pages import write_pages
from adapterbook.pages.writing.escape import python_literal
from adapterbook.runs.plan import plan_runs
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import Failure, load_record, write_record
from adapterbook.site import build_site
from tests.support.browser import open_browser, visit
from tests.support.factory import BIBLIOGRAPHY, HOSTILE_TEXTS, WORKS, write_results
from tests.support.report_pages import (
    analyse_project,
    each_node,
    parse_all,
    plan_without_drawing,
    write_blank_figures,
    write_site_files,
)

SNIPPETS = (
    *HOSTILE_TEXTS,
    "<script>window.pwned=1</script>", "</script><script>pwned=1</script>", "<img src=x onerror=pwned=1>", "</title>",
    "<svg/onload=pwned=1>", "<a href=\"javascript:pwned=1\">x</a>", "\" onmouseover=\"pwned=1", "' autofocus onfocus='",
    "<style>*{display:none}</style>", "<iframe src=//example.org>", "<base href=//example.org/>",
    "<meta http-equiv=refresh>",
    "<!--", "-->", "]]>", "<![CDATA[", "<?php", "&lt;b&gt;", "&#60;b&#62;", "&amp;amp;", "&notanentity;",
    "{{< include /etc/passwd >}}", "{{< env HOME >}}", "{{{< meta title >}}}", "{{< var x >}}", "{{% x %}}",
    "{{ 7*7 }}",
    "{% raw %}", "{# x #}", "${HOME}", "`r 1+1`", "`{python} 1+1`", "```{python}", "```{=html}", "~~~", "::: {.x}",
    ":::", "$x$", "$$x$$", "\\(x\\)", "\\[x\\]", "\\begin{x}", "\\input{/etc/passwd}", "@fig-x", "[@x]", "-@x",
    "@sec-y",
    "[^1]", "^[note]", "[x](javascript:pwned=1)", "![x](/etc/passwd)", "<https://example.org>", "https://example.org",
    "#read(\"/etc/passwd\")", "#import \"x.typ\": *", "#include \"x\"", "#let x = 1", "<label>", "@label", "$ x $",
    "*b*",
    "_i_", "= heading", "- item", "+ item", "/ term: x", "1. item", "// comment", "/* comment */", "\\u{1F600}", "~",
    "...",
    "--", "---", "-5", "a|b", "| a | b |", "|---|", "+---+", "---\ntitle: x\n---", "title: x", "- x", "%x", "# h",
    "\u202eabc", "\u202eabc\u202c", "\u2067abc", "\u2069\u2069", "\u200f", "\u05d0\u05d1", "\u0661\u0662", "\ufeff",
    "\0", "\x07", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\u200b", "\u00ad", "e\u0301", "\U0001f600",
    "\U0001f468\u200d\U0001f469", "\ufffd", "\uffff", "\ue000", "\U000e0041", "骨角", "。，", "a\nb", "a\tb", "  ",
    "\\", "\\\\", "\"", "'", "`", "``", "*", "_", "<", ">", "&", "{", "}", "{{", "}}", "[", "]", "(", ")", "|", "!",
    "^", "~~",
)  # fmt: skip
# All of Latin-1, and of every other block some; no half of a surrogate pair: YAML and records refuse it.
CHARACTERS = [chr(code) for code in (*range(256), *range(257, 0x110000, 127)) if not 0xD800 <= code < 0xE000]


def make_texts(n: int) -> list[str]:
    """Return so many different texts: each snippet alone, then one to four snippets and odd words together.

    They are not drawn by Hypothesis, whose choices depend on which modules are loaded: a text that fails here fails
    again.
    """
    rng = random.Random(4)
    found = dict.fromkeys(SNIPPETS)
    while len(found) < n:
        parts = [
            rng.choice(SNIPPETS) if rng.random() < 0.6 else "".join(rng.choices(CHARACTERS, k=rng.randint(0, 12)))
            for _ in range(rng.randint(1, 4))
        ]
        found[" ".join(parts)[:110]] = None
    return list(found)[:n]


# A short name is a title up to its colon: without the closing mark a text is not looked at.
BETWEEN_MARKS = re.compile(r"q(\d+)z((?:(?!q\d+z).)*?)z\1q", re.DOTALL)


def marked(number: int, text: str) -> str:
    """Return a text between marks that nothing else on a page looks like."""
    return f"q{number}z{text}z{number}q"


def as_shown(text: str) -> str:
    """Return a text as a page has to show it: white space is one space, a control character U+FFFD, no isolates."""
    shown = re.sub(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029 ]+", " ", text)
    shown = "".join("\ufffd" if unicodedata.category(char) == "Cc" else char for char in shown)
    return comparable(shown)


def comparable(text: str) -> str:
    """Return a text without what may contain it, such as joiners and isolates, soft hyphens and white space."""
    return "".join(re.sub(r"[\xad\u2060\u2066-\u2069\u202a-\u202e\ufffd\ue000]", "", text).split())


@dataclass
class Built:
    """A project full of hostile texts, its pages and its site."""

    paths: Paths
    texts: dict[int, str]
    report: Report

    @property
    def html(self) -> list[Path]:
        return sorted((self.paths.root / "_site").rglob("*.html"))


# Of texts and adapters.
SIZES = (pytest.param((400, 4), marks=pytest.mark.brief), pytest.param((1000, 14), marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=SIZES, ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return one project that holds all texts: most in settings and records, all of them in notebooks."""
    root = tmp_path_factory.mktemp("texts")
    n_texts, n_adapters = request.param
    numbered = dict(enumerate(make_texts(n_texts)))
    supply = iter(numbered.items())

    def take() -> str:
        number, text = next(supply)
        return marked(number, text)

    paths = write_hostile_project(root, take, n_adapters)
    put_into_notebooks(paths, [marked(number, text) for number, text in numbered.items()])
    report = analyse_project(paths)
    figures = plan_without_drawing(report, paths)
    write_blank_figures(figures)
    write_pages(report, figures, paths)
    build_site(root, "embedded", say=lambda line: None)
    return Built(paths, numbered, report)


def write_hostile_project(root: Path, take: Any, n_adapters: int) -> Paths:
    """Write a project whose YAML files, records and predictions hold texts that ``take`` gives."""
    names = ["lora_1", "ia3", *(f"odd_{number}" for number in range(n_adapters - 2))]
    variants: dict[str, Any] = {
        name: {"title": {"zh": take()[:200], "en": take()[:200]}, "training": {"learning_rate": rate}}
        for name, rate in (("submitted", 2.0e-5), ("fast", 1.0e-3))
    }
    failed = [f"{name}/fast/seed-224" for name in names[-3:]]
    paths = write_results(root, adapters=names, variants=variants, n_test=16, failed=failed)
    for file in (paths.experiments / "adapters").glob("*.yaml"):
        content = yaml.safe_load(file.read_text("utf-8"))
        content |= {"title": {"zh": take(), "en": take()}, "rationale": {"zh": take(), "en": take()}}
        content["layers_pattern"] = take()
        file.write_text(yaml.safe_dump(content), "utf-8")
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")
    for run in runs:
        folder = run.folder(paths)
        record = load_record(folder)
        environment = record.environment.model_copy(
            update={
                "device_name": take(),
                "platform": take(),
                "python": take(),
                "packages": {take(): take(), "torch": take()},
            }
        )
        source = record.source.model_copy(update={"base_model": take(), "dataset": take(), "reason": take()})
        adapter = record.adapter.model_copy(
            update={"settings": run.adapter.settings | {"target_modules": [take()]}, "config": {take(): take()}}
        )
        error = record.error and Failure(type=take(), message=take(), cell=2)
        changes = {"environment": environment, "source": source, "adapter": adapter, "error": error}
        write_record(record.model_copy(update=changes), folder)
        if record.error is None:
            table = load_predictions(folder)
            table["text"] = [take() for _ in range(9)] + ["plain"] * (len(table) - 9)
            table.to_parquet(folder / "predictions.parquet")
    write_site_files(paths)
    words = ("title", "subtitle", "author", "course", "licence")
    book = {name: {language: take() for language in ("zh", "en")} for name in words}
    paths.book.write_text(yaml.safe_dump(book), "utf-8")
    return paths


def put_into_notebooks(paths: Paths, texts: list[str]) -> None:
    """Put texts into the notebooks: as code, as prose that is not ours, and as every kind of output."""
    files = sorted(paths.results.rglob("notebook.ipynb"))
    for place, file in enumerate(files):
        notebook = json.loads(file.read_text("utf-8"))
        for text in texts[place :: len(files)]:
            notebook["cells"] += [
                {"cell_type": "markdown", "metadata": {}, "source": text},
                {"cell_type": "code", "metadata": {}, "source": [text], "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": text},
                    {"output_type": "error", "traceback": [text]},
                    {"output_type": "display_data", "data": {"text/plain": text, "text/html": text,
                                                             "image/svg+xml": text, "application/javascript": text}},
                ]},
            ]  # fmt: skip
        file.write_text(json.dumps(notebook), "utf-8")


class Parsed(HTMLParser):
    """A page's elements and its text, read as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.scripts: list[str] = []
        self.others: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open[-1:] == ["script"] else self.pieces).append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)


@pytest.fixture(scope="module")
def parsed(built: Built) -> dict[Path, Parsed]:
    """Every page of the site, parsed."""
    return {path: Parsed(path.read_text("utf-8")) for path in built.html}


# What our templates, layout and pandoc make; a text can make none of it appear where it was not.
CITED = {work.lower() for work in WORKS}
ELEMENTS = {
    "html", "head", "meta", "title", "link", "script", "style", "body", "a", "header", "button", "svg", "path",
    "circle", "picture", "source",
    "nav", "ul", "ol", "li", "details", "summary", "span", "div", "input", "p", "main", "h1", "h2", "h3", "h4", "h5",
    "h6",
    "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "colgroup", "col", "caption", "figure", "figcaption",
    "img",
    "em", "strong", "footer", "dl", "dt", "dd", "math", "semantics", "mrow", "mi", "mo", "mn", "msub", "msup",
    "msubsup",
    "mfrac", "msqrt", "mtext", "mspace", "munder", "mover", "munderover", "mstyle", "mtable", "mtr", "mtd",
    "annotation",
    "br", "hr", "sub", "sup", "blockquote", "section", "small", "del", "bdi", "mpadded", "mphantom", "menclose",
}  # fmt: skip


SITE = Path(adapterbook.site.__file__).parent
OUR_NAMES = r"cover|theme|site|explorer(-[a-z]+)?|sentences|lab/loader|live/(tokenizer|encoder|page)"
OUR_SCRIPTS = rf"(\.\./)*((report/)?assets/({OUR_NAMES})|scripts/vega)\.js"


def test_a_page_has_our_elements_only(parsed: dict[Path, Parsed]) -> None:
    """No element, comment or handler comes from a text, and scripts are the site's own files."""
    for path, page in parsed.items():
        assert {tag for tag, _ in page.elements} <= ELEMENTS, path
        assert not page.others, path
        if path.name == "404.html":
            assert page.scripts == [(SITE / name).read_text("utf-8") for name in ("embedded/theme.js", "find_home.js")]
        else:
            assert all(isinstance(json.loads(script), dict) for script in page.scripts), path  # data, which nobody runs
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")], (path, tag, attributes)
            assert all(re.fullmatch(r"[a-z][a-z:-]*", name, re.IGNORECASE) for name in attributes), (path, attributes)
            if tag == "script" and path.name != "404.html":
                data = {"type": "application/json"}, {"type": "application/ld+json"}
                assert attributes in data or re.fullmatch(OUR_SCRIPTS, attributes["src"]), path
            for name in ("href", "src", "action", "formaction", "data", "srcset"):
                target = attributes.get(name, "").strip().lower()
                cited = tag == "a" and target in CITED
                assert cited or not re.match(r"[a-z][a-z0-9+.-]*:|//", target), (path, tag, target)


def test_every_page_has_a_policy(parsed: dict[Path, Parsed]) -> None:
    """Each page, the one for lost visitors too, allows only the site's files and scripts of a known hash."""
    assert any(path.name == "404.html" for path in parsed)
    for path, page in parsed.items():
        policies = [
            attributes["content"]
            for tag, attributes in page.elements
            if tag == "meta" and attributes.get("http-equiv", "").lower() == "content-security-policy"
        ]
        assert len(policies) == 1, path
        rules = dict(rule.strip().partition(" ")[::2] for rule in policies[0].split(";"))
        assert rules["default-src"] == "'none'"
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:", "data:"} & set(
            rules.get("script-src", "'none'").split()
        )
        assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_texts_are_shown_as_typed(built: Built, parsed: dict[Path, Parsed]) -> None:
    """Wherever both marks of a text stand in a page's text or in an attribute, the text between them is as typed."""
    seen: set[int] = set()
    for path, page in parsed.items():
        values = [value for _, attributes in page.elements for value in attributes.values()]
        scripts = [] if path.name == "404.html" else page.scripts  # its scripts are no data
        data = [text for script in scripts for text in texts_of(json.loads(script))]
        for place in ("".join(page.pieces), *values, *data):
            for match in BETWEEN_MARKS.finditer(place):
                number = int(match[1])
                if number in built.texts:
                    wanted, shown = as_shown(built.texts[number]), comparable(match[2])
                    forms = (as_output, as_json, as_code, as_meta, as_bibtex)
                    others = [render(built.texts[number]) for render in forms]
                    assert shown in (wanted, *others), (path, number)
                    seen.add(number)
    assert len(seen) == len(set(built.texts.values())) >= 400


def texts_of(data: Any) -> Iterator[str]:
    """Yield every text in a page's data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from texts_of(item)


def as_output(text: str) -> str:
    """Return a text as a terminal would show it at the end."""
    plain = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]", "", text)
    return as_shown("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in plain.split("\n")))


def as_json(text: str) -> str:
    """Return a text as a record on a page has it: JSON, with what cannot be seen written by its number."""
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    return comparable("".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in written))


def as_code(text: str) -> str:
    """Return a text as Python code has it inside quotes: the same text to Python, says a test of the escapes."""
    return comparable(python_literal(text)[1:-1])


def as_meta(text: str) -> str:
    """Return a text as the head's data have it, without characters that nothing shows."""
    return comparable("".join(char if char.isprintable() else " " for char in text))


def as_bibtex(text: str) -> str:
    """Return a text as the entry for bibliographies has it, with BibTeX's own characters escaped."""
    words = {"\\": r"{\textbackslash}", "~": r"{\textasciitilde}", "^": r"{\textasciicircum}"}
    escaped = "".join(words.get(char, f"\\{char}" if char in "{}%#$&_" else char) for char in text)
    return comparable(re.sub(r"\{(?=\{)", "{ ", escaped))


def test_the_search_index_is_data(built: Built) -> None:
    """The index is one assignment of JSON, and cannot close a script that it would be put into."""
    for path in (built.paths.root / "_site/assets").glob("search-*.js"):
        text = path.read_text("utf-8")
        data = text.removeprefix("window.siteSearchIndex = ").removesuffix(";\n")
        assert isinstance(json.loads(data), list)
        assert "<" not in text
        assert not set(text) & {"\u2028", "\u2029", "\0"}


def test_directions_stay_in_their_cell(built: Built) -> None:
    """Every control of direction is closed before its line or its element ends: neighbours keep their place."""
    for path in built.html:
        for piece in re.split(r"<[^>]*>|\n", path.read_text("utf-8")):
            depth = 0
            for char in piece:
                depth += (char in "\u2066\u2067\u2068") - (char == "\u2069")
                assert depth >= 0, (path, piece)
                assert depth > 0 or char not in "\u202a\u202b\u202c\u202d\u202e", (path, piece)
            assert depth == 0, (path, piece)


def test_a_browser_runs_nothing_of_it(built: Built) -> None:
    """In a real browser the pages raise no dialog, no error and no request of their own, and no text ran."""
    root = built.paths.root / "_site"
    names = ("index.html", "report/en/index.html", "report/zh/adapters/odd_1.html", "report/en/method.html",
             "report/en/explorer.html")  # fmt: skip
    pages = [*(root / name for name in names), *sorted((root / "report/en/notebooks").glob("odd_*.html"))[:2]]
    with open_browser() as browser:
        for path in pages:
            with visit(browser, path) as opened:
                opened.page.on("dialog", lambda dialog: opened.messages.append(dialog.message))
                if path.parent != root:  # the cover has no search box
                    opened.page.locator(".search input").fill("pwned")
                opened.page.wait_for_timeout(100)
                assert opened.page.evaluate("window.pwned") is None, path
                assert not opened.messages, path
                assert all(url.startswith(("file:", "data:")) for url in opened.requests), path


# What of Markdown may act on our pages, and what never may.
RAW_TEMPLATES = re.compile(
    r'<pre class="[\w -]*"[^<>]*><code>.*</code></pre>|<pre><code>.*</code></pre>|<span id="[\w-]+"></span>'
    r'|<script type="application/json">[^<>]*</script>',
    re.DOTALL,
)


def sources(built: Built) -> list[Path]:
    """Return every page's and document's source."""
    return [built.paths.root / "index.qmd", *sorted(built.paths.report.rglob("*.qmd"))]


@pytest.fixture(scope="module")
def trees(built: Built) -> dict[Path, Any]:
    """Pandoc's tree of every page's and document's source."""
    paths = sources(built)
    return dict(zip(paths, parse_all([path.read_text("utf-8") for path in paths]), strict=True))


def test_no_source_holds_a_shortcode(built: Built, trees: dict[Path, Any]) -> None:
    """Quarto looks for shortcodes in sources, and in decoded attributes, targets, code and metadata: there is none."""
    for path in [*sources(built), *built.paths.report.rglob("*.yml"), built.paths.root / "_quarto.yml"]:
        assert "{{<" not in path.read_text("utf-8"), path
    for path, tree in trees.items():
        for node in each_node(tree["blocks"]):
            content: Any = node.get("c")
            if node["t"] in ("Div", "Span", "CodeBlock", "Code", "Link", "Image", "Header", "Table", "Figure"):
                attributes = content[1] if node["t"] == "Header" else content[0]
                decoded = json.dumps([attributes, content[2] if node["t"] in ("Link", "Image") else ""])
                assert "{{<" not in decoded, path
            if node["t"] in ("Code", "CodeBlock"):
                assert "{{<" not in content[1], path
        assert "{{<" not in "".join(text_in(tree["meta"])), path


def text_in(tree: Any) -> Iterator[str]:
    """Yield the words of metadata in order."""
    for node in each_node(tree):
        if node["t"] in ("Str", "MetaString", "Code"):
            yield node["c"] if isinstance(node["c"], str) else node["c"][1]


def test_pandoc_finds_nothing_but_text(trees: dict[Path, Any]) -> None:
    """In the tree of every source a text makes no formula, citation, picture, link or raw piece."""
    ours = re.compile(rf"(fig|tbl|eq|sec)-[\w-]+|{'|'.join(BIBLIOGRAPHY.entries)}")
    for path, tree in trees.items():
        for node in each_node(tree["blocks"]):
            kind: str = node["t"]
            content: Any = node.get("c")
            if kind == "Cite":
                assert all(ours.fullmatch(cite["citationId"]) for cite in content[0]), path
            elif kind in ("RawBlock", "RawInline"):
                assert kind == "RawBlock" and content[0] == "html", path
                assert not re.search(r"q\d+z", re.sub(RAW_TEMPLATES, "", content[1])), path
            elif kind == "Image":
                assert re.fullmatch(r"[./\w-]+\.svg", content[2][0]), path
            elif kind == "Link":
                cited = content[2][0].lower() in CITED
                assert cited or re.fullmatch(r"[./\w%-]*(#[\w-]+)?", content[2][0]), path
            elif kind in ("Math", "Note", "Strikeout", "SoftBreak", "LineBreak"):
                inner = json.dumps(content)
                assert not re.search(r"q\d+z", inner), (path, inner[:200])


def test_front_matter_and_menus_are_yaml_of_text(built: Built) -> None:
    """Titles stay one value of YAML each, and no page gets a key that the generator does not write."""
    known = {"title", "pagetitle", "subtitle", "author", "course", "licence", "description", "description-meta",
             "engine", "translation", "format", "lang", "sidebar", "toc", "runs", "last-run", "toc-depth",
             "number-sections", "crossref", "search", "search-group", "bibliography", "csl", "link-citations",
             "nocite"}  # fmt: skip
    for path in sources(built):
        matter = yaml.safe_load(path.read_text("utf-8").split("---\n", 2)[1])
        assert set(matter) <= known, path
        assert isinstance(matter["title"], str), path
    menus = yaml.safe_load((built.paths.report / "_navigation.yml").read_text("utf-8"))
    assert set(menus) == {"website"}


def test_the_pdfs_show_texts_and_run_nothing(built: Built) -> None:
    """Typst compiles the documents as they are; no file of this machine gets in, and what is typed is on the paper."""
    program = shutil.which("pdftotext")
    if program is None:
        pytest.skip("no pdftotext on this machine (Debian: apt install poppler-utils)")
    for language in ("zh", "en"):
        pdf = built.paths.root / f"_site/report-{language}.pdf"
        text = subprocess.run([program, "-raw", str(pdf), "-"], capture_output=True, text=True, check=True).stdout
        assert "root:x:0:0" not in text
        shown = re.sub(r"\s", "", text)
        # A text that goes over a page, with the page's header in it, is left out.
        found = [(built.texts.get(int(match[1])), match[2]) for match in BETWEEN_MARKS.finditer(shown)]
        whole = [(typed, text) for typed, text in found if typed is not None]
        plain = [(typed, text) for typed, text in whole if typed.isascii() and typed.isprintable()]
        assert len(plain) > 20
        wrong = [
            (typed, text)
            for typed, text in plain
            if comparable(text) not in (comparable(typed), as_code(typed), as_bibtex(typed))
        ]
        assert not wrong
