"""Write the files that the page loads, and compare their answers on some test rows with the runs'."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load, save
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from adapterbook.common.errors import RecordError
from adapterbook.common.files import replace_folder, write_atomically
from adapterbook.common.machine import count_cores
from adapterbook.config.paths import Paths
from adapterbook.config.study import LIVE
from adapterbook.runs.live.arithmetic import SCALE, WORDS, Encoder
from adapterbook.runs.live.names import (
    Base,
    UnsupportedError,
    Weights,
    pack_adapter,
    pack_base,
    read_base,
    read_tokenizer,
)
from adapterbook.runs.live.record import (
    ANSWERS,
    LeftOut,
    LiveAdapter,
    LiveRecord,
    LiveShape,
    LiveStamps,
    Setting,
    live_folder,
    stamp_live,
)
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.record import Record, seal_record, write_record

Chosen = Mapping[tuple[str, Setting], RunStatus]
TOKENIZER: Final = "tokenizer.json"
ENCODER: Final = "encoder.safetensors"
WORDS_PER_FILE: Final = 2048
N_COMPARED: Final = 128  # test rows, for each adapter
# What a damaged file of a run raises.
UNREADABLE: Final = (RecordError, SafetensorError, OSError, ValueError, LookupError)


def pack_files(packed: Weights, tokenizer: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the base model's files by name: tokenizer, encoder, and the word embeddings in several."""
    files = {TOKENIZER: json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()}
    files |= {ENCODER: save({name: packed[name] for name in packed if name not in (WORDS, WORDS + SCALE)})}
    for number, start in enumerate(range(0, len(packed[WORDS]), WORDS_PER_FILE)):
        rows = slice(start, start + WORDS_PER_FILE)
        content = {name: np.ascontiguousarray(packed[name][rows]) for name in (WORDS, WORDS + SCALE)}
        files[f"words-{number:02d}.safetensors"] = save(content)
    return files


def load_tokenizer(base_model: Path, most_tokens: int | None) -> Tokenizer:
    """Return the base model's tokenizer as the runs used it."""
    tokenizer = Tokenizer.from_file(str(base_model / "tokenizer.json"))
    tokenizer.no_padding()
    if most_tokens is not None:
        tokenizer.enable_truncation(most_tokens)
    return tokenizer


def make_live(chosen: Chosen, paths: Paths, base_model: Path) -> LiveRecord:
    """Prepare the page's model and adapters, and put their folder in the place of the one before.

    Parameters
    ----------
    chosen : mapping
        As `record.choose_live_runs` returns it; not empty.
    base_model : Path
        The folder of the base model that the runs used.

    Raises
    ------
    RecordError
        If a run's predictions cannot be read.
    """
    start = time.monotonic()
    first = next(iter(chosen.values())).record
    assert first is not None
    source = first.source.name
    staging = paths.results / ".staging" / source / LIVE
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    found: dict[str, Any] = {"refusal": None, "base": None, "n_test": 0, "mean_difference": None,
                             "max_difference": None, "equal_share": None}  # fmt: skip
    try:
        found |= _write_files(chosen, paths, base_model, first, staging)
    except UnsupportedError as error:
        found["refusal"] = error.reason
    record = LiveRecord(
        source=first.source,
        stamps=LiveStamps(**stamp_live(chosen)),
        finished_at=datetime.now(UTC),
        sizes={path.name: path.stat().st_size for path in sorted(staging.iterdir())},
        time_s=time.monotonic() - start,
        **found,
    )
    record = seal_record(record, staging)
    write_record(record, staging)
    replace_folder(staging, live_folder(paths, source))
    with suppress(OSError):  # runs may lie beside it, to be continued
        staging.parent.rmdir()
        staging.parent.parent.rmdir()
    return record


def _write_files(chosen: Chosen, paths: Paths, base_model: Path, first: Record, folder: Path) -> dict[str, Any]:
    """Write every file, and return what the record says of them."""
    settings = read_tokenizer(base_model, most_tokens(first))
    base = read_base(base_model)
    packed = pack_base(base)
    for name, content in pack_files(packed, settings).items():
        write_atomically(folder / name, content)
    tokenizer = load_tokenizer(base_model, settings["most_tokens"])
    adapters: list[LiveAdapter] = []
    left_out: list[LeftOut] = []
    answers: dict[str, npt.NDArray[np.float32]] = {}
    for (adapter, setting), status in chosen.items():
        said: dict[str, Any] = {"run_id": status.id, "adapter": adapter, "setting": setting, "seal": _seal_of(status)}
        run = status.run.folder(paths)
        try:
            content = save(pack_adapter(run / "adapter", base))
        except UnsupportedError as error:
            left_out.append(LeftOut.model_validate({**said, "reason": error.reason}))
            continue
        file = f"{adapter}-{setting}.safetensors"
        write_atomically(folder / file, content)
        part = load(content)  # what the page reads
        table = load_compared(run)
        name = f"{adapter}-{setting}"
        answers[name] = answer_rows(base, packed, part, tokenizer, table["text"])
        adapters.append(
            LiveAdapter(
                **said,
                file=file,
                rank=max((len(weight) for key, weight in part.items() if key.endswith(".a")), default=None),
                **compare_answers(answers[name], table),
            )
        )
    if answers:
        write_atomically(folder / ANSWERS, save(answers))
    n_test = max((len(rows) for rows in answers.values()), default=0)
    return {
        "base": LiveShape(n_params=base.n_params, words_per_file=WORDS_PER_FILE, **asdict(base.shape)),
        "n_test": n_test,
        "adapters": adapters,
        "left_out": left_out,
        **_summary(adapters, n_test),
    }


def _summary(adapters: list[LiveAdapter], n_test: int) -> dict[str, float | None]:
    if not adapters:
        return {}
    return {
        "mean_difference": float(np.mean([adapter.mean_difference for adapter in adapters])),
        "max_difference": max(adapter.max_difference for adapter in adapters),
        "equal_share": sum(adapter.n_equal for adapter in adapters) / (n_test * len(adapters)),
    }


def most_tokens(record: Record) -> int | None:
    """Return how many tokens of a text a run's model read, None where that is not known."""
    return record.tokens.max_tokens if record.tokens else None


def load_compared(run: Path) -> pd.DataFrame:
    """Read those of a run's predictions that answers are compared with: some, at even distances."""
    table = load_predictions(run)
    return table.iloc[np.linspace(0, len(table) - 1, min(len(table), N_COMPARED)).round().astype(int)]


def compare_answers(answers: npt.NDArray[np.float32], table: pd.DataFrame) -> dict[str, Any]:
    """Return how far answers are from a run's predictions, by the names of `record.LiveAdapter`."""
    difference = np.abs(answers - class_probabilities(table)).max(axis=1)
    return {
        "mean_difference": float(difference.mean()),
        "max_difference": float(difference.max()),
        "n_equal": int((answers.argmax(axis=1) == table["prediction"].to_numpy()).sum()),
    }


def answer_rows(
    base: Base, packed: Weights, part: Weights, tokenizer: Tokenizer, texts: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return the probability of each label for each text, of shape (texts, labels), as the page computes it."""
    encoder = Encoder(base.shape, packed, part)
    tokens = [encoding.ids for encoding in tokenizer.encode_batch([str(text) for text in np.asarray(texts)])]
    with threadpool_limits(1), ThreadPoolExecutor(count_cores()) as pool:
        return np.asarray([*pool.map(encoder.probabilities, tokens)], dtype=np.float32)


def _seal_of(status: RunStatus) -> str | None:
    return None if status.record is None else status.record.seal
