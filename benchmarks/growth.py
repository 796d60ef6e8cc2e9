"""Measure how building the report grows with the number of records (d): time, peak memory, exponent of growth.

Made-up records are copies of real ones with other ids. Only the embedded renderer is measured: we cannot change how
Quarto grows.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import Run, compute_stamps, plan_runs
from adapterbook.runs.record import EpochResult, load_record, seal_record, write_record
from benchmarks.project import change_settings, forget_what_was_made, run_timed
from benchmarks.quantities import Quantity

# Adapters × variants × seeds: a study grows in all three at once.
SHAPES = ((4, 2, 2), (8, 4, 5), (20, 8, 10))
MAX_EXPONENT, MAX_TIME_S, MAX_MEMORY_BYTES = 1.1, 120.0, 1e9


def measure_growth(
    real: Paths,
    source: str,
    repeat: int,
    folder: Path,
    say: Callable[[str], None],
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
) -> list[Quantity]:
    """Build the report from 16, 160 and 1,600 records, each time with an empty cache.

    Parameters
    ----------
    real : Paths
        A project with real results, which the made-up ones are copied from.
    folder : Path
        Holds the projects; removed afterwards.
    """
    times: dict[int, list[float]] = {}
    peaks: dict[int, list[float]] = {}
    projects = {}
    for shape in shapes:
        n = math.prod(shape)
        projects[n] = Paths(shutil.copytree(real.root, folder / str(n)))
        multiply_records(projects[n], source, shape)
    for turn in range(repeat):
        for n, paths in projects.items():
            forget_what_was_made(paths)
            settings = {"SOURCE": source, "RENDERER": "embedded"}
            done = [run_timed(paths, step, watch_memory=True, **settings) for step in ("pages", "site")]
            times.setdefault(n, []).append(sum(step.wall_s for step in done))
            peaks.setdefault(n, []).append(max(step.peak_memory_bytes or 0 for step in done))
            say(f"{n} records, {turn + 1}/{repeat}: {times[n][-1]:.1f} s, {peaks[n][-1] / 1e6:.0f} MB")
    shutil.rmtree(folder)
    largest = max(times)
    quantities = []
    for n in times:
        limits = (MAX_TIME_S, MAX_MEMORY_BYTES) if n == largest else (None, None)
        quantities.append(Quantity(f"growth.time_{n}", "s", times[n], limits[0]))
        quantities.append(Quantity(f"growth.memory_{n}", "B", peaks[n], limits[1]))
    one_go = [[times[n][turn] for n in times] for turn in range(repeat)]
    quantities.append(
        Quantity("growth.exponent", "", [fit_exponent(list(times), seconds) for seconds in one_go], MAX_EXPONENT)
    )
    # The fixed cost of every report hides the growth of small ones; the last step shows it best.
    last = [fit_exponent(list(times)[-2:], seconds[-2:]) for seconds in one_go]
    return [*quantities, Quantity("growth.exponent_last_step", "", last, MAX_EXPONENT)]


def fit_exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return ``b`` of the power law ``seconds = a · size ** b``, fitted by least squares of the logarithms.

    Examples
    --------
    >>> round(fit_exponent([16, 160, 1600], [1.0, 100.0, 10_000.0]), 6)
    2.0
    """
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def multiply_records(paths: Paths, source: str, shape: tuple[int, int, int]) -> int:
    """Replace a copy's results with made-up ones that resemble them; return the number of runs.

    Parameters
    ----------
    shape : tuple of int
        Adapters, variants and seeds. The copy's adapters are repeated under new names.

    Notes
    -----
    Each made-up record is a real one with other ids and slightly different losses, up to date and sealed, beside that
    run's predictions and notebook.
    """
    n_adapters, n_variants, n_seeds = shape
    folder = paths.experiments / "adapters"
    real = paths.results.rename(paths.results.with_name("real"))
    originals = sorted((real / source).glob("*/*/*/record.json"))
    known = [name for name in load_adapters(folder) if any(path.parts[-4] == name for path in originals)]
    template = {f"a{i:02}": known[i % len(known)] for i in range(n_adapters)}
    for name, original in template.items():
        shutil.copy(folder / f"{original}.yaml", folder / f"{name}.yaml")
    for name in load_adapters(folder):
        if name not in template:
            (folder / f"{name}.yaml").unlink()
    variants = {
        f"v{i}": {"title": {"zh": f"變體 {i}", "en": f"Variant {i}"}, "training": {"learning_rate": 2e-5 * 2**i}}
        for i in range(n_variants)
    }
    change_settings(paths, search=None, variants=variants, seeds=list(range(n_seeds)), seeds_on_gpu=None)
    runs = plan_runs(load_study(paths.study), load_adapters(folder), source)
    for number, run in enumerate(runs):
        candidates = [path.parent for path in originals if path.parts[-4] == template[run.adapter.id]]
        _write_like(candidates[number % len(candidates)], run, paths, number)
    shutil.rmtree(real)
    return len(runs)


def _write_like(original: Path, run: Run, paths: Paths, number: int) -> None:
    """Write one made-up run."""
    folder = run.folder(paths)
    folder.mkdir(parents=True)
    for name in ("predictions.parquet", "notebook.ipynb"):
        shutil.copy(original / name, folder)
    record = load_record(original)

    def other(row: EpochResult) -> EpochResult:
        losses = {name: getattr(row, name) for name in ("train_loss", "validation_loss")}
        return row.model_copy(
            update={name: loss * (1 + 1e-4 * number) for name, loss in losses.items() if loss is not None}
        )

    record = record.model_copy(
        update={
            "adapter": record.adapter.model_copy(update={"id": run.adapter.id}),
            "variant": run.variant,
            "seed": run.seed,
            "training": run.training,
            "stamps": compute_stamps(run, paths, {}).model_copy(update={"data": record.stamps.data}),
            "epochs": tuple(other(row) for row in record.epochs),
            "evaluations": (),
        }
    )
    write_record(seal_record(record, folder), folder)
