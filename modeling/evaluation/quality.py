"""Quality of a model's answers on labelled texts, with intervals: accuracy, macro-F1, calibration.

Intervals are 95 % percentile bootstrap intervals (Efron 1979) over RESAMPLES resamples of the texts, with a fixed seed:
how far a figure would move on other texts of the same kind. A model without a label, such as neutral, is measured on
the texts of its own labels only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap
from sklearn.metrics import confusion_matrix

from modeling.tasks.sentiment.dataset import MEANINGS
from modeling.tasks.sentiment.texts import LabelledTexts
from modeling.tasks.sentiment.vader import vader
from textserve.classifier import Classifier

BINS = 15
RESAMPLES = 2000
SEED = 0

Probabilities = npt.NDArray[np.float32]
# Labels of texts, as indices into MEANINGS.
Labels = npt.NDArray[np.int64]


def predict(classifier: Classifier, texts: Sequence[str]) -> Probabilities:
    """Probabilities, float32 ``[texts, 3]``, in the order of MEANINGS; 0 for a label that the model lacks."""
    probabilities = np.zeros((len(texts), len(MEANINGS)), dtype=np.float32)
    probabilities[:, indices(classifier.spec.label_names)] = classifier.predict_many(texts)
    return probabilities


def indices(labels: Sequence[str]) -> Labels:
    """``labels`` as indices into MEANINGS."""
    return np.array([MEANINGS.index(label) for label in labels], dtype=np.int64)


def calibration(probabilities: Probabilities, truth: Labels) -> dict[str, Any]:
    """Expected calibration error (Guo and others 2017), with score, accuracy and count of each bin that has texts."""
    scores, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    filled = [
        {"score": float(scores[bins == index].mean()), "accuracy": float(correct[bins == index].mean()), "texts": count}
        for index, count in enumerate(np.bincount(bins, minlength=BINS).tolist())
        if count
    ]
    error = sum(each["texts"] * abs(each["score"] - each["accuracy"]) for each in filled) / len(truth)
    return {"ece": float(error), "bins": filled}


def accuracy(truth: Labels, answers: Labels, axis: int = -1) -> Any:
    """Share of correct answers along ``axis``."""
    return (truth == answers).mean(axis=axis)


def macro_f1(truth: Labels, answers: Labels, axis: int = -1) -> Any:
    """Mean F1 of the labels that occur, along ``axis``: scikit-learn's ``f1_score``, vectorized for the resamples."""
    masks = [(truth == index, answers == index) for index in range(len(MEANINGS))]
    both = np.array([(rated & answered).sum(axis=axis) for rated, answered in masks])
    sizes = np.array([rated.sum(axis=axis) + answered.sum(axis=axis) for rated, answered in masks])
    return (2 * both / np.maximum(sizes, 1)).sum(axis=0) / (sizes > 0).sum(axis=0)


def interval(statistic: Callable[..., Any], *samples: Labels) -> list[float]:
    """The 95 % interval of ``statistic(*samples, axis=…)`` over resamples of the texts, as its two ends."""
    if len(samples[0]) < 2:  # scipy resamples no single text
        return [float(statistic(*samples))] * 2
    found = bootstrap(samples, statistic, paired=True, n_resamples=RESAMPLES, method="percentile", rng=SEED)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def figures(truth: Labels, answers: Labels, lexicon: Labels | None = None) -> dict[str, Any]:
    """Number of texts, accuracy and macro-F1 with intervals, and the macro-F1 of a lexicon's answers, if any."""
    return {
        "texts": len(truth),
        "accuracy": float(accuracy(truth, answers)),
        "accuracy_interval": interval(accuracy, truth, answers),
        "macro_f1": float(macro_f1(truth, answers)),
        "macro_f1_interval": interval(macro_f1, truth, answers),
        **({} if lexicon is None else {"vader_macro_f1": float(macro_f1(truth, lexicon))}),
    }


def loss(truth: Labels, answers: Labels, other: Labels) -> dict[str, Any]:
    """Macro-F1 lost against another model's answers on the same texts, with the interval of the paired difference."""

    def lost(truth: Labels, answers: Labels, other: Labels, axis: int = -1) -> Any:
        return macro_f1(truth, other, axis) - macro_f1(truth, answers, axis)

    return {
        "macro_f1": float(macro_f1(truth, other)),
        "f1_loss": float(lost(truth, answers, other)),
        "f1_loss_interval": interval(lost, truth, answers, other),
    }


def section(sets: Sequence[LabelledTexts], probabilities: Sequence[Probabilities]) -> dict[str, Any]:
    """The section ``quality`` of the report, from the model's ``probabilities`` for each of ``sets``."""
    if not sets:
        return {"languages": {}}
    languages = {}
    for labelled, rows in zip(sets, probabilities, strict=True):
        columns = [indices(labelled.labels), rows.argmax(axis=1)]
        matrix = confusion_matrix(*columns, labels=range(len(MEANINGS))).tolist()
        if labelled.language == "en":
            columns.append(vader(labelled.texts))
        measured = {**figures(*columns), "name": labelled.name, "confusion": matrix}
        if labelled.domains:
            domains = np.array(labelled.domains)
            measured["domains"] = {
                domain: figures(*(column[domains == domain] for column in columns))
                for domain in sorted(set(labelled.domains))
            }
        languages[labelled.language] = measured
    # The calibration error of a few texts is mostly chance.
    largest, rows = max(zip(sets, probabilities, strict=True), key=lambda pair: len(pair[0].texts))
    calibrated = {"language": largest.language, "name": largest.name, "texts": len(largest.texts)}
    return {"languages": languages, "calibration": calibrated | calibration(rows, indices(largest.labels))}
