"""Write the tables about the baselines: what an adapter adds to each, and how the linear probe was chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, BaselineKind, Comparison, Verdict
from adapterbook.pages.tables.cells import Column
from adapterbook.pages.tables.writer import TableWriter


class BaselineTables(TableWriter):
    """Provide the tables about the baselines."""

    def gains(self, comparison: Comparison) -> Markup:
        """Return by how much each adapter is more accurate than each baseline that has results."""
        columns = [Column("adapter", cell=lambda cells, adapter: cells.adapter_link(adapter), align="l")]
        tested: dict[BaselineKind, str | None] = {
            "head_only": comparison.baseline,
            "linear_probe": None,
            "full_fine_tuning": comparison.full_fine_tuning,
        }
        for kind, name in tested.items():
            pairs = {str(pair.a): pair for pair in comparison.against_baseline(kind)}
            if pairs:
                heading = self.words.label(["baseline", kind]) if name is None else self.words.name(name)
                columns.append(Column("baseline", align="l", heading=heading, cell=_gain_in(pairs)))
        adapters = [adapter for adapter in self.report.adapters.values() if adapter.baseline is None]
        return self._numbered("gains", columns, adapters) if len(columns) > 1 and adapters else Markup()

    def probe(self) -> Markup:
        """Return the penalties that were tried for the linear probe, with the rows that each got right."""
        record = self.report.probe.record
        if record is None:
            return Markup()
        n = self.tools.derived(self.report.probe, ["record", "splits", record.chosen_on, "n"], "count")
        cells = []
        for i, choice in enumerate(record.grid):
            right = self.tools.derived(self.report.probe, ["record", "grid", i, "n_right"], "count")
            cells.append([
                self.tools.derived(self.report.probe, ["record", "grid", i, "C"], "plain"),
                Markup(f"{right} / {n}"),
                self.words.label("kept_mark") if choice.C == record.C else None,
            ])  # fmt: skip
        columns = (Column("C"), Column("rows_right"), Column("kept", align="l"))
        return self._numbered("probe", columns, (), extra=cells)


def _gain_in(pairs: Mapping[str, Verdict]) -> Callable[[Any, AdapterReport], str | None]:
    """Return the cell of an adapter's difference from a baseline, or of why there is none."""

    def cell(cells: Any, adapter: AdapterReport) -> str | None:
        pair = pairs.get(adapter.id)
        if pair is not None and pair.reason is not None and pair.difference is None:
            return str(cells.words.reason(pair.reason))
        return None if pair is None else cells.difference(pair)

    return cell
