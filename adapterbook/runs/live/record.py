"""Define the record of the page's model and adapters, choose its runs, and tell whether it is up to date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from adapterbook.common.cache import fingerprint
from adapterbook.config.book import Book, load_book
from adapterbook.config.paths import Paths
from adapterbook.config.study import LIVE, RateVariant, StudyConfig
from adapterbook.runs.plan import BesideStatus, RunStatus, hash_json, status_beside
from adapterbook.runs.record import Moment, Proportion, RecordPart, SealedRecord, Sha256, SourceInfo
from adapterbook.runs.search import score

Setting = Literal["best", "submitted"]
LeftOutReason = Literal["method", "size"]
Refusal = Literal["architecture", "tokenizer"]
MAX_PARAMS: Final = 40_000_000  # of a base model that is prepared unless book.yaml says otherwise
ANSWERS: Final = "answers.safetensors"  # the probabilities of the compared rows, a matrix an adapter; not for the page
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PROGRAM: Final = ("arithmetic.py", "make.py", "names.py")  # what decides the content of the files
MAX_BYTES: Final = 512 * 1024**2  # of all files, which are read whole
BAD_DIFFERENCE: Final = 0.02  # of an adapter, in the mean: the build and the page say so


class LiveAdapter(RecordPart):
    """Describe an adapter on the page, and how its answers there differ from its run's."""

    run_id: str
    adapter: str
    setting: Setting
    seal: Sha256 = Field(description="Of the run's record")
    file: str = Field(description="Holds the adapter and its head")
    rank: PositiveInt | None = Field(description="Of a LoRA, the largest of its layers; null for other methods")
    mean_difference: Proportion = Field(
        description="Of the probabilities, the largest of a row's labels, over the compared rows"
    )
    max_difference: Proportion
    n_equal: NonNegativeInt = Field(description="Compared rows whose predicted label is the run's")


class LeftOut(RecordPart):
    """Say why an adapter is not on the page."""

    run_id: str
    adapter: str
    setting: Setting
    seal: Sha256 = Field(description="Of the run's record")
    reason: LeftOutReason = Field(
        description="method: it has no form that the page computes; size: it changes whole matrices of the base model"
    )


class LiveStamps(RecordPart):
    """Hold the stamps, which are compared with today's."""

    runs: Sha256 = Field(description="The runs that are shown, and their seals")
    program: Sha256 = Field(description="The modules that prepare the page's files")


class LiveShape(RecordPart):
    """Describe the base model."""

    n_params: PositiveInt
    n_layers: PositiveInt
    n_heads: PositiveInt
    width: PositiveInt
    eps: NonNegativeFloat
    pool: Literal["relu", "tanh"]
    words_per_file: PositiveInt = Field(description="Rows of the word embeddings in each of their files")


