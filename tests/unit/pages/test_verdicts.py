"""The sentences about who is better: made-up records whose answer is known, read in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_pages import LANGUAGES, MadePages, Qmd, make_study_pages

VARIANT = {"submitted": {"title": {"zh": "原作業設定", "en": "As submitted"}}}
INTERVAL = {
    "zh": re.compile(r"95% 區間 [+−]?\d+\.\d 至 [+−]?\d+\.\d"),
    "en": re.compile(r"95% interval [+−]?\d+\.\d to [+−]?\d+\.\d"),
}


def make(root: Path, adapters: tuple[str, ...], accuracy: dict[str, float], **options: Any) -> MadePages:
    """Write the pages of a study of one variant, each adapter with its test accuracy."""
    wanted = {f"{adapter}/submitted": value for adapter, value in accuracy.items()}
    return make_study_pages(root, adapters=adapters, variants=VARIANT, accuracy=wanted, **options)


def text_of(page: Qmd) -> str:
    return page.text_of(page.tree["blocks"])


def answer(made: MadePages, language: str) -> str:
    """Return the bold sentence of the overview's answer."""
    text = made.page(f"{language}/index").text.partition("{#sec-index-answer}")[2]
    page = Qmd(Path("answer.qmd"), text)
    return page.text_of(page.elements("Strong")[0])


def section(made: MadePages, language: str, page: str, name: str) -> str:
    """Return the text of one section of a page, its subsections with it."""
    slug = page.replace("/", "-")
    text = made.page(f"{language}/{page}").text
    parts = re.split(r"\n(?=#{2,3} )", text)
    chosen = next(i for i, part in enumerate(parts) if f"{{#sec-{slug}-{name}}}" in part.split("\n")[0])
    found = Qmd(Path(f"{page}-{name}.qmd"), parts[chosen])
    return found.text_of(found.tree["blocks"])


@pytest.mark.parametrize(
    ("accuracy", "zh", "en"),
    [
        (
            {"lora_1": 0.9, "ia3": 0.6},
            "LoRA 1 在測試集上的表現比 IA³ 好",
            "LoRA 1 classifies the test sentences better",
        ),
        (
            {"lora_1": 0.7, "ia3": 0.7},
            "LoRA 1 與 IA³ 在 512 句測試資料上的差異未達顯著",
            "LoRA 1 and IA³ do not differ significantly",
        ),
    ],
)
def test_one_seed_gives_an_answer_with_its_interval_and_its_doubt(
    tmp_path: Path, accuracy: dict[str, float], zh: str, en: str
) -> None:
    """A clear win and a tie are called what they are, each with an interval, its p-value, its rows and its one seed."""
    made = make(tmp_path, ("lora_1", "ia3"), accuracy)
    for language, sentence, counted in (("zh", zh, "512 句、一個種子"), ("en", en, "512 sentences, one seed")):
        shown = answer(made, language)
        assert sentence in shown
        assert INTERVAL[language].search(shown)
        assert re.search(r"p (< 0\.001|= \d\.\d{3})", shown)
        assert counted in shown
        unknown = {"zh": "換一個隨機種子，準確率會變動多少，目前不知道", "en": "change with another seed is not known"}
        assert unknown[language] in text_of(made.page(f"{language}/index"))


def test_three_seeds_give_an_answer_without_that_doubt(tmp_path: Path) -> None:
    """From three seeds on their spread is in the verdict, and nothing says that it is unknown."""
    made = make(tmp_path, ("lora_1", "ia3"), {"lora_1": 0.9, "ia3": 0.6}, seeds=(1, 2, 3))
    for language, counted, unknown in (("zh", "3 個種子", "目前不知道"), ("en", "3 seeds", "not known")):
        assert counted in answer(made, language)
        assert INTERVAL[language].search(answer(made, language))
        assert unknown not in text_of(made.page(f"{language}/index"))


def test_a_failed_run_is_said_and_the_others_are_compared(tmp_path: Path) -> None:
    """The failed adapter's pairs are not comparable with the reason; the pair that is left has its verdict."""
    adapters = ("lora_1", "lora_2", "ia3")
    made = make(tmp_path, adapters, {"lora_1": 0.9, "lora_2": 0.6}, failed=["ia3/submitted/seed-224"])
    for language, failed, better in (("zh", "執行失敗了。", "較好"), ("en", "The run failed.", "better")):
        assert failed in answer(made, language)
        assert not INTERVAL[language].search(answer(made, language))
        shown = made.page(f"{language}/comparison")
        table = next(shown.text_of(node) for node in shown.elements("Table") if "pairs-submitted" in str(node["c"][0]))
        assert table.count(failed) == 2
        assert table.count(better) == 1


