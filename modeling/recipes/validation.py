"""A trained model's answers on the validation part, as the metrics and plots by which runs are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score, log_loss

from modeling.tasks.sentiment.dataset import MEANINGS

MACRO_F1 = "validation_macro_f1"
BINS = 10


@dataclass(frozen=True)
class Validation:
    """Answers and truth.

    ``truth``: indices into MEANINGS, int64 ``[texts]``. ``probabilities``: float ``[texts, 3]``, in the same order.
    """

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
        # Not pyplot's figures, which stay in memory until they are closed.
        confusion = Figure(figsize=(4.6, 4.2), layout="constrained")
        ConfusionMatrixDisplay.from_predictions(
            self.truth,
            self.probabilities.argmax(axis=1),
            labels=range(len(MEANINGS)),
            display_labels=MEANINGS,
            cmap="Blues",
            colorbar=False,
            ax=confusion.subplots(),
        )
        reliability = Figure(figsize=(4.6, 4.2), layout="constrained")
        correct = self.probabilities.argmax(axis=1) == self.truth
        share, score = calibration_curve(correct, self.probabilities.max(axis=1), n_bins=BINS)
        axis = reliability.subplots()
        axis.plot([0, 1], [0, 1], color="gray", linestyle="--", label="perfect calibration")
        axis.plot(score, share, marker="o", label="model")
        axis.set(xlabel="score of the answer", ylabel="share of correct answers", title="Reliability, validation part")
        axis.legend()
        return {"confusion.png": confusion, "reliability.png": reliability}