class LiveRecord(SealedRecord):
    """Record what was prepared for the page on which readers try the adapters."""

    schema_version: Literal[1] = 1
    source: SourceInfo
    stamps: LiveStamps
    finished_at: Moment
    refusal: Refusal | None = Field(description="Why the base model cannot be shown; null if it can")
    base: LiveShape | None
    n_test: NonNegativeInt = Field(description="Test rows that the answers were compared on, for each adapter")
    adapters: tuple[LiveAdapter, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    sizes: dict[str, PositiveInt] = Field(default_factory=dict, description="Bytes of each file")
    mean_difference: Proportion | None = Field(description="Over all adapters and their rows; null without an adapter")
    max_difference: Proportion | None
    equal_share: Proportion | None = Field(description="Share of answers with the run's predicted label")
    time_s: NonNegativeFloat
    files: dict[str, Sha256] = Field(default_factory=dict, description="SHA-256 of the folder's other files")
    seal: Sha256 | None = Field(default=None, description="SHA-256 over this record without the seal")

    @model_validator(mode="after")
    def _is_whole(self) -> LiveRecord:
        if (self.refusal is None) != (self.base is not None) or (self.refusal is not None and self.adapters):
            raise ValueError("a base model is either described or refused")
        if {adapter.file for adapter in self.adapters} - self.sizes.keys() or not all(map(NAME.fullmatch, self.sizes)):
            raise ValueError("a file has no plain name, or an adapter no file")
        if sum(self.sizes.values()) > MAX_BYTES:
            raise ValueError(f"the files have more than {MAX_BYTES // 1024**2} MiB")
        return self

    @property
    def run_id(self) -> str:
        """Return the name that findings give it."""
        return LIVE

    @property
    def inexact(self) -> bool:
        """Tell whether the page's answers differ too much from the run's, for any adapter."""
        return any(adapter.mean_difference > BAD_DIFFERENCE for adapter in self.adapters)


LiveStatus = BesideStatus[LiveRecord]


def live_folder(paths: Paths, source: str) -> Path:
    """Return the folder of the page's model and adapters, beside those of the runs."""
    return paths.results / source / LIVE


def is_wanted(book: Book | None, statuses: Sequence[RunStatus]) -> bool:
    """Tell whether the page is wanted: as ``book.yaml`` says, or else if the base model is small.

    Without a completed run it is not wanted: there is nothing to show.
    """
    sizes = [
        record.n_total_params - record.n_trainable_params
        for status in statuses
        if (record := status.record) is not None and status.state == "completed"
        if record.n_total_params is not None and record.n_trainable_params is not None
    ]
    if not sizes:
        return False
    said = None if book is None else book.live_adapters
    return max(sizes) <= MAX_PARAMS if said is None else said


def choose_live_runs(study: StudyConfig, statuses: Iterable[RunStatus]) -> dict[tuple[str, Setting], RunStatus]:
    """Return the completed runs that the page shows: of each adapter the first seed, at its best rate and as submitted.

    Parameters
    ----------
    study : StudyConfig
        With a variant for each learning rate of its search, as `select.compute_statuses` returns it. Without a search
        the best is chosen among the variants that differ in the learning rate alone, as the report does.
    """
    in_order = sorted(statuses, key=lambda status: status.run.seed)
    usable = [status for status in in_order if status.state == "completed" and status.record and status.record.seal]
    found: dict[tuple[str, Setting], RunStatus] = {}
    for adapter in dict.fromkeys(status.run.adapter.id for status in usable):
        own = [status for status in usable if status.run.adapter.id == adapter]
        variants: dict[Setting, str | None] = {"best": _best_variant(study, own), "submitted": study.submitted}
        for setting, variant in variants.items():
            first = next((status for status in own if status.run.variant == variant), None)
            if first is not None and first not in found.values():
                found[adapter, setting] = first
    return found


def _best_variant(study: StudyConfig, runs: Sequence[RunStatus]) -> str | None:
    """Return the variant with an adapter's best learning rate, None where there is no choice."""
    adapter = runs[0].run.adapter.id
    searched = {name: variant for name, variant in study.variants.items() if isinstance(variant, RateVariant)}
    if searched:
        return next((name for name, variant in searched.items() if adapter in variant.every_seed_of), None)
    rates = {study.training_of(name).learning_rate: name for name in reversed(study.variants) if _is_plain(study, name)}
    scores = {name: found for name in rates.values()
              if (found := _score([run for run in runs if run.run.variant == name]))}  # fmt: skip
    return max(scores, key=scores.__getitem__) if len(scores) > 1 else None


def _is_plain(study: StudyConfig, variant: str) -> bool:
    """Tell whether a variant differs from the submitted one in the learning rate alone."""
    one, other = (study.training_of(name).model_dump(exclude={"learning_rate"}) for name in (variant, study.submitted))
    return one == other


def _score(runs: Sequence[RunStatus]) -> tuple[float, float] | None:
    """Return how well some seeds did, higher is better, as `Group.score` of the report."""
    records = [run.record for run in runs if run.record is not None]
    if records and records[0].selection is not None:
        return score(records[0].selection)
    losses = [[point.validation_loss for point in record.curve if point.validation_loss is not None]
              for record in records]  # fmt: skip
    return (-fmean(map(min, losses)), 0.0) if losses and all(losses) else None


def stamp_live(chosen: Mapping[tuple[str, Setting], RunStatus]) -> dict[str, str]:
    """Return today's stamps."""
    runs = {f"{adapter} {setting}": (status.id, status.record.seal if status.record else None)
            for (adapter, setting), status in chosen.items()}  # fmt: skip
    return {"runs": hash_json(runs), "program": fingerprint(Path(__file__).with_name(name) for name in PROGRAM)}


def look_up_live(
    study: StudyConfig, statuses: Sequence[RunStatus], paths: Paths
) -> tuple[dict[tuple[str, Setting], RunStatus], LiveStatus | None]:
    """Return the runs that the page shows, and the status of its folder; None where there is no run, or no wish for it.

    Parameters
    ----------
    study : StudyConfig
        As for `choose_live_runs`.
    """
    chosen = choose_live_runs(study, statuses)
    if not chosen or not is_wanted(load_book(paths.book) if paths.book.is_file() else None, statuses):
        return chosen, None
    return chosen, status_beside(LiveRecord, LIVE, paths, statuses[0].run.source, stamp_live(chosen))
