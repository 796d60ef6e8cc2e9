"""Write the page on which readers try the adapters: the data for its script, and the model's files as scripts.

A page opened from a disk may load scripts and nothing else, so each file is in scripts of a few megabytes, as Base64.
They are loaded when the reader asks for them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import LiveReport
from adapterbook.common.formatting import format_number
from adapterbook.config.paths import Paths
from adapterbook.figures.style import style_of
from adapterbook.figures.vega_charts import line_look
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR
from adapterbook.pages.numbers.record_link import RecordLink
from adapterbook.pages.scripts import script_block
from adapterbook.pages.tables.cells import Column
from adapterbook.pages.tables.writer import TableWriter
from adapterbook.pages.words import language_of
from adapterbook.pages.writing.escape import as_markup, isolate_text
from adapterbook.pages.writing.markdown import EDGE
from adapterbook.runs.live.record import ANSWERS, LiveRecord, live_folder

SCRIPTS: Final = "scripts/live"  # below report/
PART_BYTES: Final = 1_500_000  # of a file in one script: what the progress bar moves by
HASH_LETTERS: Final = 8  # in a script's name, so that no browser mixes the files of two builds
MAX_SENTENCES: Final = 60


def shown_record(live: LiveReport) -> LiveRecord | None:
    """Return the record of adapters that can be tried, None without one."""
    return None if live.record is None or not live.record.adapters else live.record


def live_scripts(live: LiveReport, paths: Paths) -> dict[Path, str]:
    """Return the scripts that hold the model's files, by path; none where the adapters cannot be tried."""
    record = shown_record(live)
    if record is None:
        return {}
    folder, scripts = live_folder(paths, record.source.name), {}
    for name in _shipped(record):
        content = (folder / name).read_bytes()
        for number, (script, start) in enumerate(_parts(record, name)):
            part = base64.b64encode(content[start : start + PART_BYTES]).decode()
            scripts[paths.report / SCRIPTS / script] = f'liveFile("{name}",{number},"{part}");\n'
    return scripts


def _shipped(record: LiveRecord) -> list[str]:
    return [name for name in record.sizes if name != ANSWERS]


def _parts(record: LiveRecord, name: str) -> list[tuple[str, int]]:
    """Return the scripts of a file, with the byte that each begins at."""
    stem = f"{name.rpartition('.')[0]}-{record.files[name][:HASH_LETTERS]}"
    return [(f"{stem}-{i}.js", start) for i, start in enumerate(range(0, record.sizes[name], PART_BYTES))]


def _script_bytes(record: LiveRecord, name: str) -> int:
    """Return how many bytes a browser loads for a file: four for each three of it."""
    size = record.sizes[name]
    lengths = (min(PART_BYTES, size - start) for _, start in _parts(record, name))
    return sum(-(-length // 3) * 4 for length in lengths)


def total_bytes(record: LiveRecord) -> int:
    """Return how many bytes all files have as scripts."""
    return sum(_script_bytes(record, name) for name in _shipped(record))


class LiveTables(TableWriter):
    """Provide the data of the page, and the table of how its answers differ from the runs'."""

    def live(self) -> Markup:
        """Return the data of the page's script."""
        record = shown_record(self.report.live)
        words, phrases, language = self.words, self.words.phrases, self.words.language
        if record is None or record.base is None:
            return Markup()
        content = {
            "shape": record.base.model_dump(),
            "max_words": self.report.study.data.max_words,
            "labels": [isolate_text(words.class_name(i).replace(EDGE, "")) for i in range(self.report.source.n_labels)],
            "adapters": list(self._adapters(record)),
            "files": {name: {"bytes": _script_bytes(record, name),
                             "parts": [f"{self._way}/{script}" for script, _ in _parts(record, name)]}
                      for name in _shipped(record)},
            "sentences": [[isolate_text(words.shortened(row.text)), row.label, language_of(row.text)]
                          for row in self.report.sentences.rows[:MAX_SENTENCES]],
            "words": {key: phrases.text("live", key, language) for key in phrases.live if key != "without"},
        }  # fmt: skip
        return script_block("live", content, phrases.text("live", "without", language))

    @property
    def _way(self) -> str:
        return "../" * (self.tools.page.depth + 1) + SCRIPTS

    def _adapters(self, record: LiveRecord) -> Iterator[dict[str, Any]]:
        """Yield each adapter with what is shipped of it."""
        for id in dict.fromkeys(adapter.adapter for adapter in record.adapters):
            settings = {}
            for adapter in record.adapters:
                if adapter.adapter == id:
                    run = self.report.run(adapter.run_id)
                    settings[adapter.setting] = {
                        "file": adapter.file,
                        "rank": adapter.rank,
                        "title": isolate_text(self.words.variant_title(run.run.variant).replace(EDGE, "")),
                        "link": self.tools.address(RecordLink(run, RECORD_ANCHOR)),
                    }
            look = line_look(style_of(self.report, id))
            name = isolate_text(self.words.short_names[id])
            yield {"id": id, "name": name, "color": look["color"], "settings": settings}

    def live_size(self) -> Markup:
        """Return how much room the model and the adapters take in the site."""
        record = shown_record(self.report.live)
        return Markup() if record is None else Markup(format_number(total_bytes(record), "bytes", self.words.language))

    def live_agreement(self) -> Markup:
        """Return for each adapter how its probabilities on the page differ from its run's."""
        record = shown_record(self.report.live)
        if record is None:
            return Markup()
        cells = []
        for i, adapter in enumerate(record.adapters):
            where: list[str | int] = ["record", "adapters", i]
            n = self.tools.derived(self.report.live, ["record", "n_test"], "count")
            equal = self.tools.derived(self.report.live, [*where, "n_equal"], "count")
            run = self.report.run(adapter.run_id)
            cells.append([
                as_markup(self.words.name(adapter.adapter)),
                self.tools.link(run, self.kept_whole(self.words.variant_title(run.run.variant))),
                self.tools.derived(self.report.live, [*where, "mean_difference"], "points_fine"),
                self.tools.derived(self.report.live, [*where, "max_difference"], "points_fine"),
                Markup(f"{equal} / {n}"),
            ])  # fmt: skip
        columns = (Column("adapter", align="l"), Column("variant", align="l"), Column("mean_difference"),
                   Column("max_difference"), Column("n_equal"))  # fmt: skip
        return self._numbered("live_agreement", columns, (), extra=cells)
