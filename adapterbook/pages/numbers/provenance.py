"""Find where the numbers of a page come from: commits, and the days of its runs, as the records say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from adapterbook.analysis.shapes import RunReport
from adapterbook.common.formatting import Language

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
COMMIT_LETTERS = 8  # of a commit's hash, as a reader sees it


@dataclass(frozen=True)
class Provenance:
    """The facts that the last line of a page tells.

    Attributes
    ----------
    commits : tuple of str
        Every commit that a run was made from, sorted.
    dirty : bool
        Whether a run was made while tracked files differed from its commit.
    outside_git : bool
        Whether a run was made outside a git checkout.
    first, last : date
        Days, in UTC, on which the earliest and the latest of the runs ended.
    """

    commits: tuple[str, ...]
    dirty: bool
    outside_git: bool
    first: date
    last: date


def provenance_of(runs: Iterable[RunReport]) -> Provenance | None:
    """Return where the numbers of these runs come from, ``None`` where none of them has a record."""
    records = [run.record for run in runs if run.record is not None]
    if not records:
        return None
    states = [record.git for record in records]
    days = sorted(_day(record.finished_at) for record in records)
    return Provenance(
        commits=tuple(sorted({state.commit for state in states if state is not None})),
        dirty=any(state is not None and state.dirty for state in states),
        outside_git=any(state is None for state in states),
        first=days[0],
        last=days[-1],
    )


def format_date(day: date, language: Language) -> str:
    """Return a day as the language writes it.

    Examples
    --------
    >>> format_date(date(2026, 3, 1), "zh"), format_date(date(2026, 3, 1), "en")
    ('2026 年 3 月 1 日', '1 March 2026')
    """
    if language == "zh":
        return f"{day.year} 年 {day.month} 月 {day.day} 日"
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def format_days(first: date, last: date, language: Language) -> str:
    """Return a range of days, with a shared month and year written once.

    Examples
    --------
    >>> format_days(date(2026, 3, 1), date(2026, 3, 4), "zh"), format_days(date(2026, 3, 1), date(2026, 3, 4), "en")
    ('2026 年 3 月 1 日至 4 日', '1–4 March 2026')
    >>> format_days(date(2026, 3, 31), date(2026, 4, 1), "en")
    '31 March 2026 – 1 April 2026'
    """
    end = format_date(last, language)
    if first == last:
        return end
    if (first.year, first.month) != (last.year, last.month):
        return f"{format_date(first, language)}{'至' if language == 'zh' else ' – '}{end}"
    return f"{format_date(first, language)}至 {last.day} 日" if language == "zh" else f"{first.day}–{end}"


def format_moment(moment: datetime, language: Language) -> str:
    """Return a day and a time, in UTC, as the language writes them.

    Examples
    --------
    >>> format_moment(datetime(2026, 3, 1, 9, 5, tzinfo=UTC), "en")
    '1 March 2026, 09:05 UTC'
    """
    utc = moment.astimezone(UTC)
    day, time = format_date(utc.date(), language), f"{utc:%H:%M}"
    return f"{day} {time}（UTC）" if language == "zh" else f"{day}, {time} UTC"


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
