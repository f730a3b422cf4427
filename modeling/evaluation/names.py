"""The names of metrics, in a report and for a reader; without what computes them, which serving does not have."""

from __future__ import annotations

from collections.abc import Mapping

from textserve.spec import ProblemType

# The metric that gates and comparisons are about, and the name of what is lost of it.
MAIN: Mapping[ProblemType, str] = {
    "single_label_classification": "macro_f1",
    "multi_label_classification": "micro_f1",
    "regression": "rank_correlation",
}
LOSS: Mapping[ProblemType, str] = {
    "single_label_classification": "f1_loss",
    "multi_label_classification": "f1_loss",
    "regression": "rank_correlation_loss",
}
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "average_precision": "average precision",
    "rank_correlation": "rank correlation",
    "rmse": "RMSE",
}
