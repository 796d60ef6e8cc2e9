"""Check that lines stand out in both themes, and that readers who do not see all colours tell them apart."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from adapterbook.figures.style import BASELINES, KNOWN_ADAPTERS, OTHER_COLORS, adapter_styles, variant_style

Colour = NDArray[np.float64]  # shape (3,): red, green, blue, linear light in [0, 1]

# Machado, Oliveira & Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency",
# severity 1.0.
SIGHTS: Final = {
    "all colours": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# CSS Filter Effects 1, hue-rotate(180deg); the style sheets turn figures round by invert(0.9) and this.
HUE_ROTATION: Final = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
PAPER: Final = {"light": "#ffffff", "dark": "#15181c"}
THEMES: Final = ("light", "dark")
SETS: Final = {
    "adapters": [*(style.color for style in (*KNOWN_ADAPTERS.values(), *BASELINES.values())), *OTHER_COLORS],
    "variants": [variant_style(position, 4).color for position in range(4)],
}


def encoded(colour: str) -> Colour:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])


def linear(channels: Colour) -> Colour:
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def shown(colour: str, theme: str) -> Colour:
    """Return a figure's colour as the theme shows it."""
    channels = encoded(colour)
    if theme == "dark":
        channels = np.clip(HUE_ROTATION @ (0.9 - 0.8 * channels), 0, 1)
    return linear(channels)


def luminance(colour: Colour) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ colour)


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: Colour) -> Colour:
    """Return CIE 1976 L*a*b*, of the white D65; a difference of 2.3 is just noticed."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    x, y, z = np.cbrt(to_xyz @ colour / np.array([0.95047, 1.0, 1.08883]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: Colour, other: Colour, sight: str) -> float:
    first, second = (lab(np.clip(SIGHTS[sight] @ colour, 0, 1)) for colour in (one, other))
    return float(np.linalg.norm(first - second))


def test_contrast_is_the_one_of_wcag() -> None:
    """Black on white is 21 to 1, and #767676 the palest grey that text may have on white (WCAG 2, 1.4.3)."""
    assert contrast(linear(encoded("#000000")), linear(encoded("#ffffff"))) == pytest.approx(21)
    assert contrast(linear(encoded("#767676")), linear(encoded("#ffffff"))) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", THEMES)
def test_each_line_stands_out_from_the_page(theme: str) -> None:
    """What one has to see to read a figure has a contrast of 3 to 1 with the page (WCAG 2.1, 1.4.11)."""
    paper = linear(encoded(PAPER[theme]))
    pale = {
        colour: round(contrast(shown(colour, theme), paper), 2)
        for colours in SETS.values()
        for colour in colours
        if contrast(shown(colour, theme), paper) < 3
    }
    assert pale == {}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_colours_look_the_same(sight: str, theme: str) -> None:
    """Any two colours that may meet in a figure are four times as far apart as any eye needs."""
    near = [
        (one, other)
        for colours in SETS.values()
        for one, other in combinations(colours, 2)
        if distance(shown(one, theme), shown(other, theme), sight) < 9.2
    ]
    assert near == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_ramp_is_ordered(theme: str) -> None:
    """Each of eight learning rates has more contrast with the page than the one before, and the first has 3 to 1."""
    paper = linear(encoded(PAPER[theme]))
    contrasts = [contrast(shown(variant_style(place, 8).color, theme), paper) for place in range(8)]
    assert contrasts == sorted(contrasts) and contrasts[0] >= 3


def test_colour_is_never_alone() -> None:
    """Any two of the known adapters, and any two of eight variants, differ in their markers as well."""
    for styles in ([*KNOWN_ADAPTERS.values(), *BASELINES.values()], [variant_style(place, 8) for place in range(8)]):
        assert len({style.marker for style in styles}) == len(styles)
    known_markers = {style.marker for style in [*KNOWN_ADAPTERS.values(), *BASELINES.values()]}
    others = adapter_styles(f"adapter-{n}" for n in range(100)).values()
    assert not known_markers & {style.marker for style in others}
