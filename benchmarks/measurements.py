"""Measure training (a), rebuilds (b) and the two renderers (c), in copies of the project.

The two sides of a comparison take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from adapterbook.common.errors import RunError
from adapterbook.config.paths import Paths
from adapterbook.runs.record import Record, load_record, seal_record, write_record
from adapterbook.sources.resolve import fetch_source, resolve_source
from benchmarks.project import forget_what_was_made, run_timed
from benchmarks.quantities import Quantity

Say = Callable[[str], None]

SAME_LOSS = 2e-3  # nat: padding and the number of threads change only the last digits of a loss
STEMS = "甲乙丙丁戊己庚辛壬癸"  # a new word, and maybe a new glyph in the fonts, each time
TORCH = re.compile(r"^import time:.*\|\s+torch$", re.MULTILINE)
PUBLISHED = (".quarto", ".cache", "_site")


def measure_training(paths: Paths, source: str, repeat: int, say: Say) -> list[Quantity]:
    """Train a project's adapters with the bare loop and with ``make train``, in turns; the last results are kept.

    Raises
    ------
    RunError
        If the validation losses of the two sides differ.
    """
    fetched = fetch_source(resolve_source(source, paths))
    bare, made, shares = [], [], []
    for turn in range(repeat):
        loop = run_timed(paths, str(paths.root), source, str(fetched.base_model), str(fetched.dataset),
                         module="benchmarks.bare_loop")  # fmt: skip
        bare.append(loop.wall_s)
        shutil.rmtree(paths.results, ignore_errors=True)
        train = run_timed(paths, "train", SOURCE=source)
        made.append(train.wall_s)
        records = [load_record(path.parent) for path in sorted(paths.results.glob("*/*/*/*/record.json"))]
        check_same(records, json.loads(loop.output.strip().splitlines()[-1]))
        workers = re.search(r"(\d+) at a time", train.output)
        shares.append(compute_shares(records, train.wall_s, int(workers[1]) if workers else 1))
        say(f"{turn + 1}/{repeat}: bare loop {loop.wall_s:.1f} s, make train {train.wall_s:.1f} s, of which "
            f"{shares[-1][0]:.1%} not training and {shares[-1][1]:.1%} waiting at the end")  # fmt: skip
    return [
        Quantity("training.bare_loop", "s", bare),
        Quantity("training.make_train", "s", made),
        Quantity("training.ratio", "", [b / a for a, b in zip(bare, made, strict=True)], 0.80),
        Quantity("training.not_training", "", [other for other, _ in shares], 0.10),
        Quantity("training.waiting", "", [waiting for _, waiting in shares]),
    ]


def compute_shares(records: list[Record], wall_s: float, n_workers: int) -> tuple[float, float]:
    """Return the shares of the workers' time that are not training: other work, and waiting at the end.

    Other work is everything beside training and prediction: starting and ending the driver, starting kernels, loading
    models, writing records. Waiting at the end is the time of a worker without a run while another one has the last.
    The runs that ended last, one for each worker, ran side by side, because no worker waits while a run is left.
    """
    last = sorted(record.finished_at for record in records)[-n_workers:]
    waited_s = sum((last[-1] - ended).total_seconds() for ended in last)
    trained_s = sum((record.train_time_s or 0.0) + (record.test_time_s or 0.0) for record in records)
    return 1 - (trained_s + waited_s) / (wall_s * n_workers), waited_s / (wall_s * n_workers)


def check_same(records: list[Record], losses: dict[str, list[float]]) -> None:
    """Check that every record's validation losses are those of the bare loop, given by adapter; raise RunError."""
    problems = []
    for record in records:
        ours = [row.validation_loss for row in record.curve if row.validation_loss is not None]
        bare = losses[record.adapter.id]
        if len(ours) != len(bare) or max(map(abs, (a - b for a, b in zip(ours, bare, strict=True)))) > SAME_LOSS:
            problems.append(f"{record.run_id}: validation losses {ours}, in the bare loop {bare}")
    if problems:
        raise RunError("The bare loop and `make train` did not do the same work:", problems)


