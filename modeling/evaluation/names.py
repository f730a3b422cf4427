"""The names of metrics in reports and for readers, without the packages that compute them, which serving lacks."""

from __future__ import annotations

from collections.abc import Mapping

from textserve.spec import ProblemType

# The main metric, which gates and comparisons use, and the key of its loss against another model.
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
