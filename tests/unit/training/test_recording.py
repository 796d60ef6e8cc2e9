"""Compare what a trained model leaves behind with values worked out by hand."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import BatchEncoding, DistilBertConfig, DistilBertForSequenceClassification

from adapterbook.common.errors import ConfigError, RunError
from adapterbook.config.study import TrainingConfig, load_adapters, load_study
from adapterbook.runs.plan import plan_runs
from adapterbook.training.measurements import compute_singular_values, measure_latency, measure_updates
from adapterbook.training.model import count_parameters, freeze_adapter
from adapterbook.training.recording import (
    check_arguments,
    describe_environment,
    git_state,
    make_predictions,
    save_run,
)
from tests.support.factory import PROJECT
from tests.support.git_project import isolate_git, make_repository


@pytest.fixture
def base_model() -> DistilBertForSequenceClassification:
    """Make a DistilBERT of one layer, 16 wide, with random weights."""
    torch.manual_seed(1)
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=30, n_layers=1, dim=16, hidden_dim=32, n_heads=2)
    )


def _module(model: PeftModel, name: str) -> Any:
    """Return a layer of the first block's attention."""
    return model.get_submodule(f"base_model.model.distilbert.transformer.layer.0.attention.{name}")


def test_an_update_is_the_norm_of_the_scaled_product(base_model: DistilBertForSequenceClassification) -> None:
    """LoRA's update satisfies ‖W' − W‖ = ‖(lora_alpha / r) B A‖ (Hu et al. 2021, section 4.1)."""
    config = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=12, target_modules=["q_lin"], init_lora_weights=False)
    model = get_peft_model(base_model, config)
    layer = _module(model, "q_lin")
    weight = layer.base_layer.weight.detach().clone()
    expected = torch.linalg.norm(12 / 4 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight)
    updates = measure_updates(model)
    assert updates is not None
    assert [update.module for update in updates] == ["distilbert.transformer.layer.0.attention.q_lin"]
    assert (updates[0].in_features, updates[0].out_features) == (16, 16)
    assert updates[0].update_norm == pytest.approx(expected.item(), rel=1e-5)
    assert updates[0].weight_norm == pytest.approx(torch.linalg.norm(weight).item())
    assert updates[0].scale_deviation is None


@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_an_update_has_as_many_singular_values_as_its_rank(
    base_model: DistilBertForSequenceClassification, size: float
) -> None:
    """The singular values of LoRA's update are those of (lora_alpha / r) B A: r of them, however small the update.

    Beside a weight of float32, an update of a hundred-thousandth would have 16, most of them rounding.
    """
    config = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=12, target_modules=["q_lin"], init_lora_weights=False)
    model = get_peft_model(base_model, config)
    layer = _module(model, "q_lin")
    layer.lora_B["default"].weight.data *= size
    product = 3 * layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    expected = torch.linalg.svdvals(product)[:4].tolist()
    updates = measure_updates(model)
    assert updates is not None
    assert list(updates[0].singular_values) == pytest.approx(expected)
    assert next(model.parameters()).dtype == layer.base_layer.weight.dtype == torch.float32


def test_the_64_largest_singular_values_are_kept_and_no_dust() -> None:
    """They equal NumPy's decomposition, in falling order; a zero matrix has none, and dust is left out."""
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=(100, 80)))
    for shape in (matrix, matrix.T):
        found = compute_singular_values(shape)
        np.testing.assert_allclose(found, np.linalg.svd(matrix.numpy(), compute_uv=False)[:64], rtol=1e-12)
    assert compute_singular_values(torch.zeros(3, 5, dtype=torch.float64)) == ()
    dust = torch.diag(torch.tensor([5.0, 5.1e-6, 4.9e-6], dtype=torch.float64))
    assert compute_singular_values(dust) == pytest.approx([5.0, 5.1e-6])


class _Model(torch.nn.Module):
    """Note how often it predicted, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rows: list[tuple[int, bool, bool]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Note the row, and whether it trains or records gradients."""
        self.rows.append((int(input_ids[0, 0]), self.training, torch.is_grad_enabled()))


def test_the_time_of_a_prediction_is_a_median_after_warming_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five rows the median counts; the first three are predicted once more before, and nothing trains."""
    durations = [100.0, 100.0, 100.0, 1.0, 2.0, 9.0, 3.0, 4.0]
    moments = iter([moment for duration in durations for moment in (0.0, duration)])
    monkeypatch.setattr("adapterbook.training.measurements.time.perf_counter", lambda: next(moments))

    def tokenizer(text: str, **_: Any) -> BatchEncoding:
        ids = torch.tensor([[int(text)]])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": ids})

    model = _Model()
    assert measure_latency(model, tokenizer, ["0", "1", "2", "3", "4"]) == 3.0  # type: ignore[arg-type]
    assert model.rows == [(i, False, False) for i in (0, 1, 2, 0, 1, 2, 3, 4)]


def test_ia3_s_vectors_are_measured_from_one(base_model: DistilBertForSequenceClassification) -> None:
    """With half of the entries at 1.2 and half at 1 the mean distance from 1 is 0.1 (Liu et al. 2022, section 3.3)."""
    config = IA3Config(task_type="SEQ_CLS", target_modules=["k_lin"], feedforward_modules=[])
    model = get_peft_model(base_model, config)
    vector = _module(model, "k_lin").ia3_l["default"]
    vector.data[:8] = 1.2
    updates = measure_updates(model)
    assert updates is not None
    assert updates[0].scale_deviation == pytest.approx(0.1)


def test_full_fine_tuning_is_measured_layer_by_layer(base_model: DistilBertForSequenceClassification) -> None:
    """LayerNorm tuning trains copies, and a layer's update is the copy minus the original."""
    model = get_peft_model(base_model, LNTuningConfig(task_type="SEQ_CLS", target_modules=["q_lin", "sa_layer_norm"]))
    layer = _module(model, "q_lin")
    layer.ln_tuning_layers["default"].weight.data += 0.5
    weight_norm = torch.linalg.norm(layer.base_layer.weight).item()
    updates = measure_updates(model)
    assert updates is not None and [update.module.rpartition(".")[2] for update in updates] == ["q_lin"]
    assert updates[0].update_norm == pytest.approx(0.5 * 16)  # 16 x 16 entries
    assert updates[0].weight_norm == pytest.approx(weight_norm)


