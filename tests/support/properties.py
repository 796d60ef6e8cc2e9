"""Check a claim on examples that Hypothesis draws, the same ones each time; the slow variant checks many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Example = TypeVar("Example")
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking an example that takes seconds would take many minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def how_many(few: int, many: int) -> pytest.MarkDecorator:
    """Give a test the number ``n`` of its examples."""
    variants = [pytest.param(few, marks=pytest.mark.brief), pytest.param(many, marks=pytest.mark.slow)]
    return pytest.mark.parametrize("n", variants)


def try_each(examples: st.SearchStrategy[Example], n: int, check: Callable[[Example], object]) -> None:
    """Check ``n`` examples."""

    @settings(SETTINGS, max_examples=n)
    @given(examples)
    def run(example: Example) -> None:
        check(example)

    run()
