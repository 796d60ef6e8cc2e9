"""Pages of made-up studies: what is on them, in which language, and where each number comes from."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from adapterbook.analysis.shapes import Reason
from adapterbook.common.errors import RenderError
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.phrases import load_phrases
from adapterbook.figures import draw_figures
from adapterbook.pages import write_pages
from adapterbook.pages.numbers.number import look_up
from adapterbook.site import check_project
from tests.support.factory import (
    BATCH_SIZE_VARIANTS,
    BIBLIOGRAPHY,
    EVAL_STRATEGY_VARIANTS,
    HOSTILE_TEXTS,
    PHRASES,
    PROJECT,
)
from tests.support.report_pages import (
    LANGUAGES,
    MadePages,
    Qmd,
    analyse_project,
    each_node,
    few_run_pages,
    make_study_pages,
    parts_of,
    plan_without_drawing,
    text_pieces,
)

FAULTS: dict[str, Any] = {
    "failed": ["lora_1/submitted/seed-224"],
    "missing": ["ia3/lr-1e-3/seed-224"],
    "truncated": ["lora_3/submitted/seed-224"],
}
ONE_VARIANT = {"submitted": {"title": {"zh": "原設定", "en": "As submitted"}}}
TWO_VARIANTS = ONE_VARIANT | {"lr-1e-3": {"title": "1e-3", "training": {"learning_rate": 1.0e-3}}}
CJK = "\u3400-\u9fff"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """The four adapters with one seed, and every ablation."""
    root = tmp_path_factory.mktemp("study")
    return make_study_pages(root, extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS).parse_pages()


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """A failed run, one never made, and one with a truncated record."""
    return make_study_pages(tmp_path_factory.mktemp("faults"), variants=TWO_VARIANTS, **FAULTS).parse_pages()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Two adapters and the baseline with three seeds on the homework's own source."""
    root = tmp_path_factory.mktemp("hub")
    with few_run_pages(6):
        made = make_study_pages(root, source="hub", seeds=(1, 2, 3), adapters=("lora_1", "ia3", "head_only"),
                                variants=TWO_VARIANTS)  # fmt: skip
    return made.parse_pages()


