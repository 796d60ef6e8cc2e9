"""Check in a real browser that the training lab computes what PyTorch does, from the same weights in the same order.

The scripts of the lab run in Chromium; torch trains the same head on the same rows beside it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import nn

from adapterbook.config.study import DataConfig
from adapterbook.sources.resolve import resolve_source
from adapterbook.training.probe import compute_features
from adapterbook.verification.re_evaluation import load_material
from tests.support.browser import open_browser
from tests.support.factory import PROJECT

TOLERANCE = 1e-3  # of features that the page holds in 16 bits
OF_ARITHMETIC = 1e-4  # of the same features, with torch in 32 bits
SCRIPTS = [PROJECT.report / "assets" / "lab" / f"{name}.js" for name in ("numbers", "training")]
OPTIMISER = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01, "max_grad_norm": 1.0}
ACTIVATIONS = {None: nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
TRAIN = """([data, choice]) => {
    const training = labTraining.train(labTraining.unpack(data), choice);
    const [orders, epochs] = [[], []];
    for (;;) {
        const {done, value} = training.next();
        if (done) {
            const {first, kept, last, kept_step} = value;
            const weights = first.map(layer => layer.map(numbers => [...numbers]));
            return {orders, epochs, weights, kept: kept.accuracy, last: last.loss, kept_step};
        }
        if (value.step) orders.push(value.order);
        if (value.train_loss !== null) epochs.push([value.train_loss, value.validation.loss]);
    }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    opened = browser.new_page()
    for script in SCRIPTS:
        opened.add_script_tag(path=script)
    return opened


def layer(n_in: int, n_out: int, activation: str | None, *, dropout: float = 0.1, bias: bool = True) -> dict[str, Any]:
    return {"n_in": n_in, "n_out": n_out, "bias": bias, "dropout": dropout, "activation": activation,
            "initial_std": 0.02}  # fmt: skip


HEADS = {
    "DistilBERT": [layer(40, 40, "relu"), layer(40, 2, None)],
    "RoBERTa": [layer(40, 40, "tanh"), layer(40, 5, None)],
    "ELECTRA": [layer(40, 40, "gelu"), layer(40, 3, None)],
    "GPT-2": [layer(40, 3, None, bias=False)],
}


def make_rows(n_labels: int, width: int) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Make up rows of which the first numbers tell the label."""
    rng = np.random.default_rng(1)
    rows = {}
    for name, n in (("train", 50), ("validation", 20), ("test", 40)):
        labels = rng.integers(0, n_labels, n)
        features = rng.normal(size=(n, width)).astype(np.float32)
        features[np.arange(n), labels] += 1.5
        rows[name] = (features.astype(np.float16).astype(np.float32), labels)  # a page holds 16 bits of each
    return rows


def data_of(head: list[dict[str, Any]], rows: dict[str, Any]) -> dict[str, Any]:
    """Return what the page loads: features as 16-bit numbers in base 64."""
    splits = {name: {"features": base64.b64encode(x.astype("<f2").tobytes()).decode(), "labels": y.tolist()}
              for name, (x, y) in rows.items()}  # fmt: skip
    return {"head": head, "optimiser": OPTIMISER, "splits": splits}


def train_in_torch(
    head: list[dict[str, Any]], rows: dict[str, Any], choice: dict[str, Any], answer: dict[str, Any]
) -> list[tuple[float, float]]:
    """Return each epoch's training and validation loss, from the browser's first weights and its batches."""
    modules: list[nn.Module] = []
    for own, (w, b) in zip(head, answer["weights"], strict=True):
        linear = nn.Linear(own["n_in"], own["n_out"], bias=own["bias"])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(w).reshape(own["n_out"], own["n_in"]))
            if own["bias"]:
                linear.bias.copy_(torch.tensor(b))
        modules += [linear, ACTIVATIONS[own["activation"]]()]
    model = nn.Sequential(*modules)
    decayed = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]
    others = [parameter for name, parameter in model.named_parameters() if not name.endswith("weight")]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=choice["rate"], weight_decay=OPTIMISER["weight_decay"])
    orders = answer["orders"]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (len(orders) - step) / len(orders))
    x, y = (torch.from_numpy(np.asarray(part)) for part in rows["train"])
    vx, vy = (torch.from_numpy(np.asarray(part)) for part in rows["validation"])
    per_epoch = math.ceil(len(y) / choice["batch"])
    epochs, losses = [], list[float]()
    for step, order in enumerate(orders, start=1):
        loss = nn.functional.cross_entropy(model(x[order]), y[order])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), OPTIMISER["max_grad_norm"])
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % per_epoch == 0:
            with torch.no_grad():
                epochs.append((float(np.mean(losses)), nn.functional.cross_entropy(model(vx), vy).item()))
            losses = []
    return epochs


def largest_difference(page: Page, head: list[dict[str, Any]], rows: dict[str, Any], **changes: Any) -> float:
    """Return the largest difference of a loss between the browser and torch, over all epochs."""
    choice = {"rate": 3e-3, "batch": 16, "strategy": "epoch", "every": 2, "epochs": 8, "seed": 7, "dropout": False}
    choice |= changes
    answer = page.evaluate(TRAIN, [data_of(head, rows), choice])
    expected = train_in_torch(head, rows, choice, answer)
    assert len(expected) == len(answer["epochs"]) == choice["epochs"]
    assert expected[-1][0] < expected[0][0] - 0.05, "it learns, so that there is something to compare"
    gaps: list[float] = [abs(a - b) for ours, theirs in zip(answer["epochs"], expected, strict=True)
            for a, b in zip(ours[:2], theirs, strict=True)]  # fmt: skip
    return max(gaps)


@pytest.mark.parametrize("family", HEADS)
def test_losses_are_those_of_torch(page: Page, family: str) -> None:
    """Without dropout the losses agree in every epoch: one layer or two, any activation, two labels or more."""
    head = HEADS[family]
    rows = make_rows(head[-1]["n_out"], 40)
    rate = 3e-2 if len(head) == 1 else 3e-3
    assert largest_difference(page, head, rows, rate=rate) < OF_ARITHMETIC
    assert largest_difference(page, head, rows, rate=rate, batch=7) < OF_ARITHMETIC, (
        "and with a last batch that is smaller"
    )


def test_losses_are_those_of_torch_on_real_features(page: Page) -> None:
    """On the real model's features, which the page holds in 16 bits and torch in 32, the losses agree as well."""
    data = DataConfig(shuffle_seed=1111, n_train=64, n_validation=32, n_test=16, max_words=50, tokenise_batch_size=16)
    material = load_material(resolve_source("embedded", PROJECT), data)
    features, layers = compute_features(material.folder, material.splits)
    assert layers is not None
    rows = {name: (features[f"{name}.head"], features[f"{name}.label"]) for name in ("train", "validation", "test")}
    head = [own.model_dump() for own in layers]
    assert sum(own["n_in"] * own["n_out"] + own["n_out"] for own in head) == 148_610
    assert largest_difference(page, head, rows, rate=1e-3, batch=4) < TOLERANCE


def test_functions_are_right(page: Page) -> None:
    """The exponential, the logarithm and the others agree with Python's to fourteen places."""
    xs = [float(x) for x in np.linspace(-30, 30, 601)]
    found = page.evaluate(
        "xs => xs.map(x => [labNumbers.exp(x), labNumbers.ln(labNumbers.exp(x)), labNumbers.tanh(x), "
        "labNumbers.normalShare(x)])",
        xs,
    )
    for x, (exp, ln, tanh, share) in zip(xs, found, strict=True):
        assert exp == pytest.approx(math.exp(x), rel=1e-14)
        assert ln == pytest.approx(x, rel=1e-14, abs=1e-14)
        assert tanh == pytest.approx(math.tanh(x), rel=1e-13, abs=1e-14)
        assert share == pytest.approx(0.5 * math.erfc(-x / math.sqrt(2)), rel=1e-9, abs=1e-14)


def test_random_numbers_are_fair_and_follow_from_the_seed(page: Page) -> None:
    """Weights have the head's standard deviation; an order holds each row once; another seed gives another one."""
    normal = np.array(page.evaluate(
        "[...labNumbers.fillNormal(new Float32Array(100000), 0.02, labNumbers.random(224, 1))]"))  # fmt: skip
    assert normal.mean() == pytest.approx(0, abs=3e-4) and normal.std() == pytest.approx(0.02, rel=0.01)
    orders = [page.evaluate(f"labNumbers.shuffled(128, labNumbers.random({seed}, 2))") for seed in (224, 225, 224)]
    assert sorted(orders[0]) == list(range(128)) and orders[0] == orders[2] != orders[1]
    # By hand from sfc32's definition; these pin the stream in every browser.
    first = page.evaluate("(() => { const draw = labNumbers.random(1, 2); return [draw(), draw(), draw()]; })()")
    assert first == [sfc32_after(1, 2, i) for i in (21, 22, 23)]


def sfc32_after(seed: int, stream: int, n: int) -> float:
    """Return the nth number of sfc32, in Python."""
    mask = 2**32 - 1
    a, b, c, count = seed, stream, 0x9E3779B9, 1
    total = 0
    for _ in range(n):
        total = (a + b + count) & mask
        count = (count + 1) & mask
        a = b ^ (b >> 9)
        b = (c + (c << 3)) & mask
        c = (((c << 21) | (c >> 11)) + total) & mask
    return total / 2**32


def test_the_kept_weights_are_those_of_the_lowest_validation_loss(page: Page) -> None:
    """What is tested is the checkpoint that the strategy can keep; without evaluation it is the last."""
    head = HEADS["DistilBERT"]
    data = data_of(head, make_rows(2, 40))
    choice = {"rate": 3e-2, "batch": 10, "strategy": "epoch", "every": 2, "epochs": 12, "seed": 3}
    answer = page.evaluate(TRAIN, [data, choice])
    losses = [epoch[1] for epoch in answer["epochs"]]
    best = losses.index(min(losses)) + 1
    assert best < 12, "this training overfits"
    assert answer["kept_step"] == best * 5
    # Dropout draws from its own stream and evaluations draw nothing, so the strategy leaves the training as it is.
    blind = page.evaluate(
        """([data, choice]) => {
            const training = labTraining.train(labTraining.unpack(data), choice);
            for (;;) { const {done, value} = training.next(); if (done) return [value.kept_step, value.last.loss]; }
        }""",
        [data, choice | {"strategy": "no"}],
    )
    assert blind == [60, answer["last"]]
