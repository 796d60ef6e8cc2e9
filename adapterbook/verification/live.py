"""Check the adapters that readers can try: their record, their files, and both against the base model and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from adapterbook.common.errors import RecordError
from adapterbook.config.paths import Paths
from adapterbook.runs.live.make import (
    TOKENIZER,
    answer_rows,
    compare_answers,
    load_compared,
    load_tokenizer,
    most_tokens,
    pack_files,
)
from adapterbook.runs.live.names import UnsupportedError, pack_adapter, pack_base, read_base, read_tokenizer
from adapterbook.runs.live.record import ANSWERS, LiveAdapter, LiveRecord, LiveStatus, live_folder
from adapterbook.runs.record import load_record
from adapterbook.verification.findings import Finding, find_state_problems, find_wrong_files

Answers = Mapping[str, npt.NDArray[Any]]
N_ROWS: Final = 8  # of each adapter's answers that are computed again
TOLERANCE: Final = 1e-4


def audit_live(paths: Paths, source: str, status: LiveStatus | None, base_model: Path | None) -> list[Finding]:
    """Return every finding about the adapters that readers can try; none where they were not prepared.

    Parameters
    ----------
    status : LiveStatus or None
        As `select.load_live` returns it.
    base_model : Path or None
        Today's base model. None: it is not available, and nothing is computed again.
    """
    if status is None or status.state == "missing":
        return []
    found, record = find_state_problems(status), status.record
    if record is None:
        return found
    folder = live_folder(paths, source)
    found += find_wrong_files(record, folder)
    if found or record.refusal is not None:
        return found
    try:
        answers = load_file(folder / ANSWERS) if record.adapters else {}
        found += _find_other_numbers(record, paths.results / source, answers)
        if base_model is not None:
            found += _find_other_files(record, folder, paths.results / source, answers, base_model)
    except (RecordError, UnsupportedError, SafetensorError, OSError, LookupError) as error:
        found.append(Finding(record.run_id, "its files", f"cannot be read: {' '.join(str(error).split())}"))
    return found


def _find_other_numbers(record: LiveRecord, results: Path, answers: Answers) -> Iterator[Finding]:
    """Yield each number of the record that its stored answers and the runs' predictions do not give."""
    for adapter in record.adapters:
        table = load_compared(results / adapter.run_id)
        for name, computed in compare_answers(answers[_name(adapter)], table).items():
            stated = getattr(adapter, name)
            if abs(stated - computed) > TOLERANCE:
                yield Finding(record.run_id, f"{_name(adapter)}.{name}", f"is {stated}, its answers give {computed}")


def _find_other_files(
    record: LiveRecord,
    folder: Path,
    results: Path,
    answers: Answers,
    base_model: Path,
) -> Iterator[Finding]:
    """Yield each file that the base model and the runs' adapters do not give, and each answer that it does not give."""
    base = read_base(base_model)
    packed = pack_base(base)
    run_ids = [item.run_id for items in (record.adapters, record.left_out) for item in items]
    # All runs of a source cut texts alike.
    settings = read_tokenizer(base_model, most_tokens(load_record(results / run_ids[0])))
    for name, content in pack_files(packed, settings).items():
        if content != (folder / name).read_bytes():
            what = "tokenizer" if name == TOKENIZER else "weights in 8 bits"
            yield Finding(record.run_id, name, f"does not hold the base model's {what}")
    tokenizer = load_tokenizer(base_model, settings["most_tokens"])
    for adapter in record.adapters:
        try:
            content = save(pack_adapter(results / adapter.run_id / "adapter", base))
        except UnsupportedError:
            content = b""
        if content != (folder / adapter.file).read_bytes():
            yield Finding(record.run_id, adapter.file, f"does not hold the adapter of {adapter.run_id}")
            continue
        texts = load_compared(results / adapter.run_id)["text"][:N_ROWS]
        today = answer_rows(base, packed, load(content), tokenizer, texts)
        if np.abs(today - answers[_name(adapter)][:N_ROWS]).max() > TOLERANCE:
            yield Finding(record.run_id, ANSWERS, f"does not hold the answers of {adapter.file}")


def _name(adapter: LiveAdapter) -> str:
    return adapter.file.removesuffix(".safetensors")
