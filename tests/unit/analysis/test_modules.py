"""Compare each module's update and the parameter counts by formula with values worked out by hand and published."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adapterbook.analysis.modules import (
    compute_directions,
    compute_formula,
    compute_growth,
    compute_learned,
    name_kinds,
)
from adapterbook.analysis.shapes import ParameterFormula
from adapterbook.config.source import load_published
from adapterbook.config.study import load_adapters
from adapterbook.runs.record import ModuleUpdate, Record
from tests.support.factory import PROJECT, make_record, read_report, write_results

KINDS = ["q_lin", "v_lin", "k_lin", "out_lin", "ffn.lin1", "ffn.lin2"]


def updates(*modules: str, d_in: int = 8, d_out: int = 8, scale: float | None = None) -> list[dict[str, Any]]:
    """Return updates of some modules: 0.1 of the weight for the first, 0.2 for the second, and so on."""
    return [
        ModuleUpdate(module=name, in_features=d_in, out_features=d_out, update_norm=0.1 * i, weight_norm=1.0,
                     scale_deviation=scale).model_dump()
        for i, name in enumerate(modules, 1)
    ]  # fmt: skip


def record_of(learned: Sequence[dict[str, Any]] | None, adapter: str = "lora_1", **config: Any) -> Record:
    """Return a record with given updates and changed keys of its resolved PEFT config."""
    base = make_record(adapter)
    return make_record(adapter, learned=learned, adapter__config=base.adapter.config | config)


def formula_of(record: Record) -> ParameterFormula:
    """Return a record's formula, which must be there."""
    formula = compute_formula(record)
    assert formula is not None
    return formula


