"""Compute the report from the states of a study's runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from adapterbook.analysis.ablation import (
    compare_with_majority,
    compute_ablation,
    describe_variants,
    find_best_rates,
    find_family,
)
from adapterbook.analysis.calibration import compute_calibration
from adapterbook.analysis.comparison import choose_headline, compare_adapters, compare_with_probe
from adapterbook.analysis.costs import compute_baselines, compute_costs
from adapterbook.analysis.groups import describe_adapter, group_runs
from adapterbook.analysis.live import describe_live
from adapterbook.analysis.modules import compute_size_ratios
from adapterbook.analysis.probe import describe_probe
from adapterbook.analysis.published import compare_with_published
from adapterbook.analysis.sentences import compare_sentences
from adapterbook.analysis.shapes import (
    AboveMajority,
    AdapterReport,
    Basis,
    Factor,
    Group,
    ProbeReport,
    Report,
    RunReport,
    SourceReport,
    VariantReport,
)
from adapterbook.analysis.single_run import describe_run
from adapterbook.analysis.travel import describe_travel
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.errors import ConfigError
from adapterbook.config.paths import Paths
from adapterbook.config.source import PublishedResults, SourceConfig, Wording, load_source
from adapterbook.config.study import AdapterConfig, RateVariant, StudyConfig
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.record import Record

LAST = (None, "full_fine_tuning", "head_only")  # the baselines follow the adapters, in this order
STATES: tuple[Literal["completed", "failed", "missing", "broken"], ...] = ("completed", "failed", "missing", "broken")


def analyse(
    statuses: Sequence[RunStatus],
    paths: Paths,
    study: StudyConfig,
    adapters: Mapping[str, AdapterConfig],
    published: Mapping[str, PublishedResults],
    cache: Cache = NO_CACHE,
) -> Report:
    """Return the report on a study's runs.

    Parameters
    ----------
    statuses : sequence of RunStatus
        Every planned run, from ``runs.plan_runs`` and ``runs.status_of``.
    paths : Paths
        Where the runs' predictions are read from.
    published : mapping
        Published results by the name that ``source.published`` of a record gives (``homework``); may be empty.
    cache : Cache, optional
        Holds summaries of predictions, intervals over seeds and the tests of pairs. The report is the same with and
        without it.
    """
    runs = tuple(describe_run(status, status.run.folder(paths), cache) for status in statuses)
    groups = group_runs(runs, cache)
    variants = describe_variants(study, groups)
    family = _learning_rate_family(study, variants)
    reports = _describe_adapters(study, adapters, groups, family)
    bases: tuple[Basis, ...] = get_args(Basis)
    probe = describe_probe(statuses[0].run.source, study.data, paths, cache) if statuses else ProbeReport(None)
    comparisons = {
        basis: replace(
            compare_adapters(reports, basis, study.margin, cache),
            probe=compare_with_probe(reports, basis, probe, study.margin, cache),
        )
        for basis in bases
    }
    headline, headline_submitted = choose_headline(reports, comparisons["best"], comparisons["submitted"])
    source = describe_source(runs, paths)
    states = Counter(run.state for run in runs)
    factors: tuple[Factor, ...] = get_args(Factor)
    baselines = compute_baselines(runs, reports, probe, source.n_labels)
    majority = next(baseline.accuracy for baseline in baselines if baseline.kind == "majority")
    reference = _reference(adapters)
    ablations = {factor: compute_ablation(factor, variants, groups, reports, majority, reference) for factor in factors}
    return Report(
        study=study,
        source=source,
        runs=runs,
        n_by_state={state: states[state] for state in STATES},
        n_stale=sum(bool(run.stale) for run in runs),
        adapters=reports,
        variants=variants,
        reference=reference,
        headline=headline,
        headline_submitted=headline_submitted,
        comparisons=comparisons,
        above_majority={basis: _above_majority(reports, basis, majority) for basis in bases},
        size_ratios=compute_size_ratios(reports),
        best_rates=find_best_rates(reports, ablations["learning_rate"].variants),
        baselines=baselines,
        probe=probe,
        live=describe_live(study, statuses, paths),
        costs=compute_costs(reports, family),
        calibration=compute_calibration(reports, paths, cache),
        published=compare_with_published(groups, source, published),
        ablations=ablations,
        travel=describe_travel(runs, reports, ablations, reference, cache),
        sentences=compare_sentences(reports, paths, cache),
        n_test_rows=next((run.predictions.n for run in runs if run.predictions is not None), None),
        n_seeds=len({run.run.seed for run in runs}),
        spread_known=any(group.n_completed for group in groups.values())
        and all(group.spread_known for group in groups.values() if group.n_completed),
    )


def describe_source(runs: Sequence[RunReport], paths: Paths) -> SourceReport:
    """Return where the records come from, and whether all come from the same base model and data."""
    records = [run.record for run in runs if run.record is not None and run.completed]
    sources = [record.source for record in records]
    published = {source.published for source in sources}
    file = _load_source_file(records[0], paths) if records else None
    return SourceReport(
        names=tuple(sorted({source.name for source in sources})),
        base_models=tuple(sorted({source.base_model for source in sources})),
        datasets=tuple(sorted({source.dataset for source in sources})),
        device_names=tuple(sorted({record.environment.device_name for record in records})),
        reason_taken=sources[0].reason if sources else None,
        mixed=len({(source.base_model_sha256, source.dataset_sha256) for source in sources}) > 1,
        published=published.pop() if len(published) == 1 else None,
        wording=_find_wording(records[0], file) if records else None,
        base_model_licence=None if file is None else file.base_model_licence,
        dataset_licence=None if file is None else file.dataset_licence,
    )


def _load_source_file(record: Record, paths: Paths) -> SourceConfig | None:
    """Return the file of a record's source as it is today; None if there is none of that name."""
    try:
        source = load_source(paths.experiments / "sources" / f"{record.source.name}.yaml")
    except ConfigError:
        return None
    return source if source.name == record.source.name else None


