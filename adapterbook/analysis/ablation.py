"""Compare variants that differ in one factor alone, and decide which case of a page's sentences applies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapterbook.analysis.modules import compare_learned, compute_growth
from adapterbook.analysis.shapes import (
    Ablation,
    AboveMajority,
    AdapterReport,
    BatchSizeFinding,
    BestRates,
    EpochsReport,
    EvaluationCost,
    Factor,
    Finding,
    Group,
    LearningRateFinding,
    OneAnswer,
    VariantReport,
)
from adapterbook.analysis.strategies import (
    choose_eval_run,
    compare_strategies,
    compute_eval_views,
    compute_rule_costs,
)
from adapterbook.config.study import StudyConfig

# The training argument of a factor. Evaluation strategies need no variants: one training tells of them all.
FACTOR_KEYS: dict[Factor, str] = {
    "learning_rate": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
}


def describe_variants(study: StudyConfig, groups: Mapping[tuple[str, str], Group]) -> tuple[VariantReport, ...]:
    """Return every variant with the arguments in which it differs from the submitted one."""
    submitted = study.training_of(study.submitted).model_dump()
    reports = []
    for name, variant in study.variants.items():
        training = study.training_of(name)
        changed = tuple(key for key, value in training.model_dump().items() if value != submitted[key])
        adapters = tuple(adapter for adapter, in_variant in groups if in_variant == name)
        reports.append(VariantReport(name, variant.title, training, changed, adapters))
    return tuple(reports)


def find_family(variants: Sequence[VariantReport], factor: Factor) -> tuple[str, ...]:
    """Return the largest set of at least two variants that differ in one factor alone, in order of its value.

    Among sets of the same size the first in the study is taken; variants with the same value count once.
    """
    families: dict[str, dict[Any, VariantReport]] = {}
    for variant in variants:
        rest = variant.training.model_dump(exclude={FACTOR_KEYS[factor]})
        families.setdefault(repr(rest), {}).setdefault(getattr(variant.training, FACTOR_KEYS[factor]), variant)
    largest = max(families.values(), key=len, default={})
    if len(largest) < 2:
        return ()
    return tuple(variant.name for _, variant in sorted(largest.items(), key=lambda item: item[0]))


def compute_ablation(
    factor: Factor,
    variants: Sequence[VariantReport],
    groups: Mapping[tuple[str, str], Group],
    adapters: Mapping[str, AdapterReport],
    majority: float | None,
    reference: str | None,
) -> Ablation:
    """Return the variants of one factor side by side, with the reason where the study has none.

    Parameters
    ----------
    groups : mapping
        Every group of the study by (adapter, variant).
    adapters : mapping
        In the order in which a page names them.
    majority : float or None
        Test accuracy of always guessing the more frequent class.
    reference : str or None
        The adapter that the others are described against.
    """
    if factor == "eval_strategy":
        return _compare_eval_strategies(groups, adapters, reference)
    family = find_family(variants, factor)
    with_results = {key: group for key, group in groups.items() if key[1] in family and group.n_completed}
    n_variants = Counter(adapter for adapter, _ in with_results)
    shown = tuple(dict.fromkeys(adapter for adapter, _ in groups if n_variants[adapter] >= 2))
    by_name = {variant.name: variant for variant in variants}
    planned = [groups[name, variant] for variant in family for name in adapters if (name, variant) in groups]
    compared = {
        name: tuple(with_results[name, variant] for variant in family if (name, variant) in with_results)
        for name in adapters
        if name in shown
    }
    findings: tuple[Finding, ...] = ()
    if factor == "learning_rate":
        head = next((adapter for adapter in adapters.values() if adapter.head_only), None)
        findings = _learning_rate_findings(family, compared, majority, head)
    elif factor == "batch_size":
        lowest = min(filter(None, (_lowest_loss(adapter.best) for adapter in adapters.values())), default=None)
        findings = tuple(_batch_size_finding(name, members, lowest) for name, members in compared.items())
    return Ablation(
        factor=factor,
        variants=family,
        values={name: getattr(by_name[name].training, FACTOR_KEYS[factor]) for name in family},
        adapters=shown,
        groups=with_results,
        reason=None if family else "no_variants",
        findings=findings,
        without_result=tuple(group for group in planned if not group.n_completed),
        learned_ratios=compare_learned(adapters, reference, family) if factor == "learning_rate" else (),
        growth=compute_growth(adapters.get(reference or "")) if factor == "learning_rate" else None,
        epochs=compute_epochs(list(groups.values())) if factor == "epochs" else None,
    )


def _compare_eval_strategies(
    groups: Mapping[tuple[str, str], Group], adapters: Mapping[str, AdapterReport], reference: str | None
) -> Ablation:
    """Return what every strategy would have kept of one training: no variants are needed."""
    run = choose_eval_run(run for group in groups.values() for run in group.runs)
    views = compute_eval_views(run)
    return Ablation(
        factor="eval_strategy",
        variants=(),
        values={},
        adapters=(),
        groups={},
        reason="not_evaluated" if run is None else None,
        eval_run=run,
        eval_views=views,
        eval_finding=compare_strategies(views),
        rule_costs=compute_rule_costs(adapters),
        evaluation_costs=_evaluation_costs(adapters, reference),
    )


def find_best_rates(adapters: Mapping[str, AdapterReport], family: Sequence[str]) -> BestRates:
    """Return where the adapters did best; ``family`` holds the variants by rising learning rate."""
    best = {name: adapter.best for name, adapter in adapters.items() if adapter.best is not None}
    first = next(iter(best.values()), None)
    tried = {name: [variant for variant in family if variant in adapters[name].groups] for name in best}
    records = {name: [run.record for group in adapter.groups.values() for run in group.runs if run.record is not None]
               for name, adapter in adapters.items()}  # fmt: skip
    return BestRates(
        adapters=tuple(best),
        shared=first if len({group.variant for group in best.values()}) == 1 else None,
        at_edge=tuple(
            name
            for name, group in best.items()
            if len(tried[name]) > 1 and group.variant in (tried[name][0], tried[name][-1])
        ),
        several_tried=bool(family),
        on_selection=any(
            group.searched.record is not None and group.searched.record.selection for group in best.values()
        ),
        extended=tuple(name for name, own in records.items() if any(record.extends_grid for record in own)),
    )


def _learning_rate_findings(
    family: Sequence[str],
    compared: Mapping[str, Sequence[Group]],
    majority: float | None,
    head: AdapterReport | None,
) -> tuple[LearningRateFinding, ...]:
    """Return how the adapters did at each rate at which one was evaluated."""
    findings = []
    for variant in family:
        members = [group for groups in compared.values() for group in groups if group.variant == variant]
        above = compare_with_majority(members, majority) or AboveMajority((), ())
        if any(group.course != "not_evaluated" for group in members):
            overfit, improving, level = (
                tuple(group.adapter for group in members if group.course == course)
                for course in ("overfit", "improving", "level")
            )
            n_steps = next(filter(None, map(_n_steps, members)), 0)
            gaps = _gaps_to_head(members, None if head is None else head.groups.get(variant))
            findings.append(
                LearningRateFinding(
                    variant, n_steps, members[0].training.learning_rate * n_steps / 2, overfit, improving, level,
                    above.above, above.not_above, _one_answers(members), tuple(gaps), max(gaps.values(), default=None),
                )
            )  # fmt: skip
    return tuple(findings)


def _n_steps(group: Group) -> int | None:
    """Return the number of steps of one run."""
    record = None if group.representative is None else group.representative.record
    if record is None or record.splits is None:
        return None
    if record.steps:
        return record.steps[-1].step
    return round(
        math.ceil(record.splits.train.n / group.training.per_device_train_batch_size) * record.epochs[-1].epoch
    )


def _one_answers(groups: Sequence[Group]) -> tuple[OneAnswer, ...]:
    """Return the adapters that predict one label for nearly every test row with every seed, label by label."""
    found = []
    for label in sorted({group.one_answer for group in groups if group.one_answer is not None}, reverse=True):
        same = [group for group in groups if group.one_answer == label]
        runs = [run for group in same for run in group.runs if run.completed]
        counts, always = [run.n_one_answer for run in runs], runs[0].always
        assert always is not None
        names = tuple(group.adapter for group in same)
        found.append(OneAnswer(label, names, min(counts), max(counts), always.n, always.accuracy, always.f1))
    return tuple(found)


def _gaps_to_head(groups: Sequence[Group], head: Group | None) -> dict[str, float]:
    """Return the largest difference of validation loss to the baseline, of the adapters that stay within its noise."""
    if head is None or head.overfitting is None or not head.overfitting.noise:
        return {}
    losses = {epoch: value.mean for epoch, value in head.curve.values("validation_loss")}
    gaps = {}
    for group in groups:
        shared = [abs(value.mean - losses[epoch]) for epoch, value in group.curve.values("validation_loss")
                  if epoch in losses]  # fmt: skip
        same_rate = group.training.head_learning_rate is None  # of the head: as in the baseline, the only one
        if same_rate and group.adapter != head.adapter and shared and max(shared) < head.overfitting.noise:
            gaps[group.adapter] = max(shared)
    return gaps


def _lowest_loss(group: Group | None) -> float | None:
    return None if group is None or group.best_validation_loss is None else group.best_validation_loss.mean


def compare_with_majority(groups: Iterable[Group | None], majority: float | None) -> AboveMajority | None:
    """Return whose test interval lies above the accuracy of the majority class, None where that is not known."""
    if majority is None:
        return None
    tested = {
        group.adapter: group.test_interval.low > majority
        for group in groups
        if group is not None and group.test_interval is not None
    }
    return AboveMajority(
        tuple(name for name, above in tested.items() if above),
        tuple(name for name, above in tested.items() if not above),
    )


def _batch_size_finding(adapter: str, groups: tuple[Group, ...], lowest: float | None) -> BatchSizeFinding:
    """Return one adapter's finding; ``lowest`` is the lowest validation loss at any learning rate of the study."""
    losses = [(loss, group) for group in groups if (loss := _lowest_loss(group)) is not None]
    loss, best = min(losses, key=lambda item: item[0], default=(None, None))
    return BatchSizeFinding(
        adapter=adapter,
        groups=groups,
        best=best,
        lowest_of_all=loss is not None and lowest is not None and loss < lowest,
        overfit=tuple(group.variant for group in groups if group.course == "overfit"),
        intervals_overlap=_all_overlap(groups),
    )