def measure_rebuilds(paths: Paths, source: str, repeat: int, say: Say) -> list[Quantity]:
    """Time ``make all`` with all runs up to date: with an empty cache, nothing changed, one word, one record.

    After each change the old content is restored and built, which is the same change again. Those builds log every
    import of every process, so that the timed ones are not slowed down.

    Raises
    ------
    RunError
        If a change does not show in the site, or a site differs though nothing was changed.
    """
    build = partial(run_timed, paths, "all", SOURCE=source, RENDERER="embedded")
    template = paths.templates / "pages" / "overview.qmd.j2"
    record = min(paths.results.glob(f"{source}/*/*/*/record.json"))
    changes: dict[str, tuple[Path, Callable[[int], None]]] = {
        "nothing": (template, lambda turn: None),
        "one_word": (template, partial(_change_word, template)),
        "one_record": (record, partial(_change_record, record.parent)),
    }
    samples: dict[str, list[float]] = {name: [] for name in ("from_nothing", *changes)}
    torch_builds = 0
    for turn in range(repeat):
        forget_what_was_made(paths)
        samples["from_nothing"].append(build().wall_s)
        original = hash_site(paths)
        for name, (file, change) in changes.items():
            before = file.read_bytes()
            change(turn)
            samples[name].append(build().wall_s)
            if (hash_site(paths) == original) != (name == "nothing"):
                raise RunError(
                    f"A build with {name} changed made a site that is {'not ' * (name == 'nothing')}the same."
                )
            file.write_bytes(before)
            torch_builds += bool(TORCH.search(build(PYTHONPROFILEIMPORTTIME="1").output))
        say(f"{turn + 1}/{repeat}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in samples.items()))
    limits = {"nothing": 1.5, "one_word": 4.0}
    times = [Quantity(f"rebuild.{name}", "s", seconds, limits.get(name)) for name, seconds in samples.items()]
    return [*times, Quantity("rebuild.builds_with_torch", "", [torch_builds], 0)]


def hash_site(paths: Paths) -> str:
    """Return a SHA-256 over the names and contents of every page of the site."""
    digest = hashlib.sha256()
    for page in sorted((paths.root / "_site").rglob("*.html")):
        digest.update(f"{page.relative_to(paths.root)}\0".encode() + page.read_bytes())
    return digest.hexdigest()


def _change_word(template: Path, turn: int) -> None:
    """Insert a word before the first full stop."""
    text = template.read_text("utf-8")
    template.write_text(text.replace("。", f"{STEMS[turn]}。", 1), "utf-8")


def _change_record(folder: Path, turn: int) -> None:
    """Change the training loss of a run's first epoch, and seal the record again."""
    record = load_record(folder)
    first, *others = record.epochs
    first = first.model_copy(update={"train_loss": (first.train_loss or 0.0) + 0.01 * (turn + 1)})
    write_record(seal_record(record.model_copy(update={"epochs": (first, *others)}), folder), folder)


def measure_renderers(paths: Paths, repeat: int, say: Say) -> list[Quantity]:
    """Time ``make site`` with an empty cache, with the embedded renderer and with Quarto if it is installed."""
    names = ["embedded", "quarto"]
    if shutil.which("quarto", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}") is None:
        names.remove("quarto")
        say("no quarto on the PATH: there is nothing to compare the embedded renderer with")
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeat):
        for name in names:
            for made in PUBLISHED:
                shutil.rmtree(paths.root / made, ignore_errors=True)
            samples[name].append(run_timed(paths, "site", RENDERER=name).wall_s)
        say(f"{turn + 1}/{repeat}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in samples.items()))
    return [Quantity(f"renderer.{name}", "s", seconds) for name, seconds in samples.items()]
