"""Format numbers for readers: the answers are known by hand."""

from __future__ import annotations

from typing import Any

import pytest

from adapterbook.common.formatting import FORMATS, format_number


@pytest.mark.parametrize(
    ("value", "kind", "zh", "en"),
    [
        (0.9375, "percent", "93.8%", "93.8%"),
        (0.0, "percent", "0.0%", "0.0%"),
        (0.515, "percent_bare", "51.5", "51.5"),
        (-0.03125, "points", "−3.1", "−3.1"),
        (0.03125, "points", "+3.1", "+3.1"),
        (-0.0001, "points", "0.0", "0.0"),
        (0.057, "points_unsigned", "5.7", "5.7"),
        (0.05, "points_short", "5", "5"),
        (0.025, "points_short", "2.5", "2.5"),
        (0.8, "percent_short", "80%", "80%"),
        (0.05 / 6, "percent_short", "0.833%", "0.833%"),
        (0.69314718, "loss", "0.6931", "0.6931"),
        (0.69314718, "loss_short", "0.693", "0.693"),
        (0.00012, "loss_short", "0.0001", "0.0001"),
        (-0.00123, "signed_loss", "−0.0012", "−0.0012"),
        (-0.00001, "signed_loss", "0.0000", "0.0000"),
        (0.55555, "proportion", "0.556", "0.556"),
        (1.23456, "norm", "1.23", "1.23"),
        (0.0, "norm", "0", "0"),
        (0.0000123, "norm", "1.23e−5", "1.23e−5"),
        (2951426, "count", "2,951,426", "2,951,426"),
        (224, "plain", "224", "224"),
        (0.1, "plain", "0.1", "0.1"),
        (0.0004, "p", "< 0.001", "< 0.001"),
        (0.0124, "p", "0.012", "0.012"),
        (2e-5, "rate", "2e-5", "2e-5"),
        (0.05, "rate", "5e-2", "5e-2"),
        (0.5, "rate", "0.5", "0.5"),
        (0.0, "rate", "0", "0"),
        (48.25, "duration", "48.2\u00a0秒", "48.2\u00a0s"),
        (59.96, "duration", "1\u00a0分\u00a00\u00a0秒", "1\u00a0min\u00a00\u00a0s"),
        (133.4, "duration", "2\u00a0分\u00a013\u00a0秒", "2\u00a0min\u00a013\u00a0s"),
        (5400, "duration", "1\u00a0小時\u00a030\u00a0分", "1\u00a0h\u00a030\u00a0min"),
        (512, "bytes", "512\u00a0位元組", "512\u00a0bytes"),
        (5_315_000, "bytes", "5.3\u00a0MB", "5.3\u00a0MB"),
        (999_960, "bytes", "1.0\u00a0MB", "1.0\u00a0MB"),
        (15.61, "per_second", "15.6\u00a0列/秒", "15.6\u00a0rows/s"),
    ],
)
def test_formats_as_each_language_writes_it(value: float, kind: str, zh: str, en: str) -> None:
    """Each kind of number has its digits, its separators and its unit in both languages."""
    assert (zh, en) == (format_number(value, kind, "zh"), format_number(value, kind, "en"))


@pytest.mark.parametrize("value", [None, True, "0.5", [1]])
def test_refuses_what_is_no_number(value: Any) -> None:
    """A missing value, a flag or a text is not a number in any format."""
    with pytest.raises(TypeError, match="a number was expected"):
        format_number(value, "loss", "en")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", FORMATS)
def test_refuses_what_is_not_finite(value: float, kind: str) -> None:
    """NaN and infinity never reach a page."""
    with pytest.raises(ValueError, match="a finite number was expected"):
        format_number(value, kind, "en")


def test_refuses_an_unknown_format_and_half_a_count() -> None:
    """A misspelt format and a count that is not whole are errors that name themselves."""
    with pytest.raises(ValueError, match="there is no format 'percents'"):
        format_number(0.5, "percents", "en")
    with pytest.raises(ValueError, match=r"a count is a whole number, got 1\.5"):
        format_number(1.5, "count", "zh")
