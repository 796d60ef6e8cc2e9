"""Check the picture that a link to the site is shown with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import Cache
from adapterbook.config.study import BilingualText
from adapterbook.figures import card, draw_cards, remove_cards
from adapterbook.figures.headline import headline_lines
from adapterbook.pages.head import CARD_SIZE
from tests.support.factory import FIGURE_WORDS, PHRASES, read_report, write_results

TITLE = BilingualText(zh="參數高效微調", en="Parameter-efficient fine-tuning")
SUBTITLE = BilingualText(zh="三種 LoRA 與 IA³ 的比較", en="Three LoRA configurations and IA³")
SUBMITTED = {"submitted": {"title": "As submitted"}}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two adapters, one run each."""
    root = tmp_path_factory.mktemp("card")
    return read_report(write_results(root, adapters=["lora_1", "ia3"], variants=SUBMITTED))


def test_a_card_of_the_size_that_networks_show(report: Report, tmp_path: Path) -> None:
    """There is one card a language, 1200 by 630, light enough to be fetched by a crawler, and they differ."""
    cards = draw_cards(report, TITLE, SUBTITLE, tmp_path, PHRASES)
    assert {language: path.relative_to(tmp_path).as_posix() for language, path in cards.items()} == {
        "zh": "zh/social-card.png",
        "en": "en/social-card.png",
    }
    for path in cards.values():
        with Image.open(path) as image:
            assert image.size == CARD_SIZE
        assert path.stat().st_size < 200_000
    assert cards["zh"].read_bytes() != cards["en"].read_bytes()


def test_the_lines_are_the_headline_s(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card draws each adapter's curve in its own style, and nothing else."""
    drawn = []
    monkeypatch.setattr(card, "draw_band", lambda axes, curve, name, style, label: drawn.append((curve, name, style)))
    draw_cards(report, TITLE, SUBTITLE, tmp_path, PHRASES)
    lines = headline_lines(report, "submitted", FIGURE_WORDS["en"])
    assert len(lines) == 2
    wanted = [(line.curve, name, line.style) for line in lines for name in ("validation_loss", "validation_accuracy")]
    assert drawn == wanted * 2  # languages


def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    """A card has the same bytes from the cache as drawn again; a file that is right stays untouched."""
    cache = Cache(tmp_path / "cache")
    first = draw_cards(report, TITLE, SUBTITLE, tmp_path / "one", PHRASES, cache)["en"]
    os.utime(first, (1, 1))
    assert draw_cards(report, TITLE, SUBTITLE, tmp_path / "one", PHRASES, cache)["en"].stat().st_mtime == 1
    assert draw_cards(report, TITLE, SUBTITLE, tmp_path / "two", PHRASES)["en"].read_bytes() == first.read_bytes()
    other = draw_cards(report, BilingualText(zh="乙", en="B"), SUBTITLE, tmp_path / "one", PHRASES, cache)["en"]
    assert other.read_bytes() != draw_cards(report, TITLE, SUBTITLE, tmp_path / "two", PHRASES)["en"].read_bytes()


def test_without_a_curve_there_is_none(tmp_path: Path) -> None:
    """Where no run is completed an earlier card is removed."""
    names = [f"{adapter}/submitted/seed-224" for adapter in ("lora_1", "ia3")]
    report = read_report(
        write_results(tmp_path / "project", adapters=["lora_1", "ia3"], variants=SUBMITTED, missing=names)
    )
    earlier = tmp_path / "figures" / "zh" / "social-card.png"
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    assert draw_cards(report, TITLE, SUBTITLE, tmp_path / "figures", PHRASES) == {}
    assert not earlier.exists()
    remove_cards(tmp_path / "nowhere")


@pytest.mark.parametrize("letter", ["字", "w"])
def test_a_long_title_stays_within_the_card(letter: str) -> None:
    """A long title is written in smaller letters, and a very long one is cut."""
    from matplotlib.figure import Figure

    for n in (1, 20, 50, 200):
        canvas = Figure(figsize=(card.WIDTH, card.HEIGHT), dpi=card.DPI)
        card._write(canvas, letter * n, 0.9, largest=34, color="black")
        text, size = canvas.texts[0], float(canvas.texts[0].get_fontsize())
        em = {"字": 1.0, "w": 0.56}[letter]
        assert len(text.get_text()) * em * size <= card.WIDTH * 72
        assert size >= 15
        assert text.get_text().endswith("…") == (n == 200)