def test_each_module_is_measured_against_its_own_weight(tmp_path: Path) -> None:
    """Relative updates, kinds, layers and means follow from the record's modules."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3", "head_only")))
    group, run = report.group("ia3", "lr-1e-3"), report.run("ia3/lr-1e-3/seed-224")
    assert group is not None and group.learned is not None and run.record is not None and run.record.learned
    learned, said = group.learned, run.record.learned
    assert [module.module for module in learned.modules] == [update.module for update in said]
    assert [module.relative_update for module in learned.modules] == [u.update_norm / u.weight_norm for u in said]
    assert [module.scale_deviation for module in learned.modules] == [u.scale_deviation for u in said]
    assert [(kind.name, kind.n_modules) for kind in learned.kinds] == [(name, 6) for name in KINDS]
    assert [(layer.name, layer.n_modules) for layer in learned.layers] == [(str(layer), 6) for layer in range(6)]
    of_lin2 = [module for module in learned.modules if module.kind == "ffn.lin2"]
    shares = [module.relative_update for module in of_lin2]
    kind = learned.kinds[5]
    assert (kind.low, kind.high) == (min(shares), max(shares))
    assert kind.relative_update == pytest.approx(sum(shares) / 6)
    assert (of_lin2[3].layer, of_lin2[3].d_in, of_lin2[3].d_out) == (3, 1536, 384)
    assert learned.largest.relative_update == max(module.relative_update for module in learned.modules)
    assert learned.smallest.relative_update == min(module.relative_update for module in learned.modules)
    deviations = [update.scale_deviation or 0 for update in said]
    assert learned.mean_scale_deviation == pytest.approx(sum(deviations) / 36)


def test_the_adapters_own_best_rate_is_shown_and_the_baseline_learned_nothing(tmp_path: Path) -> None:
    """An adapter shows what it learned at its best rate; each None has its reason."""
    missing = [f"lora_2/{variant}/seed-224" for variant in ("submitted", "lr-2e-4", "lr-1e-3")]
    silent = {f"lora_3/{variant}/seed-224": {"learned": None} for variant in ("submitted", "lr-2e-4", "lr-1e-3")}
    adapters = ("lora_1", "lora_2", "lora_3", "head_only")
    report = read_report(write_results(tmp_path, adapters=adapters, missing=missing, changes=silent))
    best = report.adapters["lora_1"]
    assert best.learned is not None and best.learned.variant == best.best_variant and best.learned_reason is None
    assert best.learned.mean_scale_deviation is None
    reasons = {name: adapter.learned_reason for name, adapter in report.adapters.items() if adapter.learned is None}
    assert reasons == {"lora_2": "missing", "lora_3": "not_measured", "head_only": "no_adapter"}
    assert {name for name, adapter in report.adapters.items() if adapter.formula is None} == set(reasons)


def test_without_a_best_rate_the_submitted_one_is_shown(tmp_path: Path) -> None:
    """An adapter that was never evaluated shows the submitted rate; one that no variant names shows nothing."""
    never = {"submitted": {"title": "x", "adapters": ["ia3"], "training": {
        "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}}}  # fmt: skip
    report = read_report(write_results(tmp_path, adapters=("ia3", "lora_1"), variants=never))
    learned = report.adapters["ia3"].learned
    assert learned is not None and learned.variant == "submitted"
    assert (report.adapters["lora_1"].learned, report.adapters["lora_1"].learned_reason) == (None, "no_runs")


def test_seeds_are_averaged_module_by_module() -> None:
    """Each module has the mean over the seeds that have it, even if only one does."""
    a = record_of(updates("layer.0.q_lin", scale=0.1))
    b = record_of(updates("layer.0.k_lin", "layer.0.q_lin", scale=0.3))
    silent = record_of(None)
    learned = compute_learned("lora_1", "submitted", [a, silent, b])
    assert learned is not None and learned.n_seeds == 2
    shares = {module.module: module.relative_update for module in learned.modules}
    assert shares == {"layer.0.q_lin": pytest.approx(0.15), "layer.0.k_lin": pytest.approx(0.1)}
    assert learned.modules[0].scale_deviation == pytest.approx(0.2)
    assert compute_learned("lora_1", "submitted", [silent]) is None


def update_with(values: Sequence[float], norm: float | None = None) -> ModuleUpdate:
    """Return an update with some singular values, and the norm that follows from them."""
    norm = math.sqrt(sum(value**2 for value in values)) if norm is None else norm
    return ModuleUpdate(module="layer.0.q_lin", in_features=8, out_features=8, update_norm=norm, weight_norm=1.0,
                        scale_deviation=None, singular_values=tuple(values))  # fmt: skip


def test_directions_by_hand() -> None:
    """Ten equal values have a stable rank of ten and need nine for 90 %; one that outweighs all needs one."""
    equal = compute_directions(update_with([2.0] * 10))
    assert equal is not None
    assert (equal.n_for_90, equal.n_for_99) == (9, 10)
    assert equal.stable_rank == pytest.approx(10)
    alone = compute_directions(update_with([10.0, 1.0, 0.1]))
    assert alone is not None
    assert (alone.n_for_90, alone.n_for_99) == (1, 1)
    assert alone.stable_rank == pytest.approx(101.01 / 100)
    assert alone.relative_values == pytest.approx((1.0, 0.1, 0.01))
    assert compute_directions(update_with([])) is None


def test_what_a_record_does_not_keep_still_counts() -> None:
    """If the kept values hold 95 % of the squared norm, 90 % is reached and 99 % is not; the stable rank is known."""
    found = compute_directions(update_with([1.0] * 19, norm=math.sqrt(20)))
    assert found is not None
    assert (found.n_for_90, found.n_for_99) == (18, None)
    assert found.stable_rank == pytest.approx(20)


def test_directions_are_averaged_over_seeds_and_modules(tmp_path: Path) -> None:
    """A shorter list counts as zeros; a seed or a module without singular values leaves no mean."""
    of_seeds = [record_of([update_with(values).model_dump()]) for values in ([4.0, 2.0], [4.0])]
    learned = compute_learned("lora_1", "submitted", of_seeds)
    assert learned is not None and learned.directions is not None
    assert learned.directions == learned.modules[0].directions
    assert learned.directions.relative_values == (1.0, 0.25)
    assert (learned.directions.stable_rank, learned.directions.n_for_90) == ((1.25 + 1) / 2, 1.5)
    without = compute_learned("lora_1", "submitted", [of_seeds[0], record_of(updates("layer.0.q_lin"))])
    assert without is not None and without.directions is None
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3")))
    lora, ia3 = (report.adapters[name].learned for name in ("lora_1", "ia3"))
    assert lora is not None and lora.directions is not None and ia3 is not None and ia3.directions is not None
    assert lora.directions.n_for_99 == pytest.approx(37)  # 64 (1 - 99 %) = 64 exp(-37 · 2 / 16)
    assert ia3.directions.n_for_90 is None  # 64 of its 384 hold less


def test_modules_without_a_layer_have_none() -> None:
    """A module outside the layers has no number, and a weight of zeros no relative update."""
    learned = compute_learned("x", "submitted", [record_of([*updates("embeddings.projection")])])
    assert learned is not None and learned.layers == () and learned.modules[0].layer is None
    zero = updates("layer.0.q_lin")[0] | {"weight_norm": 0.0}
    none = compute_learned("x", "submitted", [record_of([zero])])
    assert none is not None and none.largest.relative_update == 0.0


@pytest.mark.parametrize(
    ("modules", "targets", "kinds"),
    [
        (["h.0.attention.q_lin", "h.1.ffn.lin1"], ["q_lin", "ffn.lin1"], ["q_lin", "ffn.lin1"]),
        (["h.0.attention.q_lin", "h.0.ffn.lin1"], "all-linear", ["q_lin", "lin1"]),
        (["l.0.attention.output.dense", "l.0.output.dense"], ["dense"], ["attention.output.dense", "output.dense"]),
        (["l.0.intermediate.dense", "l.0.output.dense"], None, ["intermediate.dense", "output.dense"]),
        (["head.projection"], [], ["projection"]),
    ],
)
def test_kinds_are_named_as_the_configuration_names_them(modules: list[str], targets: Any, kinds: list[str]) -> None:
    """A kind is named by the target module's ending if that is unambiguous, else by as many last parts as needed."""
    assert list(name_kinds(modules, {"target_modules": targets}).values()) == kinds