def test_two_adapters_of_one_method_are_the_headline(tmp_path: Path) -> None:
    """Without an IA³ the answer is about the two LoRAs."""
    made = make(tmp_path, ("lora_1", "lora_2"), {"lora_1": 0.9, "lora_2": 0.6})
    for language, sentence, pair in (
        ("zh", "LoRA 1 在測試集上的表現比 LoRA 2 好", "LoRA 1 對 LoRA 2"),
        ("en", "LoRA 1 classifies the test sentences better than LoRA 2", "LoRA 1 against LoRA 2"),
    ):
        assert sentence in answer(made, language)
        assert pair in section(made, language, "comparison", "pairs-best")


def test_a_found_difference_is_never_said_without_its_interval(tmp_path: Path) -> None:
    """Each pair named as different, and each gain over the baseline, has its interval behind it in brackets."""
    accuracy = {"lora_1": 0.9, "lora_2": 0.62, "ia3": 0.61, "head_only": 0.6}
    made = make(tmp_path, (*accuracy,), accuracy)
    for language, against, adds in (("zh", "對", "較好，相差"), ("en", "against", "adds")):
        to = {"zh": "至", "en": "to"}[language]
        shown = section(made, language, "comparison", "pairs-best")
        bracket = rf"[(（][^()（）]*[+−]?\d+\.\d {to} [+−]?\d+\.\d[^()（）]*[)）]"
        assert re.search(rf"LoRA 1 {against} LoRA 2{bracket}|LoRA 1 {against} LoRA 2 {bracket}", shown)
        assert re.search(rf"LoRA 1 {adds} \+\d+\.\d (points |個百分點){bracket}", shown)
        rest = {"zh": "與只訓練分類頭差異未達顯著的有 IA³ 與 LoRA 2。",
                "en": "Not significantly different from the head alone: IA³ and LoRA 2."}  # fmt: skip
        assert rest[language] in shown


def test_adapters_that_agree_everywhere_are_not_called_equal(tmp_path: Path) -> None:
    """Where two hardly ever disagree, the page says so instead of taking the narrow interval for a sharp test."""
    made = make(tmp_path, ("lora_1", "ia3", "head_only"), dict.fromkeys(("lora_1", "ia3", "head_only"), 1.0))
    for language, alike, equal in (
        ("zh", "每一對幾乎對所有句子的判斷都相同", "這不等於它們一樣好"),
        ("en", "All of them judge nearly every sentence alike", "That does not make them equal"),
    ):
        shown = section(made, language, "comparison", "pairs-best")
        assert alike in shown
        assert equal in shown
        few = {"zh": "兩者只對 0.0% 的句子判斷不同", "en": "The two judge 0.0% of the sentences differently"}
        assert few[language] in text_of(made.page(f"{language}/index"))


@pytest.mark.slow
def test_the_majority_sentence_names_the_setting_it_is_about(tmp_path: Path) -> None:
    """Who is above always guessing the more frequent class is said of a named learning rate, whoever that is."""
    for number, (accuracy, zh, en) in enumerate(
        [
            ({"lora_1": 0.9, "ia3": 0.9}, "每一個的區間都整個在", "every interval lies wholly above"),
            ({"lora_1": 0.5, "ia3": 0.5}, "沒有任何一個的區間整個在", "no interval lies wholly above"),
            ({"lora_1": 0.9, "ia3": 0.5}, "的有 LoRA 1；IA³ 則否", "class: LoRA 1. Not so: IA³."),
        ]
    ):
        made = make(tmp_path / str(number), ("lora_1", "ia3"), accuracy)
        for language, sentence, setting in (
            ("zh", zh, "在原設定下（學習率 2e-5），"),
            ("en", en, "At the learning rate as submitted (2e-5), "),
        ):
            shown = text_of(made.page(f"{language}/index"))
            assert sentence in shown
            assert setting in shown


def test_both_languages_give_the_same_verdicts(tmp_path: Path) -> None:
    """The tables of pairs have the same verdict in each row of either language."""
    made = make(tmp_path, ("lora_1", "lora_2", "ia3"), {"lora_1": 0.9, "lora_2": 0.7, "ia3": 0.69})
    words = {"zh": {"較好": 1, "較差": -1, "差異未達顯著": 0}, "en": {"better": 1, "worse": -1, "not significant": 0}}
    verdicts = {}
    for language in LANGUAGES:
        lines = made.page(f"{language}/comparison").text.splitlines()
        cells = [line.rstrip("| ").rpartition("| ")[2] for line in lines if 'data-from="Verdict.p_holm"' in line]
        verdicts[language] = [words[language][cell] for cell in cells if cell in words[language]]
    assert verdicts["zh"] == verdicts["en"]
    assert set(verdicts["zh"]) == {1, 0, -1}
