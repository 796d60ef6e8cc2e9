"""Test which runs are trained again first: those out of line with their neighbours, the others by a hash."""

from __future__ import annotations

import pytest

from adapterbook.verification.audit import count_affordable
from adapterbook.verification.choice import Fit, SoundRun, find_neighbours, order_runs
from tests.support.factory import make_record

ADAPTERS = ("lora_1", "lora_2", "lora_3", "ia3", "head_only")
RATES = {"submitted": 2e-5, "lr-1e-3": 1e-3}


def make_runs(**fits: tuple[float, float]) -> list[SoundRun]:
    """Return ten runs of five adapters at two learning rates; `fits` are the shares of training and test rows."""
    runs = []
    for adapter in ADAPTERS:
        for variant, rate in RATES.items():
            train, test = fits.get(f"{adapter}__{variant}".replace("-", "_"), (0.85, 0.70 + rate))
            record = make_record(adapter, variant, training__learning_rate=rate)
            runs.append(SoundRun(record, Fit(train, test, 128, 512)))
    return runs


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        ((0.72, 1.0), "100.0% of the test rows right"),
        ((1.0, 1.0), "100.0% of the test rows right, its neighbours 70"),
        ((0.70, 0.90), "90.0% of the test rows right"),
        ((0.85, 0.50), "50.0% of the test rows right, its neighbours 70"),
        ((0.30, 0.70), "30.0% of the training rows"),
    ],
)
def test_a_run_out_of_line_comes_first(fit: tuple[float, float], reason: str) -> None:
    """A run fitted to the test rows, or spoilt, is trained again before the others, and the reason is said."""
    first, second = order_runs(make_runs(lora_2__submitted=fit))[:2]
    assert first.run_id == "lora_2/submitted/seed-224"
    assert reason in first.reason
    assert second.reason == ""


def test_runs_in_line_are_ordered_by_a_hash_of_all_records() -> None:
    """Any change of any record changes the order, the order of the list does not, and a draw gives another order."""
    runs = make_runs()
    order = [choice.run_id for choice in order_runs(runs)]
    assert [choice.run_id for choice in order_runs(runs[::-1])] == order
    assert sorted(order) == sorted(run.record.run_id for run in runs)
    changed = runs[0].record.model_copy(update={"train_time_s": 0.1})
    assert [choice.run_id for choice in order_runs([SoundRun(changed, runs[0].fit), *runs[1:]])] != order
    assert [choice.run_id for choice in order_runs(runs, b"a word")] != order


def test_a_recorded_time_chooses_nothing() -> None:
    """A cheat cannot call for another run by writing a short time: any run may follow from it, not that one."""
    firsts = set()
    for seconds in range(1, 12):
        runs = make_runs()
        quick = runs[3].record.model_copy(update={"train_time_s": seconds / 1000})
        firsts.add(order_runs([*runs[:3], SoundRun(quick, runs[3].fit), *runs[4:]])[0].run_id)
    assert len(firsts) > 3


def test_neighbours_are_other_seeds_and_the_next_rates() -> None:
    """With three or more of them, only runs of the same adapter are neighbours, and no rate is skipped."""
    runs = [
        SoundRun(make_record(adapter, f"lr-{rate:g}", seed, training__learning_rate=rate), None)
        for adapter in ("lora_1", "ia3")
        for rate in (1e-5, 1e-4, 1e-3, 1e-2)
        for seed in (1, 2)
    ]
    found = {(near.record.adapter.id, near.record.training.learning_rate) for near in find_neighbours(runs[2], runs)}
    assert found == {("lora_1", 1e-5), ("lora_1", 1e-4), ("lora_1", 1e-3)}
    assert runs[2] not in find_neighbours(runs[2], runs)
    assert find_neighbours(runs[0], runs[:1]) == []
    assert len(find_neighbours(runs[8], [runs[0], runs[1], runs[8], runs[9]])) == 3


@pytest.mark.parametrize(
    ("round_s", "left_s", "n"), [(0.0, 0.0, 2), (60.0, 600.0, 20), (60.0, 59.0, 0), (60.0, -5.0, 0)]
)
def test_the_budget_says_how_many_runs_follow(round_s: float, left_s: float, n: int) -> None:
    """The first runs are trained at any rate, more as long as a round fits into what is left of the budget."""
    assert count_affordable(2, round_s, left_s) == n
    assert count_affordable(2, round_s, None) > 1_000_000