def test_a_method_that_cannot_be_merged_has_no_updates(base_model: DistilBertForSequenceClassification) -> None:
    """Prompt tuning changes no weight, so it has no updates."""
    model = get_peft_model(
        base_model,
        PromptTuningConfig(
            task_type="SEQ_CLS", num_virtual_tokens=2, token_dim=16, num_layers=1, num_attention_heads=2
        ),
    )
    assert measure_updates(model) is None


def test_a_frozen_adapter_leaves_the_head_alone_to_train(base_model: DistilBertForSequenceClassification) -> None:
    """The baseline trains no parameter outside the head, and its output equals the base model's."""
    ids = torch.tensor([[1, 2, 3]])
    base_model.train(False)
    before = base_model(ids).logits
    model = get_peft_model(base_model, IA3Config(task_type="SEQ_CLS", target_modules=["q_lin"], feedforward_modules=[],
                                                 modules_to_save=["pre_classifier", "classifier"]))  # fmt: skip
    freeze_adapter(model)
    counts = count_parameters(model)
    assert (counts.n_adapter, counts.n_head) == (0, 16 * 16 + 16 + 16 * 2 + 2)
    model.train(False)
    torch.testing.assert_close(before, model(ids).logits)
    assert isinstance(model, PeftModel)


def test_predictions_by_hand() -> None:
    """Logits 0 and ln 3 give the probabilities 1/4 and 3/4."""
    rows = Dataset.from_dict({"row_id": [7, 9], "text": ["good", "bad"], "label": [1, 0]})
    table = make_predictions(rows, np.array([[0.0, np.log(3)], [np.log(3), 0.0]], dtype=np.float32))
    assert list(table["row_id"]) == [7, 9]
    assert list(table["prediction"]) == [1, 0]
    np.testing.assert_allclose(table["probability"], [0.75, 0.25], atol=1e-6)


def test_the_environment_names_no_machine_and_no_user() -> None:
    """The environment names the versions of the packages, without a build's label, and not the user's home."""
    environment = describe_environment("cpu", n_threads=1)
    assert environment.n_threads == 1
    assert environment.packages["torch"]
    assert "+" not in environment.packages["torch"]
    text = environment.model_dump_json()
    assert Path.home().as_posix() not in text


def test_git_state_outside_a_checkout_is_none(tmp_path: Path) -> None:
    """Outside a git checkout the git state is None; in this checkout it is not."""
    assert git_state(tmp_path) is None
    state = git_state(PROJECT.root)
    assert state is not None
    assert len(state.commit) == 40


def test_git_state_is_that_of_the_project_within_a_hook_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GIT_DIR set by a hook does not put another repository's commit into a record."""
    isolate_git(monkeypatch, tmp_path)
    here, other = (make_repository(tmp_path / name, tmp_path / f"{name}.git") for name in ("here", "other"))
    other.git("commit", "-q", "--allow-empty", "-m", "another")
    expected = here.git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    state = git_state(here.root)
    assert state is not None
    assert state.commit == expected != other.git("rev-parse", "HEAD")


def test_arguments_that_transformers_refuses_are_named(tmp_path: Path) -> None:
    """A typing mistake in `optim` is found before any training."""
    study, adapters = load_study(PROJECT.study), load_adapters(PROJECT.experiments / "adapters")
    runs = plan_runs(study, adapters, "embedded")
    check_arguments(runs)
    wrong = [replace(run, training=run.training.model_copy(update={"optim": "adamx"})) for run in runs[:1]]
    with pytest.raises(ConfigError, match=r"variants\.submitted: .*adamx"):
        check_arguments(wrong)


def test_a_run_whose_adapter_does_not_give_its_predictions_has_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved adapter is checked with the run's probabilities, in the order of the rows, before the record."""
    seen: dict[str, Any] = {}

    def check(base_model: Path, adapter: Path, test: Any, probabilities: Any, tolerance: float) -> None:
        seen.update(base_model=base_model, adapter=adapter, probabilities=probabilities.round(2).tolist())
        seen["tolerance"] = tolerance
        raise RunError("The saved adapter does not give this run's predictions.")

    monkeypatch.setattr("adapterbook.training.recording.check_saved", check)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "README.md").write_text("")
    training = TrainingConfig(
        learning_rate=1.0, per_device_train_batch_size=1, per_device_eval_batch_size=1, num_train_epochs=1
    )
    prepared: Any = MagicMock(output=tmp_path, device="cpu", run=SimpleNamespace(training=training))
    prepared.fetched.base_model = tmp_path / "base"
    kept: Any = SimpleNamespace(test=SimpleNamespace(predictions=np.log([[0.9, 0.1], [0.2, 0.8]]), metrics={}))
    with pytest.raises(RunError):
        save_run(prepared, MagicMock(), MagicMock(), [kept], None, order=[1, 0])
    assert seen == {"base_model": tmp_path / "base", "adapter": tmp_path / "adapter", "tolerance": 1e-4,
                    "probabilities": [[0.2, 0.8], [0.9, 0.1]]}  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