def test_the_formula_gives_the_published_counts(tmp_path: Path) -> None:
    """On distilbert-base, 768 wide with 6 layers, the four adapters have the homework's trainable parameters."""
    report = read_report(write_results(tmp_path, source="hub"), "hub")
    derived = load_published(PROJECT.experiments / "published" / "homework.yaml").derived_trainable_params
    assert derived == {"lora_1": 2_951_426, "lora_2": 5_900_546, "lora_3": 1_771_778, "ia3": 633_602}
    for name, expected in derived.items():
        formula = report.adapters[name].formula
        assert formula is not None and formula.agrees
        assert (formula.n_trainable_params, formula.n_head_params, formula.width) == (expected, 592_130, 768)
    lora_2, ia3 = report.adapters["lora_2"].formula, report.adapters["ia3"].formula
    assert lora_2 is not None and ia3 is not None and (lora_2.method, ia3.method) == ("lora", "ia3")
    lin1 = next(row for row in lora_2.rows if row.kind == "ffn.lin1")
    assert (lin1.n_layers, lin1.d_in, lin1.d_out, lin1.r) == (6, 768, 3072, 64)
    assert (lin1.n_params_each, lin1.n_params) == (64 * (768 + 3072), 6 * 64 * (768 + 3072))
    rows = {row.kind: (row.scales, row.n_params_each) for row in ia3.rows}
    assert rows["q_lin"] == ("output", 768) and rows["ffn.lin1"] == ("input", 768)
    assert rows["ffn.lin2"] == ("input", 3072)


def test_the_formula_holds_for_every_adapter_of_the_project_on_any_width(tmp_path: Path) -> None:
    """The formula also holds on the embedded model, 384 wide; DoRA adds one magnitude for each output."""
    adapters = load_adapters(PROJECT.experiments / "adapters")
    names = [name for name, config in adapters.items() if config.baseline is None]
    report = read_report(write_results(tmp_path, adapters=[*names, "dora"]))
    assert all(report.adapters[name].formula is not None for name in names)
    assert [adapter.formula.agrees for adapter in report.adapters.values() if adapter.formula] == [True] * 5
    dora = report.adapters["dora"].formula
    assert dora is not None and all(row.magnitude for row in dora.rows)
    assert dora.rows[0].n_params_each == 8 * (384 + 384) + 384


def test_a_count_that_differs_is_said() -> None:
    """A difference between formula and measurement is reported for the adapter and for the head."""
    assert not formula_of(make_record("lora_1", n_adapter_params=1)).agrees
    assert not formula_of(make_record("lora_1", n_head_params=1)).agrees


def test_a_feed_forward_module_may_be_named_by_a_pattern() -> None:
    """IA³'s feedforward_modules follow PEFT: a pattern for the whole name, endings, or none."""
    modules = updates("layer.0.q", "layer.0.up", d_in=3, d_out=5)
    for named, expected in ((r".*\.up", 5 + 3), (["up"], 5 + 3), (None, 5 + 5)):
        assert formula_of(record_of(modules, "ia3", feedforward_modules=named)).n_adapter_params == expected


def test_modules_of_one_kind_but_two_sizes_have_two_rows() -> None:
    """A kind whose sizes differ between layers is counted size by size."""
    modules = [*updates("layer.0.q"), *updates("layer.1.q", d_out=4)]
    formula = formula_of(record_of(modules, target_modules=["q"]))
    assert [(row.d_out, row.n_layers) for row in formula.rows] == [(8, 1), (4, 1)]


def test_another_head_has_no_formula() -> None:
    """A head that is not DistilBERT's leaves the adapter's count alone to be compared."""
    formula = formula_of(record_of(updates("layer.0.q"), modules_to_save=["score"], r=4))
    assert (formula.width, formula.n_head_params, formula.n_trainable_params) == (None, None, None)
    assert formula.n_adapter_params == 4 * 16


