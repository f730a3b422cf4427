"""A trained model's answers on the validation part, as the metrics and plots by which runs are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from modeling.evaluation import plots, quality
from modeling.tasks.sentiment.dataset import MEANINGS

MACRO_F1 = "validation_macro_f1"
# The lowest score that the likeliest of three labels can have.
LOWEST_SCORE = 0.33


@dataclass(frozen=True)
class Validation:
    """``truth``: indices into MEANINGS, int64 ``[texts]``. ``probabilities``: float ``[texts, 3]``, in this order."""

    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[Any]

    @property
    def macro_f1(self) -> float:
        """The metric by which the best run is chosen: each label weighs the same, however rare."""
        return float(f1_score(self.truth, self.probabilities.argmax(axis=1), average="macro"))

    def metrics(self) -> dict[str, float]:
        """Macro-F1, accuracy, and the mean negative log-likelihood of the truth (natural logarithm)."""
        return {
            MACRO_F1: self.macro_f1,
            "validation_accuracy": float(accuracy_score(self.truth, self.probabilities.argmax(axis=1))),
            "validation_log_loss": float(log_loss(self.truth, self.probabilities, labels=range(len(MEANINGS)))),
        }

    def figures(self) -> dict[str, Any]:
        """A confusion matrix and a reliability diagram, matplotlib figures by file name."""
        counts = confusion_matrix(self.truth, self.probabilities.argmax(axis=1), labels=range(len(MEANINGS)))
        calibration = quality.calibration(self.probabilities, self.truth)
        return {
            "confusion.png": plots.confusion({"validation part": counts.tolist()}, MEANINGS),
            "reliability.png": plots.reliability(calibration, "validation part", LOWEST_SCORE),
        }
