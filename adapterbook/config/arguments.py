"""Say which arguments of ``transformers.TrainingArguments`` a study may not set, or not with its rows, and why.

A test compares these names and those of ``TrainingConfig`` with Transformers' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapterbook.config.study import DataConfig, TrainingConfig

_REASONS: Final[Mapping[str, str]] = {
    "a run's folder and its log are fixed, because the record is made from them": (
        "output_dir run_name project report_to disable_tqdm trackio_space_id trackio_bucket_id "
        "trackio_static_space_id logging_strategy logging_steps logging_first_step log_on_each_node "
        "logging_nan_inf_filter include_num_input_tokens_seen log_level log_level_replica skip_memory_metrics debug"
    ),
    "adapters are uploaded by `make push-adapters`": (
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision"
    ),
    "an interrupted run continues by itself, and keeps the checkpoints that it needs": (
        "save_only_model save_on_each_node save_total_limit enable_jit_checkpoint resume_from_checkpoint "
        "ignore_data_skip restore_callback_states_from_checkpoint"
    ),
    "write the seeds of a study as its `seeds`": "seed data_seed",
    "every run is deterministic as far as the device allows": "full_determinism",
    "it follows from metric_for_best_model": "greater_is_better",
    "the notebook trains, evaluates and tests": "do_train do_eval do_predict",
    "the record needs the columns, the metrics and every prediction as they are": (
        "label_names remove_unused_columns length_column_name prediction_loss_only include_for_metrics "
        "batch_eval_metrics eval_do_concat_batches eval_use_gather_object eval_accumulation_steps"
    ),
    "a curve begins after the first epoch or step": "eval_on_start",
    "every evaluation is in float32, so that `make verify` can repeat it": "bf16_full_eval fp16_full_eval",
    "a batch that needs too much memory is split by itself, with the same result": (
        "auto_find_batch_size activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing "
        "gradient_checkpointing_kwargs torch_empty_cache_steps"
    ),
    "how a machine computes is not part of a study, whose runs others repeat on theirs": (
        "use_cpu local_rank tf32 torch_compile torch_compile_backend torch_compile_mode use_liger_kernel "
        "liger_kernel_config use_cache average_tokens_across_devices accelerator_config parallelism_config "
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context dataloader_in_order ddp_find_unused_parameters ddp_bucket_cap_mb "
        "ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed"
    ),
}
REFUSED: Final[Mapping[str, str]] = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def find_misfits(training: TrainingConfig, data: DataConfig) -> Iterator[str]:
    """Yield what is wrong with training arguments for so many rows: nothing would be trained, chosen or evaluated."""
    metric, size = training.metric_for_best_model, training.per_device_train_batch_size
    if metric.startswith("selection_") and not data.n_selection:
        yield f"metric_for_best_model: {metric} needs selection rows: set data.n_selection"
    if training.dataloader_drop_last and data.n_train < size:
        yield (f"dataloader_drop_last: it would leave out the only batch, since n_train = {data.n_train} is less than "
               f"per_device_train_batch_size = {size}")  # fmt: skip
    in_steps = training.eval_strategy == "steps"
    n, unit = (
        (training.count_steps(data.n_train), "steps") if in_steps else (training.count_epochs(data.n_train), "epochs")
    )
    if training.load_best_model_at_end and (training.eval_delay or 0) > n:
        yield f"eval_delay: expected at most the run's {n:g} {unit}: no checkpoint could be chosen"
