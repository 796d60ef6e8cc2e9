"""Define the codes of the report: why something is missing, what a verdict says, what a comparison is based on."""

from __future__ import annotations

from typing import Literal

Basis = Literal["submitted", "best"]
Factor = Literal["learning_rate", "batch_size", "eval_strategy", "epochs"]

EvalStrategy = Literal["steps", "epoch", "no"]
VerdictKind = Literal["better", "worse", "not_distinguishable", "not_comparable"]

Reason = Literal[
    "no_runs",  # the study plans no such run
    "missing",  # never run
    "failed",  # the run failed
    "broken",  # its record cannot be read
    "no_predictions",  # the record is there, its predictions are not, or cannot be read
    "predictions_disagree",  # the predictions are not those that the record's test result was computed from
    "not_evaluated",  # no evaluation on validation took place (eval_strategy: no)
    "no_counterpart",  # fewer than two adapters can be compared
    "different_rows",  # the two adapters predicted different test rows
    "different_sources",  # the two adapters were run on different base models or data
    "one_class",  # all test rows have the same label
    "no_variants",  # the study has no variants that differ in this alone
    "nothing_published",  # published/ is empty: the study does not repeat another
    "no_published",  # the source names no published results: another base model or data set
    "not_published",  # published results there are, but none of this adapter
    "published_mixed",  # records of several sources: which to compare is not clear
    "published_unknown",  # the source names published results that were not given
    "not_measured",  # the record does not say what each layer learned
    "no_adapter",  # the baseline trains no adapter
    "other_layout",  # no adapter names a module of a Transformer block of DistilBERT or BERT
    "published_other_protocol",  # no completed run has the published learning rate, epochs and batch size
]
