"""Compare a measured quantity's median with its limit, and format it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """Hold one measured quantity.

    Attributes
    ----------
    id : str
        ``<measurement>.<name>``, unique.
    unit : str
        ``s``, ``B``, or empty for a number without one.
    limit : float or None
        The highest allowed median; None: there is no limit.
    """

    id: str
    unit: str
    samples: Sequence[float]
    limit: float | None = None

    @property
    def median(self) -> float:
        """Return the median of the samples."""
        return statistics.median(self.samples)

    @property
    def ok(self) -> bool | None:
        """Tell whether the limit is kept; None if there is no limit."""
        return None if self.limit is None else self.median <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Return all fields, the median, and whether the limit is kept."""
        return asdict(self) | {"median": self.median, "ok": self.ok}


def load_quantities(results: Mapping[str, Any]) -> dict[str, Quantity]:
    """Return the quantities of a ``results.json`` by id."""
    fields = ("id", "unit", "samples", "limit")
    return {entry["id"]: Quantity(**{name: entry[name] for name in fields}) for entry in results["quantities"]}


def format_value(value: float, unit: str) -> str:
    """Return a value with its unit, to about three digits.

    Examples
    --------
    >>> format_value(98.04, "s"), format_value(1.234, "s"), format_value(0.7134, ""), format_value(245_700, "B")
    ('98 s', '1.2 s', '0.71', '246 KB')
    """
    if unit == "B":
        return f"{value / 1e6:,.0f} MB" if value >= 1e6 else f"{value / 1e3:,.0f} KB"
    if unit == "s":
        return f"{value:,.0f} s" if value >= 20 else f"{value:,.1f} s" if value >= 1 else f"{value * 1000:,.0f} ms"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}"
