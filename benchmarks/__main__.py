"""Measure, print the table and write ``results.json``: ``make bench``. Quote it, and the finding, in documents.

``results.json`` holds the numbers of one session on one machine, so it is written only when everything was measured;
``--output`` names another file for a part.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adapterbook.common.errors import AdapterBookError
from adapterbook.common.files import write_atomically
from adapterbook.config.paths import Paths
from adapterbook.runs.select import load_statuses
from benchmarks.finding import compute_finding, render_finding
from benchmarks.first_page import measure_first_page
from benchmarks.growth import measure_growth
from benchmarks.measurements import measure_rebuilds, measure_renderers, measure_training
from benchmarks.project import CODE, copy_project, describe_machine, keep_submitted, run_timed
from benchmarks.quantities import Quantity, format_value
from benchmarks.readme import COSTS, READMES, quote, render_quotation

RESULTS = CODE / "benchmarks" / "results.json"
FINDING = CODE / "benchmarks" / "finding.json"
MINUTES = {"a": 4.0, "b": 1.0, "c": 0.5, "d": 2.0, "e": 0.2}  # on two cores, each time
TITLES = {"a": "training", "b": "rebuilds", "c": "renderers", "d": "growth", "e": "first page"}


class Bench:
    """Copy the projects to measure, each at its first use."""

    def __init__(self, root: Path, source: str, repeat: int, folder: Path, console: Console) -> None:
        self.root, self.source, self.repeat, self.folder, self.console = root, source, repeat, folder, console

    def measure(self, letter: str) -> list[Quantity]:
        """Return the quantities of one measurement."""
        say = partial(self._say, letter)
        say(f"{TITLES[letter]} …")
        if letter == "a":
            return measure_training(self.four_runs, self.source, self.repeat, say)
        if letter == "b":
            return measure_rebuilds(self.reported, self.source, self.repeat, say)
        if letter == "c":
            run_timed(self.reported, "pages", SOURCE=self.source)
            return measure_renderers(self.reported, self.repeat, say)
        if letter == "d":
            return measure_growth(self.reported, self.source, self.repeat, self.folder / "growth", say)
        run_timed(self.reported, "all", SOURCE=self.source, RENDERER="embedded")
        return measure_first_page(self.reported.root / "_site", self.repeat, say)

    @cached_property
    def four_runs(self) -> Paths:
        """Make a copy without results, reduced to the adapters as submitted."""
        paths = copy_project(self.root, self.folder / "four", results=False)
        keep_submitted(paths)
        return paths

    @cached_property
    def reported(self) -> Paths:
        """A copy whose runs are all up to date: of the user's results if they are, else of the four runs' project."""
        if all(status.up_to_date for status in load_statuses(self.root, self.source, None)):
            return copy_project(self.root, self.folder / "reported", results=True)
        self._say("", "this project's results are not all up to date: the adapters as submitted are used instead")
        if not self.four_runs.results.exists():
            run_timed(self.four_runs, "train", SOURCE=self.source)
        return copy_project(self.four_runs.root, self.folder / "reported", results=True)

    def _say(self, letter: str, text: str) -> None:
        self.console.print(f"{letter:1}  {text}", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 even if a limit was exceeded, 2 after an error."""
    options = _parse(arguments)
    console = Console()
    try:
        if options.finding:
            _write(FINDING, compute_finding(options.root.resolve(), options.source))
        if options.finding or options.quote:
            _quote_all()
            return 0
        results = _measure(options, console)
    except AdapterBookError as error:
        print(error, file=sys.stderr)
        return 2
    console.print(_table(results))
    output = options.output or (RESULTS if set(options.only) == set(MINUTES) else None)
    if output is None:
        console.print("A part only: no file was written; --output names one.")
    else:
        _write(output, results)
    return 0


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _quote_all() -> None:
    """Write the measurements into the documents on costs, and the finding into the READMEs."""
    results, finding = (json.loads(path.read_text("utf-8")) for path in (RESULTS, FINDING))
    for language in READMES:
        quote(render_quotation(results, language), CODE / COSTS[language], "bench")
        quote(render_finding(finding, language), CODE / READMES[language], "finding")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what AdapterBook costs.")
    parts = ", ".join(f"{letter} {title}" for letter, title in TITLES.items())
    parser.add_argument("--only", default=",".join(MINUTES), help=f"some of: {parts}; such as a,b")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured, 1 to 10")
    parser.add_argument("--source", default="embedded", help="a name in experiments/sources/")
    parser.add_argument("--root", type=Path, default=CODE, help="the project that is copied and measured")
    parser.add_argument("--output", type=Path, help="where to write the results of a part")
    parser.add_argument("--quote", action="store_true", help="measure nothing; quote the last results in documents")
    parser.add_argument("--finding", action="store_true", help="write finding.json from the records, and quote it")
    options = parser.parse_args(arguments)
    options.only = options.only.replace(",", " ").split()
    unknown = [letter for letter in options.only if letter not in MINUTES]
    if unknown or not options.only:
        parser.error(f"--only: expected some of {', '.join(MINUTES)}, got {' '.join(unknown) or 'nothing'}")
    if not 1 <= options.repeat <= 10:
        parser.error(f"--repeat: expected 1 to 10, got {options.repeat}")
    return options


def _measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return everything that goes into ``results.json``."""
    minutes = sum(MINUTES[letter] for letter in set(options.only)) * options.repeat
    console.print(f"About {minutes:.0f} minutes on two cores, if nothing else runs on them; nothing is changed here.")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "repeat": options.repeat,
        "source": options.source,
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "machine": describe_machine(),
    }
    with tempfile.TemporaryDirectory(prefix="adapterbook-bench-") as folder:
        bench = Bench(options.root.resolve(), options.source, options.repeat, Path(folder), console)
        quantities = [found for letter in MINUTES if letter in options.only for found in bench.measure(letter)]
    return about | {"quantities": [quantity.to_json() for quantity in quantities]}


def _table(results: Mapping[str, Any]) -> Table:
    machine = results["machine"]
    commit = machine["git"]["commit"][:10] + ("+" if machine["git"]["dirty"] else "") if machine["git"] else "no commit"
    title = f"{machine['device_name']}, {machine['n_cores']} cores, {results['date']}, {commit}"
    table = Table("quantity", "median", "samples", "limit", "", title=title)
    for entry in results["quantities"]:
        unit, limit = entry["unit"], entry["limit"]
        judgement = {True: "ok", False: "OVER", None: ""}[entry["ok"]]
        samples = " ".join(format_value(sample, unit) for sample in entry["samples"])
        table.add_row(entry["id"], format_value(entry["median"], unit), samples,
                      "" if limit is None else format_value(limit, unit), judgement)  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
