"""Put the test sentences side by side, as every adapter predicts them.

A page holds all of them, unless they are too many or too long for it. Then some are chosen without any prediction: the
test rows in order of their ids are cut into equal parts, and the first row of each part is taken. Runs that were tested
on different texts are not put side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import AdapterReport, Reason, RunReport, SentenceRow, SentenceTable
from adapterbook.analysis.single_run import shown_answers
from adapterbook.common.cache import Cache
from adapterbook.config.paths import Paths
from adapterbook.runs.predictions import load_predictions

if TYPE_CHECKING:
    import pandas as pd

# What a page holds at most: each reader has to load it.
MAX_SENTENCES = 1000
MAX_LETTERS = 250_000


def compare_sentences(adapters: Mapping[str, AdapterReport], paths: Paths, cache: Cache) -> SentenceTable:
    """Return the sentences with what each adapter makes of them.

    Where runs were tested on different texts, those that the most runs share are taken.
    """
    runs: dict[str, RunReport] = {}
    left_out: dict[str, Reason] = {}
    for name, adapter in adapters.items():
        group = adapter.best or adapter.submitted
        run = None if group is None else group.representative
        if run is not None and run.predictions is not None:
            runs[name] = run
        elif run is not None:
            left_out[name] = run.reason or "no_predictions"
        else:
            left_out[name] = (None if group is None else group.reason) or adapter.reason or "no_runs"
    samples = {name: _load_sample(run, paths, cache) for name, run in runs.items()}
    identities = Counter(sample["identity"] for sample in samples.values())
    if not identities:
        return SentenceTable((), (), left_out, None)
    shared = identities.most_common(1)[0][0]  # of equals the first
    chosen = {name: sample for name, sample in samples.items() if sample["identity"] == shared}
    for name in samples:
        if name not in chosen:
            left_out[name] = "different_rows"
    rows = [_row(parts) for parts in zip(*(sample["rows"] for sample in chosen.values()), strict=True)]
    by_label = next(iter(runs.values())).confusion
    many = by_label is not None and len(by_label.counts) > 2  # these stand label by label
    rows.sort(key=lambda row: (row.label if many else 0, not row.divided, -row.spread, row.row_id))
    n_test = next(iter(chosen.values()))["n"]
    return SentenceTable(tuple(runs[name] for name in chosen), tuple(rows), left_out, n_test)


def sample_sentences(predictions: pd.DataFrame) -> dict[str, Any]:
    """Return the chosen rows of a run's predictions, and what tells its test rows from others.

    Returns
    -------
    dict
        ``n`` test rows; ``identity``, the SHA-256 of all ids, labels and texts; ``rows``, a dict a chosen row.
    """
    table = predictions.sort_values("row_id", kind="stable").reset_index(drop=True)
    n = len(table)
    texts = [table["row_id"].tolist(), table["label"].tolist(), table["text"].tolist()]
    letters = int(table["text"].str.len().sum())
    most = max(1, min(n, MAX_SENTENCES, n * MAX_LETTERS // max(1, letters)))
    chosen = [i * n // most for i in range(most)]
    return {
        "n": n,
        "identity": hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
        "rows": shown_answers(table).loc[chosen].to_dict("records"),
    }


def _load_sample(run: RunReport, paths: Paths, cache: Cache) -> dict[str, Any]:
    folder = run.run.folder(paths)

    def make() -> bytes:
        return json.dumps(sample_sentences(load_predictions(folder))).encode()

    content = (folder / "predictions.parquet").read_bytes()
    sample: dict[str, Any] = json.loads(cache.get("sentences", [content], make))
    return sample


def _row(parts: tuple[dict[str, Any], ...]) -> SentenceRow:
    """Return one sentence as all runs predicted it."""
    probabilities = tuple(part["probability"] for part in parts)
    return SentenceRow(
        row_id=parts[0]["row_id"],
        text=parts[0]["text"],
        label=parts[0]["label"],
        predictions=tuple(part["prediction"] for part in parts),
        probabilities=probabilities,
        confidences=tuple(part["confidence"] for part in parts),
        spread=max(probabilities) - min(probabilities),
    )