def _all_overlap(groups: Sequence[Group]) -> bool | None:
    """Return whether the groups' test intervals share a point, None where no group has one."""
    intervals = [group.test_interval for group in groups if group.test_interval is not None]
    if not intervals:
        return None
    return max(interval.low for interval in intervals) <= min(interval.high for interval in intervals)


def _evaluation_costs(adapters: Mapping[str, AdapterReport], reference: str | None) -> tuple[EvaluationCost, ...]:
    """Return what evaluating added to the submitted runs of the reference and of the head-only baseline."""
    costs = []
    for name, adapter in adapters.items():
        run = None if adapter.submitted is None else adapter.submitted.representative
        record = None if run is None else run.record
        if (name != reference and not adapter.head_only) or run is None or record is None or record.splits is None:
            continue
        evaluating, training = record.evaluation_time_s, record.train_time_s
        n_evaluations = sum(point.validation_loss is not None for point in record.curve)
        if training and evaluating and evaluating < training and n_evaluations:
            forwards = 1 if adapter.head_only else 2
            rows = n_evaluations * record.splits.validation.n
            trained = record.epochs[-1].epoch * record.splits.train.n
            costs.append(
                EvaluationCost(run, forwards, rows / (forwards * trained), evaluating / (training - evaluating))
            )
    return tuple(costs)


def compute_epochs(groups: Sequence[Group]) -> EpochsReport:
    """Return how many groups overfit, and which most: the one whose loss ended farthest above its lowest."""
    evaluated = [(group, group.overfitting) for group in groups if group.overfitting is not None]
    rises = {
        (group.adapter, group.variant): found.final_validation_loss - found.best_validation_loss
        for group, found in evaluated
        if found.onset_epoch is not None
        and found.final_validation_loss is not None
        and found.best_validation_loss is not None
    }
    best_epochs = [(found.best_epoch, group) for group, found in evaluated if found.best_epoch is not None]
    return EpochsReport(
        n_groups=len(best_epochs),
        n_overfitting=len(rises),
        n_still_improving=sum(epoch == group.curve.values("validation_loss")[-1][0] for epoch, group in best_epochs),
        most=max(rises, key=rises.__getitem__, default=None),
    )