@pytest.mark.parametrize(
    "record",
    [
        make_record("lora_1", learned=None),
        make_record("lora_1", learned=[]),
        make_record("lora_1", adapter__peft_type="LOKR"),
        make_record("lora_1", adapter__config__rank_pattern={"q_lin": 8}),
        make_record("lora_1", adapter__config__bias="all"),
        make_record("lora_1", adapter__config__r=None),
    ],
)
def test_what_the_formula_does_not_cover_has_none(record: Record) -> None:
    """Without dimensions, for another method, or with settings that train something else the formula is None."""
    assert compute_formula(record) is None


def test_a_file_that_names_another_method_since_has_no_formula(tmp_path: Path) -> None:
    """The parameters of an IA³ record are not counted by LoRA's formula, so that the LoRA page does not show them."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"))
    file = paths.experiments / "adapters" / "ia3.yaml"
    file.write_text(file.read_text("utf-8").replace("peft_type: IA3", "peft_type: LORA"), "utf-8")
    report = read_report(paths)
    assert report.adapters["ia3"].config.peft_type == "LORA"
    assert report.adapters["ia3"].formula is None
    assert report.adapters["lora_1"].formula is not None


def test_the_update_is_compared_with_the_reference_at_the_same_rate(tmp_path: Path) -> None:
    """Adapters of the reference's method are compared with it, with the epochs of the kept checkpoints."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "lora_3", "ia3")))
    ratios = report.ablations["learning_rate"].learned_ratios
    assert [(found.adapter, found.variant) for found in ratios] == [
        ("lora_3", "submitted"), ("lora_3", "lr-2e-4"), ("lora_3", "lr-1e-3"),
    ]  # fmt: skip
    own, base = report.group("lora_3", "lr-1e-3"), report.group("lora_1", "lr-1e-3")
    assert own is not None and own.learned is not None and base is not None and base.learned is not None
    assert ratios[2].ratio == own.learned.mean_relative_update / base.learned.mean_relative_update
    kept = report.run("lora_3/lr-1e-3/seed-224").record
    assert kept is not None and kept.best is not None and ratios[2].epoch == kept.best.epoch


def test_growth_in_proportion_has_the_exponent_one(tmp_path: Path) -> None:
    """Updates in proportion to the travel have the slope one; with fewer than three travels there is none."""
    changes = {
        f"lora_1/{variant}/seed-224": {"best__epoch": 10.0, "learned": [update | {"update_norm": 500 * rate}
                                       for update in updates("layer.0.q_lin")]}
        for variant, rate in (("submitted", 2e-5), ("lr-2e-4", 2e-4), ("lr-1e-3", 1e-3))
    }  # fmt: skip
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), changes=changes))
    growth = report.ablations["learning_rate"].growth
    assert growth is not None and growth.exponent == pytest.approx(1.0)
    assert growth.n_runs == 3 and [growth.travel_ratio, growth.update_ratio] == pytest.approx([50, 50])
    one = read_report(write_results(tmp_path / "b", adapters=("lora_1", "ia3"), variants={"submitted": {"title": "x"}}))
    assert compute_growth(one.adapters["lora_1"]) is None and compute_growth(None) is None


def test_equal_vectors_are_found() -> None:
    """Two kinds whose vectors are equally far from 1 in every layer are a pair; one layer's difference undoes it."""
    names = [f"layer.{layer}.{kind}" for layer in range(2) for kind in ("q_lin", "k_lin", "v_lin")]
    deviations = [0.01, 0.01 + 1e-9, 0.02, 0.03, 0.03, 0.05]
    rows = [update | {"scale_deviation": deviation}
            for update, deviation in zip(updates(*names), deviations, strict=True)]  # fmt: skip
    learned = compute_learned("ia3", "submitted", [record_of(rows, "ia3")])
    assert learned is not None and learned.equal_pair is not None
    pair = learned.equal_pair
    assert (pair.first, pair.second, pair.n_layers, pair.n_redundant, pair.of_attention) == (
        "q_lin",
        "k_lin",
        2,
        16,
        True,
    )
    assert pair.largest_difference == pytest.approx(1e-9)
    rows[4] |= {"scale_deviation": 0.031}
    other = compute_learned("ia3", "submitted", [record_of(rows, "ia3")])
    assert other is not None and other.equal_pair is None


def test_sizes_are_multiples_of_the_smallest_adapter(tmp_path: Path) -> None:
    """On the embedded model LoRA 1 has 57 times the parameters of IA³; the baseline has none of its own."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3", "head_only")))
    assert report.size_ratios == {"lora_1": pytest.approx(1_179_648 / 20_736), "ia3": 1.0}
