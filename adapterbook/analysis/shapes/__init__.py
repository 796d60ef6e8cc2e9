"""Define the report as data: frozen dataclasses, one module a topic."""

from __future__ import annotations

from adapterbook.analysis.shapes.comparisons import Baseline, BaselineKind, Comparison, Planning, Verdict
from adapterbook.analysis.shapes.findings import (
    Ablation,
    CostRow,
    CostTable,
    EpochsReport,
    EvalView,
    PublishedPoint,
    PublishedReport,
    PublishedRun,
)
from adapterbook.analysis.shapes.modules import FormulaRow, Learned, LearnedMean, LearnedModule, ParameterFormula
from adapterbook.analysis.shapes.reasons import Basis, EvalStrategy, Factor, Reason, VerdictKind
from adapterbook.analysis.shapes.report import Report, SourceReport, VariantReport
from adapterbook.analysis.shapes.runs import (
    AdapterReport,
    Curve,
    CurvePoint,
    Difference,
    Example,
    Examples,
    Group,
    Overfitting,
    PredictedRows,
    RunReport,
    Spread,
)
from adapterbook.analysis.shapes.sentences import SentenceRow, SentenceTable

__all__ = [
    "Ablation",
    "AdapterReport",
    "Baseline",
    "BaselineKind",
    "Basis",
    "Comparison",
    "CostRow",
    "CostTable",
    "Curve",
    "CurvePoint",
    "Difference",
    "EpochsReport",
    "EvalStrategy",
    "EvalView",
    "Example",
    "Examples",
    "Factor",
    "FormulaRow",
    "Group",
    "Learned",
    "LearnedMean",
    "LearnedModule",
    "Overfitting",
    "ParameterFormula",
    "Planning",
    "PredictedRows",
    "PublishedPoint",
    "PublishedReport",
    "PublishedRun",
    "Reason",
    "Report",
    "RunReport",
    "SentenceRow",
    "SentenceTable",
    "SourceReport",
    "Spread",
    "VariantReport",
    "Verdict",
    "VerdictKind",
]
