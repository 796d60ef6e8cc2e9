"""Count how often the verdict from three seeds of two adapters contradicts the verdict from their other seeds.

``python -m benchmarks.verdict_stability RESULTS/lora_3/lr-1e-3 RESULTS/ia3/lr-1e-2``: two folders that hold the runs of
several seeds, ten say. Each choice of three seeds of the one and three of the other is one report, the seeds left over
are another. Only this pair is tested, so no p-value is corrected: a correction would only take verdicts back.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapterbook.analysis.comparison import choose_kind
from adapterbook.analysis.shapes import VerdictKind
from adapterbook.common.errors import AdapterBookError, RecordError
from adapterbook.common.stats import estimate_difference
from adapterbook.runs.predictions import load_predictions

Right = NDArray[np.bool_]
Kinds = tuple[VerdictKind, VerdictKind]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts; return 0, or 2 after an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict_stability", description=__doc__)
    parser.add_argument("a", type=Path, help="the folder of an adapter's variant, with a folder a seed")
    parser.add_argument("b", type=Path, help="the same of another adapter")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds the smaller report has")
    parser.add_argument("--margin", type=float, default=0.05, help="the study's margin")
    options = parser.parse_args(arguments)
    try:
        right_a, right_b = load_right_rows(options.a), load_right_rows(options.b)
        counts = count_verdicts(right_a, right_b, options.seeds, options.margin)
    except AdapterBookError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.seeds} seeds of each against the others, {len(right_a)} and {len(right_b)} in all:")
    for (few, rest), count in counts.most_common():
        print(f"{count:8,}  {few} from {options.seeds}, {rest} from the others")
    n, wrong = counts.total(), count_contradictions(counts)
    print(f"{wrong:8,}  of {n:,} contradict each other, better against worse: {wrong / n:.1%}")
    return 0


def load_right_rows(folder: Path) -> list[Right]:
    """Return which test rows each seed predicted right; the rows are in order of their ids.

    Raises
    ------
    RecordError
        If there are fewer than two seeds, or they were tested on different rows.
    """
    tables = [load_predictions(file.parent) for file in sorted(folder.glob("seed-*/predictions.parquet"))]
    tables = [table.sort_values("row_id") for table in tables]
    if len(tables) < 2:
        raise RecordError(f"{folder}: expected the runs of at least two seeds, got {len(tables)}")
    if any(table["row_id"].tolist() != tables[0]["row_id"].tolist() for table in tables):
        raise RecordError(f"{folder}: its seeds were tested on different rows")
    return [(table["label"] == table["prediction"]).to_numpy() for table in tables]


def count_verdicts(right_a: Sequence[Right], right_b: Sequence[Right], n_few: int, margin: float) -> Counter[Kinds]:
    """Return how often each verdict from ``n_few`` seeds of either adapter meets each verdict from the others.

    Raises
    ------
    RecordError
        If no seeds would be left.
    """
    if not 0 < n_few < min(len(right_a), len(right_b)):
        raise RecordError(f"{n_few} seeds of {len(right_a)} and {len(right_b)}: expected some, and some left over")
    a, b = np.array(right_a), np.array(right_b)
    counts: Counter[Kinds] = Counter()
    for seeds_a in combinations(range(len(a)), n_few):
        for seeds_b in combinations(range(len(b)), n_few):
            few = _verdict(a[list(seeds_a)], b[list(seeds_b)], margin)
            rest = _verdict(np.delete(a, seeds_a, axis=0), np.delete(b, seeds_b, axis=0), margin)
            counts[few, rest] += 1
    return counts


def count_contradictions(counts: Counter[Kinds]) -> int:
    """Return how often one of the two verdicts is better and the other is worse."""
    return counts["better", "worse"] + counts["worse", "better"]


def _verdict(a: Right, b: Right, margin: float) -> VerdictKind:
    estimate = estimate_difference(a, b)
    return choose_kind(estimate.value, estimate.p_different(), estimate.p_within(margin))


if __name__ == "__main__":
    sys.exit(main())
