"""Test the search for learning rates: which runs follow from which results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adapterbook.common.errors import ConfigError
from adapterbook.config.study import AdapterConfig, BilingualText, SearchConfig, StudyConfig, load_study
from adapterbook.runs.plan import Run
from adapterbook.runs.record import TestResult as Result
from adapterbook.runs.search import Outcome, find_run, plan_study
from tests.support.factory import PROJECT

LORA = AdapterConfig(id="lora", peft_type="LORA", settings={}, title=BilingualText(zh="LoRA", en="LoRA"))
IA3 = AdapterConfig(id="ia3", peft_type="IA3", settings={}, title=BilingualText(zh="IA3", en="IA3"))
HEAD = AdapterConfig(
    id="head", peft_type="IA3", settings={}, title=BilingualText(zh="Head", en="Head"), train_adapter=False
)
GRID = {"LORA": (1e-3, 3e-4), "default": (1e-2,)}


def _study(**search: object) -> StudyConfig:
    study = load_study(PROJECT.study)
    settings = {"learning_rates": GRID, "title": "{rate}", "training": {"head_learning_rate": 1e-3}, **search}
    return study.model_copy(
        update={
            "search": SearchConfig.model_validate(settings),
            "variants": {"submitted": study.variants["submitted"]},
            "seeds": (2, 1, 3),
        }
    )


def _scores(scores: Mapping[tuple[str, float], float | None]) -> Callable[[Run], Outcome | None]:
    """Give a run of the search its selection accuracy: None for one that failed; no outcome for all others."""

    def outcome(run: Run) -> Outcome | None:
        key = (run.adapter.id, run.training.learning_rate)
        if run.variant == "submitted" or key not in scores:
            return None
        accuracy = scores[key]
        return Outcome(None if accuracy is None else Result(n=100, accuracy=accuracy, f1=0.5, loss=1 - accuracy))

    return outcome


def _planned(scores: Mapping[tuple[str, float], float | None], *adapters: AdapterConfig, **search: object) -> list[str]:
    _, runs = plan_study(_study(**search), {one.id: one for one in adapters}, "embedded", (2, 1, 3), _scores(scores))
    return [run.id for run in runs if run.variant != "submitted"]


def test_a_grid_runs_with_the_lowest_seed_and_the_protocol_with_all() -> None:
    """Without results, every rate of an adapter's grid has one run, in rising order; the protocol has one a seed."""
    study, runs = plan_study(_study(), {"lora": LORA, "ia3": IA3}, "embedded", (2, 1, 3), _scores({}))
    assert list(study.variants) == ["submitted", "lr-3e-4", "lr-1e-3", "lr-1e-2"]
    assert [run.id for run in runs] == [
        *(f"{name}/submitted/seed-{seed}" for name in ("lora", "ia3") for seed in (2, 1, 3)),
        "lora/lr-3e-4/seed-1", "lora/lr-1e-3/seed-1", "ia3/lr-1e-2/seed-1",
    ]  # fmt: skip
    assert all(run.training.head_learning_rate == 1e-3 for run in runs if run.variant != "submitted")


def test_the_next_rate_outwards_is_added_while_the_best_lies_at_an_edge() -> None:
    """The best of 3e-4 and 1e-3 is 1e-3: 3e-3 is added, and then 1e-2, but no more than the study allows."""
    scores: dict[tuple[str, float], float | None] = {("lora", 3e-4): 0.6, ("lora", 1e-3): 0.7}
    assert _planned(scores, LORA)[-1] == "lora/lr-3e-3/seed-1"
    scores["lora", 3e-3] = 0.8
    assert _planned(scores, LORA)[-1] == "lora/lr-1e-2/seed-1"
    scores["lora", 1e-2] = 0.9
    assert _planned(scores, LORA, max_added=2)[-3:] == [f"lora/lr-1e-2/seed-{seed}" for seed in (2, 1, 3)]
    assert _planned(scores, LORA, max_added=3)[-1] == "lora/lr-3e-2/seed-1"


def test_a_run_that_was_added_says_why() -> None:
    """An added run names the edge and its accuracy; those of the study's own grid do not."""
    scores = {("lora", 3e-4): 0.7, ("lora", 1e-3): 0.6}
    _, runs = plan_study(_study(), {"lora": LORA}, "embedded", (1,), _scores(scores))
    why = {run.training.learning_rate: run.extends_grid for run in runs if run.variant != "submitted"}
    assert why[3e-4] is None and why[1e-3] is None
    assert (added := why[1e-4]) is not None
    assert (added.edge_learning_rate, added.edge_selection_accuracy) == (3e-4, 0.7)


