"""The sentences about who is better: made-up records whose answer is known, read in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_pages import LANGUAGES, MadePages, Qmd, make_study_pages

VARIANT = {"submitted": {"title": {"zh": "原設定", "en": "As submitted"}}}
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
            "LoRA 1 在測試集上的表現比 IA³ 好：512 句測試資料裡，前者答對 461 句，後者答對 307 句",
            "LoRA 1 classifies the test sentences better than IA³, with 461 of 512 right against 307,",
        ),
        (
            {"lora_1": 0.7, "ia3": 0.67},
            "LoRA 1 與 IA³ 的差異未達顯著：512 句測試資料裡，前者答對 358 句，後者答對 343 句",
            "LoRA 1 and IA³ do not differ significantly, with 358 of 512 right against 343,",
        ),
        (
            {"lora_1": 1.0, "ia3": 1.0},
            "LoRA 1 與 IA³ 視為相同，差距在 5 個百分點以內：",
            "LoRA 1 and IA³ are the same within 5 points,",
        ),
    ],
)
def test_one_seed_gives_an_answer_about_the_trained_models(
    tmp_path: Path, accuracy: dict[str, float], zh: str, en: str
) -> None:
    """A win, a tie and two that agree are called what they are, with counts and one interval, of two trained models."""
    made = make(tmp_path, ("lora_1", "ia3"), accuracy)
    for language, sentence in (("zh", zh), ("en", en)):
        shown = answer(made, language)
        assert sentence in shown
        assert shown.startswith(
            {"zh": "在這兩個訓練好的模型之間，", "en": "Between these two trained models: "}[language]
        )
        assert len(INTERVAL[language].findall(shown)) == 1
        assert not re.search(r"\bp\b", shown)  # p-values stand on the comparison page
        overview = text_of(made.page(f"{language}/index"))
        assert {"zh": "換一個隨機種子訓練，結果可能不同", "en": "Training with another seed can give"}[
            language
        ] in overview


def test_three_seeds_give_an_answer_about_the_adapters(tmp_path: Path) -> None:
    """With several seeds the answer names the adapters, and says what its interval covers and what it does not."""
    accuracy = {f"{adapter}/submitted/seed-{seed}": mean + seed / 100
                for adapter, mean in (("lora_1", 0.86), ("ia3", 0.6)) for seed in (1, 2, 3)}  # fmt: skip
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=VARIANT, accuracy=accuracy, seeds=(1, 2, 3))
    for language, sentence, counted, models, covered in (
        ("zh", "LoRA 1 在測試集上的表現比 IA³ 好：平均準確率 88.0% 對 62.0%", "各 3 個種子",
         "訓練好的模型", "不涵蓋另一種資料切分或另一個基礎模型"),
        ("en", "LoRA 1 classifies the test sentences better than IA³, with 88.0% right on average against 62.0%",
         "3 seeds each", "trained models", "neither another split of the data nor another base model"),
    ):  # fmt: skip
        shown = answer(made, language)
        assert shown.startswith(sentence)
        assert counted in shown
        assert INTERVAL[language].search(shown)
        overview = text_of(made.page(f"{language}/index"))
        assert covered in overview
        assert models not in overview


def test_accuracies_over_seeds_have_their_spread_beside_them(tmp_path: Path) -> None:
    """The tables of overview and comparison show standard deviation, lowest and highest; with one seed nothing."""
    accuracy = {f"lora_1/submitted/seed-{seed}": seed * 0.125 for seed in (4, 5, 6)}
    made = make_study_pages(
        tmp_path / "a", adapters=("lora_1", "ia3"), variants=VARIANT, accuracy=accuracy, seeds=(4, 5, 6)
    )
    one = make(tmp_path / "b", ("lora_1", "ia3"), {"lora_1": 0.625})
    for language, spread in (("zh", "標準差 12.5、各種子 50.0–75.0%"), ("en", "sd 12.5, seeds 50.0–75.0%")):
        for page in ("index", "comparison"):
            assert spread in text_of(made.page(f"{language}/{page}"))
            assert spread.split(" ")[0] not in text_of(one.page(f"{language}/{page}")).replace("the", "")


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
        ("zh", "LoRA 1 在測試集上的表現比 LoRA 2 好", "差異顯著的有：LoRA 1 高於 LoRA 2。"),
        ("en", "LoRA 1 classifies the test sentences better than LoRA 2", "after correction: LoRA 1 above LoRA 2."),
    ):
        assert sentence in answer(made, language)
        assert pair in section(made, language, "comparison", "pairs-best")


def test_a_found_difference_is_never_said_without_its_interval(tmp_path: Path) -> None:
    """Each gain over the baseline has its interval behind it, and each pair named as different in the table below."""
    accuracy = {"lora_1": 0.9, "lora_2": 0.62, "ia3": 0.61, "head_only": 0.6}
    made = make(tmp_path, (*accuracy,), accuracy)
    for language, above, better in (
        ("zh", "LoRA 1 高於 LoRA 2；", "就這些訓練好的模型而言，優於只訓練分類頭的有：LoRA 1，"),
        ("en", "LoRA 1 above LoRA 2; ", "Among these trained models, better than the head alone: LoRA 1, "),
    ):
        to = {"zh": "至", "en": "to"}[language]
        shown = section(made, language, "comparison", "pairs-best")
        numbers = rf"\+\d+\.\d (points |個百分點)[(（][+−]?\d+\.\d {to} [+−]?\d+\.\d[)）]"
        assert above in shown
        assert re.search(rf"LoRA 1 − LoRA 2\s*\+\d+\.\d [(（][+−]?\d+\.\d {to} [+−]?\d+\.\d[)）]", shown)
        shown = section(made, language, "index", "answer")
        assert re.search(better + numbers, shown)
        rest = {
            "zh": "與只訓練分類頭差異未達顯著的有：LoRA 2，",
            "en": "Not significantly different from the head alone: LoRA 2, ",
        }
        assert re.search(rest[language] + numbers + "[；;] ?IA³[，,] ?" + numbers, shown)


def test_adapters_that_agree_everywhere_are_the_same_and_why_is_said(tmp_path: Path) -> None:
    """Where models hardly ever disagree, the page does not take the narrow interval for a sharp test."""
    made = make(tmp_path, ("lora_1", "ia3", "head_only"), dict.fromkeys(("lora_1", "ia3", "head_only"), 1.0))
    for language, same, alike in (
        ("zh", "檢定過的每一對，差距都在 5 個百分點以內，視為相同。", "最多只在 0.0% 的句子上不同"),
        (
            "en",
            "Every pair that was tested is the same within 5 points.",
            "they differ on 0.0% of the sentences at most",
        ),
    ):
        shown = section(made, language, "comparison", "pairs-best")
        assert same in shown
        assert alike in shown


def test_the_comparison_says_how_it_tested(tmp_path: Path) -> None:
    """Beside the tables: the two questions, the correction, and that the intervals are not corrected."""
    made = make(tmp_path, ("lora_1", "lora_2", "ia3"), {"lora_1": 0.7, "lora_2": 0.7, "ia3": 0.7})
    for language, parts in (
        ("zh", ["差距會不會達到 5 個百分點", "依 Holm 的方法", "沒有校正", "有 80% 的機率發現",
                "顯著水準為 1.67%，也就是 3 對校正的第一步"]),
        ("en", ["it can be 5 points or more", "Holm’s method", "without correction", "with a probability of 80%",
                "at the level 1.67%, with which the correction for 3 pairs begins"]),
    ):  # fmt: skip
        shown = section(made, language, "comparison", "pairs")
        for part in parts:
            assert part in shown, part


@pytest.mark.slow
def test_the_majority_sentence_names_the_setting_it_is_about(tmp_path: Path) -> None:
    """Who is above always guessing the more frequent class is said of a named learning rate, whoever that is."""
    for number, (accuracy, zh, en) in enumerate(
        [
            ({"lora_1": 0.9, "ia3": 0.9}, "每一個的區間都整個在", "every interval lies wholly above"),
            ({"lora_1": 0.5, "ia3": 0.5}, "沒有任何一個的區間整個在", "no interval lies wholly above"),
            ({"lora_1": 0.9, "ia3": 0.5}, "的有 LoRA 1；IA³ 則否", "class: LoRA 1. This is not so for IA³."),
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
    made = make(tmp_path, ("lora_1", "lora_2", "ia3"), {"lora_1": 0.7, "lora_2": 0.9, "ia3": 0.69})
    words = {"zh": {"較好": 1, "較差": -1, "沒有定論": 0}, "en": {"better": 1, "worse": -1, "undecided": 0}}
    verdicts = {}
    for language in LANGUAGES:
        lines = made.page(f"{language}/comparison").text.splitlines()
        cells = [line.rstrip("| ").rpartition("| ")[2] for line in lines if 'data-from="Verdict.p_holm"' in line]
        verdicts[language] = [words[language][cell] for cell in cells if cell in words[language]]
    assert verdicts["zh"] == verdicts["en"]
    assert set(verdicts["zh"]) == {1, 0, -1}
