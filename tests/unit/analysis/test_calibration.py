"""Compare confidence and calibration with values worked out by hand, by a plain loop, and by simulation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapterbook.analysis import calibration
from adapterbook.analysis.calibration import find_disagreement, measure_calibration, measure_sureness
from adapterbook.analysis.shapes import Calibration, Sureness
from adapterbook.common.stats import wilson_interval
from tests.support.factory import BATCH_SIZE_VARIANTS, make_predictions, read_report, write_results


def answers_of(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Return predictions of the positive class with a confidence, some of them right."""
    return pd.DataFrame(
        {"row_id": range(len(right)), "label": right.astype(int), "prediction": 1, "probability": confidence}
    )


def draw(rng: np.random.Generator, n: int, slope: float) -> tuple[pd.DataFrame, float]:
    """Return answers of a model whose log-odds are ``1 / slope`` times too large, and its true calibration error."""
    confidence = np.sort(0.5 + 0.49 * rng.beta(1.0, 1.2, n))
    truth = 1 / (1 + np.exp(-slope * np.log(confidence / (1 - confidence))))
    bins = np.array_split(confidence - truth, 10) if n % 10 == 0 else []
    error = float(np.sqrt(np.mean([part.mean() ** 2 for part in bins])))
    return answers_of(confidence, rng.random(n) < truth), error


def test_sure_answers_by_hand() -> None:
    """Of four answers three are sure, one of these is wrong, and it makes ln 20 of the whole loss."""
    table = pd.DataFrame(
        {"row_id": [1, 2, 3, 4], "label": [1, 0, 1, 0], "prediction": [1, 0, 0, 1],
         "probability": [0.95, 0.1, 0.05, 0.6]}
    )  # fmt: skip
    found = measure_sureness("lora_1", "submitted", table)
    assert (found.n_answers, found.n_right, found.n_sure, found.n_sure_right, found.n_sure_wrong) == (4, 2, 3, 2, 1)
    losses = [-np.log(0.95), -np.log(0.9), np.log(20), -np.log(0.4)]
    assert found.loss == pytest.approx(sum(losses) / 4)
    assert found.sure_wrong_loss_share == pytest.approx(np.log(20) / sum(losses))
    assert found.accuracy == 0.5


def test_the_calibration_error_is_that_of_a_plain_loop() -> None:
    """Bins, their shares, the bias and the mean agree with Kumar et al. 2019 written out bin by bin."""
    table = make_predictions("lora_1", "lr-1e-3", n=500)
    found = measure_calibration("lora_1", "lr-1e-3", table)
    confidence = np.where(table["prediction"] == 1, table["probability"], 1 - table["probability"])
    right = (table["prediction"] == table["label"]).to_numpy()
    order, total = np.argsort(confidence, kind="stable"), 0.0
    for i, part in enumerate(np.array_split(order, 10)):
        differences = confidence[part] - right[part]
        total += 0.1 * (differences.mean() ** 2 - differences.var(ddof=1) / len(part))
        expected = (len(part), confidence[part].mean(), right[part].mean(), wilson_interval(int(right[part].sum()), 50))
        bin = found.bins[i]
        assert (bin.n_answers, bin.confidence, bin.accuracy, bin.interval) == pytest.approx(expected)
    assert found.calibration_error == pytest.approx(np.sqrt(total))
    assert found.overconfidence == pytest.approx(confidence.mean() - right.mean())
    half = 1.96 * (confidence - right).std() / np.sqrt(500)
    interval = found.overconfidence_interval
    assert (interval.low, interval.high) == pytest.approx(
        (found.overconfidence - half, found.overconfidence + half), abs=0.004
    )


def test_the_same_answers_of_three_seeds_are_not_three_times_as_many_rows() -> None:
    """Seeds that answer alike leave error and intervals as they are: rows are resampled, not answers."""
    table = make_predictions("lora_1", "lr-1e-3", n=300)
    one = measure_calibration("lora_1", "lr-1e-3", table)
    three = measure_calibration("lora_1", "lr-1e-3", pd.concat([table] * 3, ignore_index=True))
    assert (one.n_rows, one.n_seeds, three.n_rows, three.n_seeds) == (300, 1, 300, 3)
    for name in ("calibration_error", "overconfidence"):
        assert getattr(three, name) == pytest.approx(getattr(one, name))
    for name in ("error_interval", "overconfidence_interval"):
        ends = [(getattr(found, name).low, getattr(found, name).high) for found in (one, three)]
        assert ends[0] == pytest.approx(ends[1])
    assert [bin.interval for bin in three.bins] == [bin.interval for bin in one.bins]


