"""Work out every accuracy, interval and p-value of the pages again, from ``predictions.parquet`` alone.

This module uses pandas, scipy and statsmodels, but not the project's analysis or statistics. It reads the predictions
and the pages' text, and compares to the digits shown. A number on a page that it cannot compute is a failure. The study
has one seed; test_stats.py has the hand-worked numbers of several.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from tests.support.factory import ADAPTERS, BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS
from tests.support.report_pages import LANGUAGES, MadePages, Qmd, make_study_pages

SEED = 224
MARGIN = 0.05
LEVEL = 0.05 / 10  # ten pairs of five adapters
# Predictions decide the numbers of these origins, so each of them must be computed here.
DECIDED = re.compile(
    r"Verdict\.|Comparison\.|Baseline\.|Group\.test_(accuracy|interval|f1)|CostRow\.accuracy|"
    r"RunReport\.(confusion|test_interval|n_one_answer|always)|test\.(accuracy|f1|n)$"
)
Truth = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Make the pages of a study with the baseline and every ablation; two of its adapters differ clearly."""
    return make_study_pages(
        tmp_path_factory.mktemp("study"),
        adapters=(*ADAPTERS, "head_only"),
        extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS,
        accuracy={"ia3/lr-1e-3": 0.88, "head_only/lr-1e-3": 0.61, "lora_2/submitted": 0.47},
    )


@pytest.fixture(scope="module")
def tables(pages: MadePages) -> dict[str, pd.DataFrame]:
    """Read every run's predictions by ``adapter/variant``, without the project's own reader."""
    root = pages.paths.results / "embedded"
    files = sorted(root.glob(f"*/*/seed-{SEED}/predictions.parquet"))
    return {"/".join(file.parts[-4:-2]): pd.read_parquet(file).sort_values("row_id") for file in files}


@pytest.fixture(scope="module")
def truth(pages: MadePages, tables: dict[str, pd.DataFrame]) -> Truth:
    """Compute each number, by its owner and its name."""
    best = {tuple(of.split()) for of in shown_pairs(pages) if "/submitted" not in of}
    best_of = dict(name.split("/") for pair in best for name in pair)
    submitted = [name for name in tables if name.endswith("/submitted")]
    numbers = dict(of_runs(tables)) | dict(of_baselines(tables, best_of["head_only"]))
    numbers |= dict(of_family(tables, submitted)) | dict(of_family(tables, [f"{a}/{v}" for a, v in best_of.items()]))
    detectable = [value for (of, name), value in numbers.items()
                  if name == "Verdict.smallest_detectable" and "/submitted" not in of]  # fmt: skip
    return numbers | {
        ("", "Comparison.n_tested"): 10,
        ("", "Comparison.level"): LEVEL,
        ("", "Comparison.power"): 0.8,
        ("", "Comparison.smallest_detectable"): float(np.median(detectable)),  # each pair is there from both sides
    }


def shown_pairs(pages: MadePages) -> set[str]:
    """Return which pairs the pages compare, as ``a/variant b/variant``."""
    return {number.attributes["data-of"] for page in pages.pages for number in page.numbers
            if number.attributes.get("data-from", "").startswith("Verdict.")}  # fmt: skip