@pytest.fixture(params=["study", "faults", pytest.param("hub", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest) -> MadePages:
    """Each of the made-up studies."""
    pages: MadePages = request.getfixturevalue(request.param)
    return pages


def stems(made: MadePages, language: str) -> set[str]:
    """Return the pages of one language, without their suffix."""
    folder = made.paths.report / language
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.qmd")}


def pairs(made: MadePages) -> list[tuple[Qmd, Qmd]]:
    """Return every page in both languages."""
    return [(made.page(f"zh/{stem}"), made.page(f"en/{stem}")) for stem in sorted(stems(made, "en"))]


def language_of(page: Qmd) -> Language:
    """Return the language of a page; the cover's numbers are Chinese first."""
    return "en" if "en" in page.path.parts else "zh"


def test_both_languages_have_every_page(study: MadePages) -> None:
    """Overview, method, mechanisms, adapters, results, notebooks, glossary and references, twice."""
    expected = {"index", "method", "mechanism-lora", "mechanism-ia3", "comparison", "explorer", "sentences", "lab",
                "live", "reproduction", "glossary", "references", "notebooks/index"}  # fmt: skip
    expected |= {f"adapters/{adapter}" for adapter in ("lora_1", "lora_2", "lora_3", "ia3")}
    expected |= {f"notebooks/{run.id.replace('/', '-')}" for run in study.report.runs}
    assert expected == stems(study, "zh") == stems(study, "en")
    assert len(study.report.runs) == 16


def test_languages_say_the_same(made: MadePages) -> None:
    """A page has the same headings, figures, tables and numbers in both languages."""
    for zh, en in pairs(made):
        if "notebooks/" not in zh.path.as_posix():
            assert heading_levels(zh) == heading_levels(en), zh.path
        assert identifiers(zh) == identifiers(en), zh.path
        assert origins(zh) == origins(en), zh.path
    cover = made.page("index").text
    zh_part, en_part = cover.split('::: {#en .cover lang="en"}')
    assert origins(Qmd(Path("zh"), zh_part)) == origins(Qmd(Path("en"), en_part))


def heading_levels(page: Qmd) -> list[int]:
    return [node["c"][0] for node in page.elements("Header")]


def identifiers(page: Qmd) -> list[str]:
    return re.findall(r"\{#((?:fig|tbl|eq|sec)-[\w-]+)", page.text)


def origins(page: Qmd) -> Counter[str]:
    return Counter(str(sorted(number.attributes.items())) for number in page.numbers)


def test_numbers_of_runs_are_those_of_their_records(made: MadePages) -> None:
    """Each number with a run beside it is that field of that run's record.json, as its language writes it."""
    source = made.report.runs[0].run.source
    checked = 0
    for page in made.pages:
        if page.path.name == "index.qmd" and page.path.parent == made.paths.root:
            continue
        for number in page.numbers:
            if "data-run" not in number.attributes:
                continue
            record = made.paths.results / source / number.attributes["data-run"] / "record.json"
            value = look_up(json.loads(record.read_text("utf-8")), number.attributes["data-field"])
            assert format_number(value, number.attributes["data-format"], language_of(page)) == number.text
            checked += 1
    assert checked > 30


def test_derived_numbers_are_those_of_the_analysis(made: MadePages) -> None:
    """Each number with an analysis field beside it is that field of the part of the report that it names."""
    parts = defaultdict(list)
    for part in parts_of(made.report):
        parts[type(part).__name__].append(part)
    checked = 0
    for page in made.pages:
        language = language_of(page)
        for number in page.numbers:
            if "data-from" not in number.attributes or page.path.parent == made.paths.root:
                continue
            kind, _, field = number.attributes["data-from"].partition(".")
            shown = set()
            for part in parts[kind]:
                try:
                    shown.add(
                        format_number(
                            look_up(part, field_path(part, field)), number.attributes["data-format"], language
                        )
                    )
                except (LookupError, TypeError):
                    continue
            assert number.text in shown, (page.path.name, number)
            checked += 1
    assert checked > 200


def test_every_interval_has_both_ends(study: MadePages) -> None:
    """An accuracy's interval in brackets is two numbers of the same group, the lower one first."""
    n_found = 0
    for page in study.pages:
        for inside in re.findall(r"\[\((.*?)\)\]\{\.whole\}", page.text):
            ends = Qmd(page.path, inside).numbers
            assert [number.attributes["data-from"].rpartition(".")[2] for number in ends] == ["low", "high"], inside
            assert ends[0].attributes.get("data-of") == ends[1].attributes.get("data-of")
            n_found += 1
    assert n_found > 10


def field_path(part: Any, field: str) -> str | list[str]:
    """Return a field's path; a variant's name may hold dots, so what is left of ``values.`` is one part."""
    return ["values", field.removeprefix("values.")] if field.startswith("values.") else field


def test_no_number_stands_loose_in_a_table(made: MadePages) -> None:
    """A result in a table has its origin beside it: outside those spans no cell holds a decimal number."""
    for zh, en in pairs(made):
        for page in (zh, en):
            if page.path.name in ("reproduction.qmd", "glossary.qmd") or "notebooks" in page.path.parts:
                continue  # package versions; no results
            for table in [node for node in each_node(without_origins(page.tree)) if node["t"] == "Table"]:
                text = "".join(text_pieces(table))
                assert not re.search(r"\d\.\d", text), (page.path, text)


def without_origins(tree: Any) -> Any:
    """Return a tree without its numbers, sentences and code, and without the tables behind figures."""
    if isinstance(tree, list):
        return [without_origins(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("t") in ("Span", "Div") and {"n", "sentence", "figure-numbers"} & set(tree["c"][0][1]):
        return {}
    if tree.get("t") == "Code":
        return {}
    if tree.get("t") == "Table":
        tree = tree | {"c": [tree["c"][0], [], *tree["c"][2:]]}  # a caption may name a processor
    return {key: without_origins(value) for key, value in tree.items()}


def without_sentences(tree: Any) -> Any:
    """Return a tree with a letter in place of each sentence that is quoted as it is."""
    if isinstance(tree, list):
        return [without_sentences(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("t") == "Span" and "sentence" in tree["c"][0][1]:
        return {"t": "Str", "c": "x"}
    return {key: without_sentences(value) for key, value in tree.items()}


def test_numbers_behind_a_figure_are_its_table(study: MadePages) -> None:
    """Folded under a figure stand the numbers drawn, all of them and no others."""
    for name, place, n, figure, column, kind in (
        ("index", 1, 3, "headline", "validation_loss", "loss"), ("method", 0, 5, "travel", "travel", "travel"),
    ):  # fmt: skip
        page = study.page(f"en/{name}")
        folded = [node for node in page.elements("Div") if "figure-numbers" in node["c"][0][1]]
        assert len(folded) == n
        block = folded[place]
        table, shown = study.figures[figure].table, page.text_of(block)
        for value in table[column]:
            assert format_number(value, kind, "en") in shown
        rows = next(node for node in block["c"][1] if node["t"] == "Table")["c"][4][0][3]
        assert len(table) == len(rows)


def test_references_lead_somewhere_and_identifiers_are_unique(made: MadePages) -> None:
    """Every cross-reference of a page is defined on it; in the combined document no identifier is there twice."""
    documents = [made.page(f"pdf/report-{language}") for language in LANGUAGES]
    for page in (*made.pages, *documents):
        defined = identifiers(page)
        assert len(defined) == len(set(defined)), page.path
        cited = {item["citationId"] for node in page.elements("Cite") for item in node["c"][0]}
        assert cited <= set(defined) | set(BIBLIOGRAPHY.entries), page.path


def test_links_lead_somewhere(made: MadePages) -> None:
    """Every link of a page leads to a page, a file or an anchor that is there."""
    for page in made.pages:
        for node in page.elements("Link"):
            target, _, anchor = node["c"][2][0].partition("#")
            assert not target.startswith(("http", "javascript", "/"))
            if target.startswith("report-") and target.endswith(".pdf"):
                continue  # the renderer puts the PDFs there
            file = (page.path.parent / target).resolve() if target else page.path
            assert file.is_file(), (page.path, target)
            if anchor:
                text = file.read_text("utf-8")
                assert re.search(rf'\{{#{anchor}[ }}]|id="{anchor}"', text), (page.path, anchor)


def test_every_page_links_to_the_other_language(made: MadePages) -> None:
    """One click leads to the same page in the other language, and search engines are told of both."""
    for zh, en in pairs(made):
        for page, other in ((zh, en), (en, zh)):
            translation = page.front_matter["translation"]
            assert (page.path.parent / translation).resolve() == other.path.resolve()
            assert f"({translation}){{lang=" in page.text.split(".language-switch}")[1].split(":::")[0]
            header = page.front_matter["format"]["html"]["include-in-header"][0]["text"]
            links = dict(re.findall(r'hreflang="([\w-]+)" href="([^"]+)\.html"', header))
            found = {tag: (page.path.parent / f"{href}.qmd").resolve() for tag, href in links.items()}
            default = (
                made.paths.root / "index.qmd"
                if zh.path.name == "index.qmd" and zh.path.parent.name == "zh"
                else en.path
            )
            assert {"zh-TW": zh.path.resolve(), "en": en.path.resolve(), "x-default": default.resolve()} == found


def test_no_page_starts_an_engine(made: MadePages) -> None:
    """Every page and document says itself that its code is not to be run: a line in a longer fence would start one."""
    documents = [made.page(f"pdf/report-{language}") for language in LANGUAGES]
    assert {page.front_matter["engine"] for page in [*made.pages, *documents]} == {"markdown"}


def test_the_footer_leads_to_both_pdfs(study: MadePages) -> None:
    """From every page of the site one click leads to the whole report, in either language."""
    footer = yaml.safe_load((study.paths.report / "_navigation.yml").read_text("utf-8"))["website"]["page-footer"]
    assert re.findall(r"\((/report-\w+\.pdf)\)", footer["left"]) == ["/report-zh.pdf"]
    assert re.findall(r"\((/report-\w+\.pdf)\)", footer["right"]) == ["/report-en.pdf"]


def test_menus_name_every_page(made: MadePages) -> None:
    """Each language has a sidebar with all pages but those of single runs; a page names the sidebar of its language."""
    navigation = yaml.safe_load((made.paths.report / "_navigation.yml").read_text("utf-8"))["website"]
    for language, sidebar in zip(LANGUAGES, navigation["sidebar"], strict=True):
        named = set(re.findall(rf"report/{language}/([\w./-]+)\.qmd", yaml.safe_dump(sidebar)))
        runs = {stem for stem in stems(made, language) if stem.startswith("notebooks/")} - {"notebooks/index"}
        assert stems(made, language) - runs == named
        metadata = yaml.safe_load((made.paths.report / language / "_metadata.yml").read_text("utf-8"))
        assert {"lang": {"zh": "zh-TW", "en": "en"}[language], "sidebar": language}.items() <= metadata.items()
        assert ("crossref" in metadata) == (language == "zh")


def test_the_combined_documents_hold_every_chapter(study: MadePages) -> None:
    """The document for the PDF has as a chapter each page that stands still, and links no page of the site."""
    for language in LANGUAGES:
        document = study.page(f"pdf/report-{language}")
        headings = [document.text_of(node["c"][2]) for node in document.elements("Header") if node["c"][0] == 1]
        titles = [heading.replace("\u2060", "") for heading in headings]  # guarded from Typst's marks
        notebooks = {stem for stem in stems(study, language) if "notebooks" in stem}
        of_the_site = {"explorer", "sentences", "lab", "live", *notebooks}
        pages = [study.page(f"{language}/{stem}") for stem in stems(study, language) - of_the_site - {"index"}]
        overview = {"zh": "總覽", "en": "Overview"}[language]  # whose own heading is the finding
        assert Counter(titles) == Counter([overview, *(page.text_of(page.tree["meta"]["title"]) for page in pages)])
        assert {"lang": {"zh": "zh-TW", "en": "en"}[language], "toc": True}.items() <= document.front_matter.items()
        assert {node["c"][2][0] for node in document.elements("Link") if node["c"][2][0][0] != "#"} == set()
        assert ".language-switch" not in document.text
        assert "{=html}" not in document.text


def test_faults_are_visible_in_both_languages(faults: MadePages) -> None:
    """A failed, a missing and a broken run are rows in every table where their results would be, with the reason."""
    words = {"zh": ("失敗", "尚未執行", "紀錄損壞"), "en": ("failed", "not run", "record unreadable")}
    for language in LANGUAGES:
        failed, missing, broken = words[language]
        for name in ("index", "comparison", "reproduction", "notebooks/index"):
            page = faults.page(f"{language}/{name}")
            text = page.text_of(page.tree["blocks"])
            assert all(word in text for word in (failed, missing, broken)), (language, name)
        for adapter, word in (("lora_1", failed), ("ia3", missing), ("lora_3", broken)):
            page = faults.page(f"{language}/adapters/{adapter}")
            tables = [page.text_of(node) for node in page.elements("Table")]
            assert sum(word in table for table in tables) >= 2, (language, adapter)
        page = faults.page(f"{language}/reproduction")
        assert "loss is nan after step 24 <b>of 80</b>" in page.text_of(page.tree["blocks"])


def test_a_failed_run_is_in_no_ranking(faults: MadePages) -> None:
    """The pairs of a failed run are listed without numbers, and all others with theirs."""
    for language, word in (("zh", "執行失敗了。"), ("en", "The run failed.")):
        page = faults.page(f"{language}/comparison")
        table = next(node for node in page.elements("Table") if "pairs-submitted" in str(node["c"][0]) or
                     word in page.text_of(node))  # fmt: skip
        assert page.text_of(table).count(word) == 3


def test_hostile_sentences_show_as_typed(study: MadePages) -> None:
    """Sentences of the data set stand on the adapters' pages as they are, and add no element to them."""
    for language in LANGUAGES:
        shown = set()
        for adapter in ("lora_1", "lora_2", "lora_3", "ia3"):
            page = study.page(f"{language}/adapters/{adapter}")
            assert not {node["t"] for node in each_node(page.tree["blocks"])} & {"RawBlock", "RawInline", "Math"}
            assert not [link for link in page.elements("Link") if "javascript" in str(link["c"][2])]
            for node in page.elements("Span"):
                if "sentence" in node["c"][0][1]:
                    assert not {item["t"] for item in node["c"][1]} - {"Str", "Space"}
                    shown.add(page.text_of(node).replace("\u2068", "").replace("\u2069", ""))
        wanted = {" ".join(text.replace("\u0007", "\ufffd").split()) for text in HOSTILE_TEXTS}
        assert {re.sub(r" \(\d+\)$", "", text) for text in shown} <= wanted
        assert len(shown) > 10


def test_hostile_titles_show_as_typed(tmp_path: Path) -> None:
    """A title and a rationale of an adapter's YAML are text: as page title, link, heading, cell and caption."""
    title = 'A {{< env HOME >}} | <b>x</b> "$y$" @fig-z `c` [l](javascript:q) **s**'
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT)
    file = made.paths.experiments / "adapters" / "ia3.yaml"
    content = yaml.safe_load(file.read_text("utf-8")) | {"title": title, "rationale": title}
    file.write_text(yaml.safe_dump(content), "utf-8")
    report = analyse_project(made.paths)
    pages = MadePages(report, made.figures, made.paths, write_pages(report, made.figures, made.paths)).parse_pages()
    for page in pages.pages:
        assert "{{" not in page.text
        assert not [node for node in each_node(page.tree["blocks"]) if node["t"] in ("RawInline", "Quoted")]
        assert not [link for link in page.elements("Link") if "javascript" in str(link["c"][2])]
        assert not [math for math in page.elements("Math") if math["c"][1] == "y"]
    page = pages.page("zh/adapters/ia3")
    shown = page.text_of(page.tree["meta"]["title"])
    assert title == shown.replace("\u2060", "")
    assert "{{" not in shown
    assert "}}" not in shown
    assert title in page.text_of(page.tree["blocks"])


@pytest.mark.parametrize(
    ("options", "zh", "en"),
    [
        ({"accuracy": {"lora_1": 0.9, "ia3": 0.6}},
         "LoRA 1 在測試集上的表現比 IA³ 好",
         "LoRA 1 classifies the test sentences better than IA³"),
        ({"accuracy": {"lora_1": 0.6, "ia3": 0.9}},
         "LoRA 1 在測試集上的表現不如 IA³",
         "LoRA 1 classifies the test sentences worse than IA³"),
        ({"accuracy": {"lora_1": 0.7, "ia3": 0.67}},
         "LoRA 1 與 IA³ 的差異未達顯著",
         "LoRA 1 and IA³ do not differ significantly"),
        ({"failed": ["ia3/submitted/seed-224"]},
         "LoRA 1 與 IA³ 無法比較：執行失敗了。",
         "LoRA 1 and IA³ cannot be compared. The run failed."),
        ({"adapters": ("lora_1",)},
         "沒有可以比較的對象：有結果的轉接器不到兩個，沒有對象可以比較。",
         "There is nothing to compare. Fewer than two adapters have results"),
        ({"n_positive": 0},
         "無法比較：測試集裡所有句子都是同一個標籤，比較沒有意義。",
         "All test rows have the same label"),
    ],
)  # fmt: skip
def test_the_answer_follows_the_numbers(tmp_path: Path, options: dict[str, Any], zh: str, en: str) -> None:
    """The overview's sentence says what the verdict says, with its interval and what one seed cannot tell."""
    accuracy = {f"{adapter}/submitted": value for adapter, value in options.pop("accuracy", {}).items()}
    options = {"adapters": ("lora_1", "ia3"), **options}
    made = make_study_pages(tmp_path, variants=ONE_VARIANT, accuracy=accuracy, **options)
    for language, sentence in zip(LANGUAGES, (zh, en), strict=True):
        page = made.page(f"{language}/index")
        text = page.text_of(page.tree["blocks"])
        assert sentence in text
        finding = made.figures["answer"].finding
        assert not accuracy or finding is not None
        on_cover = sentence if finding is None or not accuracy else finding.in_language(language)
        assert on_cover.replace("\u00a0", " ") in made.page("index").text_of(made.page("index").tree["blocks"])
        if accuracy:
            answer = next(page.text_of(node) for node in page.elements("Strong") if sentence in page.text_of(node))
            assert {"zh": "95% 區間", "en": "95% interval"}[language] in answer
            models = {"zh": "在這兩個訓練好的模型之間", "en": "Between these two trained models"}
            unknown = {
                "zh": "換一個隨機種子訓練，結果可能不同。",
                "en": "Training with another seed can give another result.",
            }
            assert models[language] in answer
            assert unknown[language] in text


def test_three_seeds_are_named_and_one_is_admitted(study: MadePages, hub: MadePages) -> None:
    """With three seeds every verdict counts them; with one the pages say what another seed can do."""
    for language, three, unknown in (("zh", "3 個種子", "換一個隨機種子"), ("en", "3 seeds", "with another seed")):
        many, one = hub.page(f"{language}/index"), study.page(f"{language}/index")
        assert three in many.text_of(many.tree["blocks"])
        assert unknown not in many.text_of(many.tree["blocks"])
        assert unknown in one.text_of(one.tree["blocks"])


def test_only_the_homeworks_own_source_is_compared_with_the_published(study: MadePages, hub: MadePages) -> None:
    """An embedded site says on every page that it may not be compared; a hub site shows the published curves."""
    for language, sentence in (("zh", "不能與已發表的結果相比"), ("en", "not comparable with the published ones")):
        for page in study.pages:
            if f"/{language}/" in page.path.as_posix():
                assert sentence in page.text_of(page.tree["blocks"]), page.path
        own = hub.page(f"{language}/reproduction")
        assert sentence not in own.text_of(own.tree["blocks"])
        assert "{#tbl-reproduction-published-1}" in own.text
        assert "@fig-" not in study.page(f"{language}/reproduction").text


def test_every_explanation_has_its_figure_and_its_sentence(study: MadePages) -> None:
    """Learning rate, batch size, evaluation strategy and epochs each stand beside an experiment of the study."""
    for language in LANGUAGES:
        sections = study.page(f"{language}/method").text.split("\n## ")
        for factor in ("learning-rate", "batch-size", "eval-strategy", "epochs"):
            section = next(part for part in sections if f"{{#sec-method-{factor}}}" in part)
            assert f"{{#fig-method-{factor}" in section
            how, here, rule = section.split("\n### ")[1:]
            assert f"{{#sec-method-{factor}-how}}" in how
            assert ".n data-from=" in here
            assert f"{{#sec-method-{factor}-rule}}" in rule


def test_a_new_adapter_is_on_every_page(tmp_path: Path) -> None:
    """A YAML file dropped in shows up in both languages wherever adapters are listed, and goes when it goes."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3", "dora"), variants=ONE_VARIANT)
    for language, title in (("zh", "新的 dora"), ("en", "New dora")):
        for name in ("index", "comparison", "reproduction", "notebooks/index", "mechanism-lora", "adapters/dora"):
            page = made.page(f"{language}/{name}")
            shown = page.text_of(page.tree)
            assert title in shown or "dora/submitted/seed-224" in shown, (language, name)
        assert "use_dora=True" in made.page(f"{language}/adapters/dora").text
    (made.paths.experiments / "adapters" / "dora.yaml").unlink()
    report = analyse_project(made.paths)
    write_pages(report, plan_without_drawing(report, made.paths), made.paths)
    assert not list(made.paths.report.rglob("*dora*.qmd"))
    assert "dora" not in "".join(path.read_text("utf-8") for path in made.paths.report.rglob("*.qmd"))


def test_no_record_at_all_is_a_report_too(tmp_path: Path) -> None:
    """Before the first training every page is there and says that nothing has run."""
    missing = ["lora_1/submitted/seed-224", "ia3/submitted/seed-224"]
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, missing=missing)
    for language, word in (("zh", "尚未執行"), ("en", "not run")):
        for name in ("index", "comparison", "reproduction", "adapters/lora_1"):
            page = made.page(f"{language}/{name}")
            assert word in page.text_of(page.tree["blocks"])
    assert not [number for page in made.pages for number in page.numbers if "data-run" in number.attributes]


def test_the_same_records_give_the_same_bytes(study: MadePages) -> None:
    """Making the pages again changes no byte of them."""
    before = {path: path.read_bytes() for path in study.files}
    again = write_pages(study.report, study.figures, study.paths)
    assert before == {path: path.read_bytes() for path in again}


def test_a_broken_template_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    """An error in a template names the template and the line, and the pages that were there stay."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT)
    before = {path: path.read_bytes() for path in made.files}
    last, first = (made.paths.templates / "pages" / f"{name}.qmd.j2" for name in ("glossary", "overview"))
    for template, broken, message in (
        (last, "a\nb\n{{ report.nothing }}\n", "templates/pages/glossary.qmd.j2, line 3: .*nothing"),
        (first, "a\n{{ report.adapters | length }}\n", "pages/overview.qmd.j2, line 2: 2 cannot be shown as it is"),
        (first, "{{ report.n_stale }}\n", "pages/overview.qmd.j2, line 1: Report.n_stale: no format is known"),
        (first, "{{ 2 | as('count') }}\n", "line 1 types 2, but a number on a page comes from a record"),
        (first, "{{ [n_train] }}\n", "line 1: .*cannot be shown as it is"),
        (first, "{{ report.run('ia3/submitted/seed-224').overfitting.onset_epoch }}\n", "line 1: None cannot be shown"),
        (first, "{{ report.source.published }}\n", "pages/overview.qmd.j2, line 1: None cannot be shown as it is"),
        (first, "a\n\n{% if %}\n", "templates/pages/overview.qmd.j2, line 3: "),
        (first, "{{ 1 + 1 }}\n", "templates/pages/overview.qmd.j2, line 1: Add is not for templates"),
        (first, "a\n{{ 'x' ~ 'y' }}\n", "templates/pages/overview.qmd.j2, line 2: Concat is not for templates"),
        (first, "{{ derived(report, 'study.nothing', 'plain') }}\n", "line 1: study.nothing: there is no 'nothing'"),
        (first, "{{ label('nothing') }}\n", "line 1: templates/phrases.yaml has no 'nothing' under labels"),
        (first, "{{ link('nothing') }}\n", "line 1: link: there is no page 'nothing'"),
        (first, "{{ figure('nothing') }}\n", "line 1: .*nothing"),
        (first, "{{ 'x' | upper }}\n", "line 1: No filter named 'upper'"),
    ):
        template.write_text(broken, "utf-8")
        with pytest.raises(RenderError, match=message):
            write_pages(made.report, made.figures, made.paths)
        assert before == {path: path.read_bytes() for path in made.files}
        assert not list(made.paths.report.glob(".pages-*"))
        template.unlink()


def test_chinese_is_spaced_as_it_is_written(made: MadePages) -> None:
    """No space between Chinese characters, one between Chinese and Latin, none before full-width punctuation."""
    wrong = re.compile(
        rf"[{CJK}，。、；：？！）」] +[{CJK}]|[{CJK}][A-Za-z0-9]|[A-Za-z0-9%][{CJK}]|[{CJK}][,;:?!]"
        "| [，。、；：？！）」]|[，。、；：？！（「] "
    )
    for page in made.pages:
        if "zh" not in page.path.parts or "notebooks" in page.path.parts:
            continue
        for node in page.elements("Para", "Plain"):
            text = re.sub(r"\(\d+\)", "", page.text_of(without_sentences(node)))
            assert not wrong.search(text), (page.path, wrong.search(text), text)


def test_references_stand_free_of_chinese(made: MadePages) -> None:
    """A cross-reference has no Chinese character at either side, which would swallow it or be swallowed."""
    for page in made.pages:
        assert not re.search(rf"[{CJK}A-Za-z0-9]@(?:fig|tbl|eq|sec)-|@(?:fig|tbl|eq|sec)-[a-z0-9-]+[{CJK}]", page.text)


def test_notebooks_show_what_ran(faults: MadePages) -> None:
    """A notebook's page has its code, its outputs as text, its own language's prose, and a failed run's traceback."""
    zh, en = (faults.page(f"{language}/notebooks/lora_1-submitted-seed-224") for language in LANGUAGES)
    for page in (zh, en):
        assert 'adapter = "lora_1"' in page.text
        raw = "".join(node["c"][1] for node in page.elements("RawBlock"))
        assert "loss&#32;is" not in raw
        assert "loss is nan after step 24 &#60;b&#62;of 80&#60;&#47;b&#62;" in raw
        assert "\x1b" not in page.text
        assert not re.search(r"<(?!/?pre|/?code|span id=\"[\w-]+\">|/span)", raw)
    assert "這一格只有中文" in zh.text
    assert "這一格只有中文" not in en.text
    assert "This cell is English only" in en.text
    missing = faults.page("en/notebooks/ia3-lr-1e-3-seed-224")
    assert "has left no notebook that can be read" in missing.text_of(missing.tree["blocks"])


def test_all_reasons_and_states_have_words() -> None:
    """Every reason code of the analysis, every state and every stamp has a text in both languages."""
    phrases = load_phrases(PROJECT.templates)
    assert set(get_args(Reason)) <= set(phrases.reasons)
    assert {"completed", "failed", "missing", "broken", "stale"} == set(phrases.states)
    assert {"config", "code", "notebook", "data", "packages"} == set(phrases.stamps)
    assert {"DeadKernel", "DiskFull", "Interrupted", "KernelStart", "OutOfMemory", "RecordError", "Timeout"} == set(
        phrases.failures
    )


def test_known_reasons_for_a_source_are_said_in_chinese() -> None:
    """What ``sources`` writes into a record has a Chinese sentence; an unknown reason has none and is quoted."""
    phrases = load_phrases(PROJECT.templates)
    for reason in (
        "SOURCE=auto found the Hub's names out of reach (time-out), so embedded was taken.",
        "SOURCE=auto found both names of the hub source in the cache.",
        "",
    ):
        sentence = phrases.source_reason(reason, "zh")
        assert sentence is not None
        assert sentence.endswith("。")
    assert phrases.source_reason("because", "zh") is None


@pytest.mark.parametrize(
    ("language", "words"), [("en", "Licence of the base model: Apache"), ("zh", "資料的授權：MIT")]
)
def test_the_method_names_the_licences_of_the_source(study: MadePages, language: str, words: str) -> None:
    """Base model and data have the licences that the source's file gives."""
    assert words in study.page(f"{language}/method").text


@pytest.mark.slow
def test_the_renderers_find_nothing_wrong(tmp_path: Path) -> None:
    """With real figures the check that precedes rendering passes: links, pictures, references, menus, counterparts."""
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT)
    figures = draw_figures(made.report, made.paths.report / "figures", PHRASES)
    write_pages(made.report, figures, made.paths)
    (made.paths.root / "_quarto.yml").write_bytes((PROJECT.root / "_quarto.yml").read_bytes())
    check_project(made.paths.root)