def test_the_best_rate_inside_the_grid_runs_with_every_seed() -> None:
    """An accuracy that falls on both sides ends the search; a tie is decided by the lower loss."""
    scores = {("lora", 3e-4): 0.6, ("lora", 1e-3): 0.7, ("lora", 3e-3): 0.65}
    assert _planned(scores, LORA) == [
        "lora/lr-3e-4/seed-1", *(f"lora/lr-1e-3/seed-{seed}" for seed in (2, 1, 3)), "lora/lr-3e-3/seed-1",
    ]  # fmt: skip


def test_a_rate_that_failed_is_worse_than_any_other() -> None:
    """A rate that diverged bounds the grid; an adapter whose every rate diverged has no best one and adds none."""
    assert _planned({("lora", 3e-4): 0.6, ("lora", 1e-3): 0.7, ("lora", 3e-3): None}, LORA)[1:4] == [
        f"lora/lr-1e-3/seed-{seed}" for seed in (2, 1, 3)
    ]
    assert len(_planned({("lora", 3e-4): None, ("lora", 1e-3): None}, LORA)) == 2


def test_an_unfinished_grid_decides_nothing() -> None:
    """While a rate has no result, neither is one added nor the best one repeated."""
    assert _planned({("lora", 1e-3): 0.7}, LORA) == ["lora/lr-3e-4/seed-1", "lora/lr-1e-3/seed-1"]


def test_what_trains_the_head_alone_has_one_learning_rate() -> None:
    """The search's rate of the head does not apply to the baseline, whose learning rate is the head's."""
    _, runs = plan_study(_study(), {"head": HEAD}, "embedded", (1,), _scores({}))
    assert [run.training.head_learning_rate for run in runs] == [None, None]


def test_a_variant_with_a_head_rate_for_the_head_alone_is_refused() -> None:
    """Such a setting would have no effect, so it is an error that says what to set instead."""
    study = _study()
    submitted = study.variants["submitted"].model_copy(update={"training": {"head_learning_rate": 1e-3}})
    study = study.model_copy(update={"variants": {"submitted": submitted}})
    with pytest.raises(ConfigError, match="head_learning_rate has no effect on head, which trains the head alone"):
        plan_study(study, {"head": HEAD}, "embedded", (1,), _scores({}))


def test_an_adapter_without_rates_is_named() -> None:
    """A search that covers neither an adapter nor its method, and has no default, says what to add."""
    with pytest.raises(ConfigError, match="no rates for ia3: add ia3, IA3 or default"):
        _planned({}, LORA, IA3, learning_rates={"LORA": (1e-3,)})


def test_a_mistyped_name_is_named_and_that_of_an_absent_adapter_is_not() -> None:
    """Rates under a name that is nearly an adapter's would silently do nothing; those of a deleted adapter may."""
    with pytest.raises(ConfigError, match=r"learning_rates: LORAA has no effect: correct it \(LORA"):
        _planned({}, LORA, IA3, learning_rates={"LORAA": (1e-2,), "default": (1e-3,)})
    _planned({}, LORA, learning_rates={"full": (1e-2,), "IA3": (1e-2,), "default": (1e-3,)})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_selection: 512", "n_selection: 0", "search chooses on the selection rows: set data.n_selection"),
        ("LORA: [3.0e-4, 1.0e-3, 3.0e-3]", "LORA: []", "search.learning_rates.LORA: .*at least 1"),
        ("LORA: [3.0e-4, 1.0e-3, 3.0e-3]", "LORA: [0.0]", "search.learning_rates.LORA.*greater than 0"),
        ("  batch-4:", "  lr-4:", "names that begin with lr- are those of the search"),
        ("head_learning_rate: 1.0e-3 ", "head_rate: 1.0e-3 ", "search.training.head_rate: unknown key"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A grid without a rate, no rows to choose on, a name that is taken: one message before the first run."""
    text = PROJECT.study.read_text("utf-8")
    assert old in text
    path = tmp_path / "study.yaml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load_study(path)


def test_a_run_of_the_search_is_found_by_its_ids() -> None:
    """The notebook finds a rate that was added, with any seed; one that the search cannot reach it does not find."""
    study, adapters = _study(), {"lora": LORA}
    run = find_run(study, adapters, "embedded", "lora", "lr-3e-3", 7)
    assert run is not None
    assert (run.training.learning_rate, run.seed, run.id) == (3e-3, 7, "lora/lr-3e-3/seed-7")
    assert find_run(study, adapters, "embedded", "lora", "lr-5e-1", 7) is None
    assert find_run(study, adapters, "embedded", "other", "submitted", 7) is None