@pytest.mark.parametrize("slope", [1.0, 0.5, 0.2])
def test_the_interval_covers_the_true_error(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 test sets at least 92 % give an interval with the truth in it, for a calibrated model and a bad one."""
    monkeypatch.setattr(calibration, "N_RESAMPLES", 300)
    rng, covered, gaps = np.random.default_rng(5), 0, []
    for _ in range(80):
        table, truth = draw(rng, 510, slope)
        found = measure_calibration("lora_1", "submitted", table)
        covered += found.error_interval.low - 1e-9 <= truth <= found.error_interval.high
        gaps.append(found.calibration_error**2 - truth**2)
    assert covered >= 0.92 * 80
    assert abs(np.mean(gaps)) < 0.002  # the plain squared error of a calibrated model is 0.004


def test_loss_and_accuracy_that_disagree_most_are_found() -> None:
    """The pair is of one adapter, more accurate with the higher loss, and its losses differ most; or there is none."""

    def made(adapter: str, variant: str, n_right: int, loss: float) -> Sureness:
        return Sureness(adapter, variant, 100, n_right, loss, 0.9, 0, 0, 0, 0.0)

    best, loud, louder = made("a", "best", 60, 0.6), made("a", "loud", 62, 0.9), made("a", "louder", 61, 0.95)
    assert find_disagreement([best, loud, louder]) == (louder, best)
    assert find_disagreement([best, made("b", "other", 70, 0.9)]) is None
    assert find_disagreement([best, made("a", "worse", 50, 0.9), made("a", "tie", 60, 0.7)]) is None
    more_seeds = replace(made("a", "seeds", 62, 0.9), n_answers=300)
    assert find_disagreement([best, more_seeds]) is None  # counts of 100 and 300 answers cannot be compared
    assert find_disagreement([]) is None


def test_too_sure_is_what_the_interval_says() -> None:
    """An interval above zero is too sure, one below is not sure enough, any other is undecided."""
    rng = np.random.default_rng(1)
    confidence = np.full(400, 0.8)
    found = {
        name: measure_calibration(name, "x", answers_of(confidence, rng.random(400) < share))
        for name, share in (("sure", 0.6), ("unsure", 0.95), ("fair", 0.8))
    }
    tendencies = {name: item.tendency for name, item in found.items()}
    assert tendencies == {"sure": "too_sure", "unsure": "too_unsure", "fair": "undecided"}


def test_a_handful_of_rows_has_fewer_bins() -> None:
    """Twelve rows make two bins, and one row makes one."""
    assert len(measure_calibration("a", "x", make_predictions(n=12)).bins) == 2
    assert len(measure_calibration("a", "x", make_predictions(n=1)).bins) == 1


def test_each_adapter_is_calibrated_at_its_best_variant_over_all_seeds(tmp_path: Path) -> None:
    """Seeds are pooled; a seed without predictions is left out, an adapter without any has no calibration."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3", "lora_2"), seeds=(1, 2, 3), n_test=64,
                          extra_variants=BATCH_SIZE_VARIANTS)  # fmt: skip
    for file in [*paths.results.glob("embedded/ia3/*/seed-2/*.parquet"), *paths.results.glob("*/lora_2/*/*/*.parquet")]:
        file.unlink()
    report = read_report(paths)
    assert {name: (item.n_rows, item.n_seeds) for name, item in report.calibration.adapters.items()} == {
        "lora_1": (64, 3), "ia3": (64, 2)}  # fmt: skip
    found = report.calibration.adapters["lora_1"]
    assert isinstance(found, Calibration) and found.variant == report.adapters["lora_1"].best_variant
    group = report.group("lora_1", found.variant)
    assert group is not None and group.test_accuracy is not None
    assert found.sureness.accuracy == pytest.approx(group.test_accuracy.mean)
    assert sum(bin.n_answers for bin in found.bins) == found.sureness.n_answers == 192
    pair = report.calibration.disagreement
    assert pair is None or (pair[0].accuracy > pair[1].accuracy and pair[0].loss > pair[1].loss)