def _find_wording(record: Record, source: SourceConfig | None) -> Wording:
    """Return what the source's file calls task and labels today, or what it did when the run was trained."""
    if source is None or list(source.labels or ()) not in ([], list(record.source.labels)):
        return record.wording
    return source.wording(record.source.labels)


def _above_majority(
    adapters: Mapping[str, AdapterReport], basis: Basis, majority: float | None
) -> AboveMajority | None:
    """Return which adapters are above the majority class, None where that class is not known or is always right."""
    if majority is not None and majority >= 1:
        return None
    groups = [adapter.submitted if basis == "submitted" else adapter.best for adapter in adapters.values()]
    return compare_with_majority(groups, majority)


def _reference(adapters: Mapping[str, AdapterConfig]) -> str | None:
    trained = [name for name, config in adapters.items() if config.baseline is None]
    return "lora_1" if "lora_1" in trained else next(iter(trained), None)


def _describe_adapters(
    study: StudyConfig,
    adapters: Mapping[str, AdapterConfig],
    groups: Mapping[tuple[str, str], Group],
    family: Sequence[str],
) -> dict[str, AdapterReport]:
    reference = _reference(adapters)
    return {
        name: describe_adapter(
            config,
            None if reference is None or name == reference else adapters[reference],
            {variant: group for (adapter, variant), group in groups.items() if adapter == name},
            study.submitted,
            family,
        )
        for name, config in sorted(adapters.items(), key=lambda item: LAST.index(item[1].baseline))  # sorted is stable
    }


def _learning_rate_family(study: StudyConfig, variants: Sequence[VariantReport]) -> tuple[str, ...]:
    """Return the variants of the search, or else the submitted one and those that differ in the learning rate alone."""
    searched = tuple(name for name, variant in study.variants.items() if isinstance(variant, RateVariant))
    if searched:
        return searched
    alone = [variant for variant in variants if set(variant.changed) <= {"learning_rate"}]
    return find_family(alone, "learning_rate") or (study.submitted,)