def right_rows(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows were predicted right, shape (n_rows,)."""
    right: NDArray[np.bool_] = np.asarray(table["label"]) == np.asarray(table["prediction"])
    return right


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Return the Wilson interval by statsmodels."""
    low, high = proportion_confint(n_right, n, method="wilson")
    return float(low), float(high)


def of_runs(tables: dict[str, pd.DataFrame]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield each run's accuracy, interval, F1 and confusion matrix under every name that pages may give it."""
    for of, table in tables.items():
        right, run = right_rows(table), f"{of}/seed-{SEED}"
        low, high = wilson(int(right.sum()), len(right))
        positive, predicted = np.asarray(table["label"]) == 1, np.asarray(table["prediction"]) == 1
        n = {
            "counts.0.0": int((~positive & ~predicted).sum()),
            "counts.0.1": int((~positive & predicted).sum()),
            "counts.1.0": int((positive & ~predicted).sum()),
            "counts.1.1": int((positive & predicted).sum()),
        }
        f1 = 2 * n["counts.1.1"] / (2 * n["counts.1.1"] + n["counts.0.1"] + n["counts.1.0"])
        yield (run, "test.accuracy"), right.mean()
        yield (run, "test.f1"), f1
        yield (run, "test.n"), len(right)
        for name, whose in (("Group.test_interval", of), ("RunReport.test_interval", run)):
            yield (whose, f"{name}.low"), low
            yield (whose, f"{name}.high"), high
        yield (of, "Group.test_accuracy.mean"), right.mean()
        yield (of, "Group.test_f1.mean"), f1
        for name, count in n.items():
            yield (run, f"RunReport.confusion.{name}"), count
        yield (run, "RunReport.confusion.n"), len(right)
        yield (run, "RunReport.confusion.n_correct"), int(right.sum())
        yield (run, "RunReport.n_one_answer"), max(int(predicted.sum()), int((~predicted).sum()))
        yield (run, "RunReport.always.f1"), 2 * positive.mean() / (1 + positive.mean())


def of_baselines(tables: dict[str, pd.DataFrame], head_only: str) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield the baselines; a page names their origin alike, so that they are told apart by their value."""
    labels = next(iter(tables.values()))["label"]
    n_majority = max(int(labels.sum()), int((1 - labels).sum()))
    yield ("chance", "Baseline.accuracy"), 0.5
    candidates = {"majority": (n_majority, len(labels))}
    for of, table in tables.items():
        if of.startswith("head_only/"):
            candidates[of] = (int(right_rows(table).sum()), len(labels))
    for name, (n_right, n) in candidates.items():
        low, high = wilson(n_right, n)
        yield (name, "Baseline.accuracy"), n_right / n
        yield (name, "Baseline.interval.low"), low
        yield (name, "Baseline.interval.high"), high


def of_family(tables: dict[str, pd.DataFrame], members: list[str]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield all pairs of one family, Holm-corrected together, from either side of each pair."""
    pairs = list(combinations(members, 2))
    right = {name: right_rows(tables[name]) for name in members}
    tests = {(a, b): of_pair(right[a], right[b]) for a, b in pairs}
    for name in ("p", "p_same"):
        corrected = multipletests([test[name] for test in tests.values()], method="holm")[1]
        for test, p_holm in zip(tests.values(), corrected, strict=True):
            test[f"{name}_holm"] = float(p_holm)
    for (a, b), test in tests.items():
        for one, other, sign in ((a, b, 1), (b, a, -1)):
            ends = sorted((sign * test["low"], sign * test["high"]))
            numbers = {
                "accuracy_a": right[one].mean(), "accuracy_b": right[other].mean(),
                "n_right_a": int(right[one].sum()), "n_right_b": int(right[other].sum()),
                "difference": sign * test["difference"], "interval.low": ends[0], "interval.high": ends[1],
                "n_rows": len(right[one]), "n_seeds_a": 1, "n_seeds_b": 1,
                **{name: test[name] for name in ("p_holm", "p_same_holm", "discordant_share", "smallest_detectable")},
            }  # fmt: skip
            for name, value in numbers.items():
                yield (f"{one} {other}", f"Verdict.{name}"), value


def of_pair(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> dict[str, float]:
    """Return interval and tests of one pair by Bonett and Price 2012: two proportions of discordant rows, one added."""
    n = len(a)
    only_a, only_b = (int((a & ~b).sum()) + 1) / (n + 2), (int((~a & b).sum()) + 1) / (n + 2)
    error = sqrt((only_a + only_b - (only_a - only_b) ** 2) / (n + 2))
    difference = float(a.mean() - b.mean())
    low, high = stats.norm.interval(0.95, loc=difference, scale=error)
    outside = [stats.norm.sf(difference + MARGIN, scale=error), stats.norm.cdf(difference - MARGIN, scale=error)]
    return {
        "difference": difference, "low": low, "high": high, "discordant_share": float((a != b).mean()),
        "p": 2 * stats.norm.sf(abs(difference), scale=error), "p_same": max(outside),
        "smallest_detectable": (stats.norm.isf(LEVEL / 2) + stats.norm.isf(0.2)) * error,
    }  # fmt: skip


def as_shown(value: float, kind: str) -> str:
    """Return a number as the pages' kinds of numbers are documented, the same for both languages."""
    if kind in ("percent", "percent_bare", "points_unsigned"):
        return f"{100 * value:.1f}"
    if kind == "points":
        return f"{100 * value:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")
    if kind == "percent_short":
        return f"{100 * value:.3g}"
    if kind == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if kind == "proportion":
        return f"{value:.3f}"
    assert kind in ("count", "plain"), kind
    return f"{int(value):,}"


def bare(text: str) -> str:
    """Return a shown number without its sign for per cent and typographic characters."""
    return text.replace("−", "-").replace("\u00a0", " ").removesuffix("%").strip()


def numbers_of(page: Qmd) -> Iterator[tuple[str, str, str, str]]:
    """Yield owner, name, kind and text of each number that predictions decide."""
    for number in page.numbers:
        attributes = number.attributes
        name = attributes.get("data-from") or attributes["data-field"]
        of = attributes.get("data-of") or attributes.get("data-run", "")
        if DECIDED.match(name):
            yield of, name, attributes["data-format"], number.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_follows_from_the_predictions(pages: MadePages, truth: Truth, language: str) -> None:
    """Each accuracy, interval, difference and p-value is what an independent computation gives, to the digits shown."""
    seen: dict[str, int] = defaultdict(int)
    by_name: dict[str, list[float]] = defaultdict(list)
    for (_, name), value in truth.items():
        by_name[name].append(value)
    of_language = [page for page in pages.pages if page.path.is_relative_to(pages.paths.report / language)]
    for page in of_language:
        for of, name, kind, text in numbers_of(page):
            place = f"{page.path.name}: {of} {name} is shown as {text}"
            seen[name] += 1
            expected_values = by_name[name] if name.startswith("Baseline.") else [truth[of, name]]
            expected_texts = {as_shown(value, kind) for value in expected_values}
            assert bare(text) in expected_texts, f"{place}, expected {expected_texts}"
    assert {"test.accuracy", "Group.test_interval.low", "Group.test_interval.high", "Verdict.difference",
            "Verdict.interval.low", "Verdict.interval.high", "Verdict.p_holm", "Verdict.p_same_holm",
            "Verdict.n_right_a", "Comparison.smallest_detectable", "Baseline.accuracy"} <= set(seen)  # fmt: skip
    assert seen["Verdict.p_holm"] >= 20  # ten pairs of five adapters, as submitted and at the best rate


def test_every_pair_is_shown(pages: MadePages) -> None:
    """All ten pairs of both comparisons are on the pages, so that the correction has nothing hidden in it."""
    families: dict[bool, set[frozenset[str]]] = {True: set(), False: set()}
    for of in shown_pairs(pages):
        families["/submitted" in of].add(frozenset(of.split()))
    assert len(families[True]) == len(families[False]) == 10


def test_some_pairs_differ_and_some_do_not(truth: Truth) -> None:
    """The made-up study has clear differences and none, so that either kind of p-value was compared."""
    p_values = [value for (_, name), value in truth.items() if name == "Verdict.p_holm"]
    assert min(p_values) < 0.001 and max(p_values) > 0.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_the_accuracy_figure_follows_from_the_predictions(
    pages: MadePages, tables: dict[str, pd.DataFrame], language: str
) -> None:
    """The table under the figure of test accuracies holds the same accuracies and intervals again."""
    text = next(
        part for page in pages.pages if page.path == pages.paths.report / language / "comparison.qmd"
        for part in re.findall(r"\{#sec-comparison-accuracy\}.*?:::: \{\.callout-note (.*?)\n::::", page.text, re.S)
    )  # fmt: skip
    shown = sorted(float(value) for value in re.findall(r"\[(\d+\.\d)%?\]\{\.n ", text))
    expected = []
    for of, table in tables.items():
        if of.split("/")[1] in ("submitted", "lr-2e-4", "lr-1e-3"):
            right = right_rows(table)
            expected += [right.mean(), *wilson(int(right.sum()), len(right))]
    assert shown == sorted(float(f"{100 * value:.1f}") for value in expected) and len(shown) == 45


def test_a_number_that_is_wrong_is_found(pages: MadePages, truth: Truth) -> None:
    """A p-value with one changed digit no longer agrees with the predictions."""
    page = pages.page("en/comparison")
    of, name, kind, text = next(found for found in numbers_of(page) if found[1] == "Verdict.p_holm")
    changed = bare(text)[:-1] + str((int(bare(text)[-1]) + 1) % 10)
    assert bare(text) == as_shown(truth[of, name], kind) != changed
