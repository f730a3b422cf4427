"""Metrics by problem type, computed for all resamples of the texts at once, and their intervals.

A metric takes the right answers and those of a model, and returns a function of rows of text indices: a value per row.
Intervals are 95 % percentile bootstrap intervals (Efron 1979) over RESAMPLES resamples of the texts, with a fixed seed:
how far a figure would move on other texts of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap, rankdata

from modeling.evaluation.answers import Answers, Scores, answers
from textserve.spec import ModelSpec

RESAMPLES = 2000
SEED = 0
# Text indices that one batch of the bootstrap may hold.
STEP = 5_000_000

Indices: TypeAlias = npt.NDArray[np.int64]
Statistic: TypeAlias = Callable[[Indices], npt.NDArray[np.float64]]


def accuracy(truth: Answers, found: Answers) -> Statistic:
    """Share of right labels."""
    return lambda indices: (truth == found)[indices].mean(axis=-1)


def macro_f1(truth: Answers, found: Answers) -> Statistic:
    """Mean F1 of the labels that occur, for one label per text: scikit-learn's macro ``f1_score``."""
    count = int(max(truth.max(initial=0), found.max(initial=0))) + 1

    def occurrences(labels: Answers, counted: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        rows = labels.reshape(-1, labels.shape[-1])
        cells = rows + count * np.arange(len(rows))[:, None]
        kept = cells.ravel() if counted is None else cells[counted.reshape(cells.shape)]
        return np.bincount(kept, minlength=count * len(rows)).reshape(*labels.shape[:-1], count)

    def value(indices: Indices) -> npt.NDArray[np.float64]:
        rated, answered = truth[indices], found[indices]
        both = occurrences(rated, rated == answered)
        sizes = occurrences(rated) + occurrences(answered)
        mean: npt.NDArray[np.float64] = (2 * both / np.maximum(sizes, 1)).sum(axis=-1) / (sizes > 0).sum(axis=-1)
        return mean

    return value


def set_f1(truth: Answers, found: Answers, average: str) -> Statistic:
    """F1 of sets of labels: over all pairs of text and label (``micro``), or the mean over occurring labels."""
    both, sizes = truth & found, truth.astype(np.int64) + found

    def value(indices: Indices) -> npt.NDArray[np.float64]:
        hits, all_ = (counts.T @ _weights(indices, len(counts)) for counts in (both.astype(float), sizes.astype(float)))
        if average == "micro":
            hits, all_ = hits.sum(axis=0), all_.sum(axis=0)
            return _shaped(2 * hits / np.maximum(all_, 1), indices)
        means = (2 * hits / np.maximum(all_, 1)).sum(axis=0) / np.maximum((all_ > 0).sum(axis=0), 1)
        return _shaped(means, indices)

    return value


def average_precision(truth: Answers, scores: Scores) -> Statistic:
    """Mean of scikit-learn's ``average_precision_score`` over the labels that some text has."""
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    # Texts of equal score share one rank.
    ends = np.vstack([ranked[1:] != ranked[:-1], np.ones((1, scores.shape[1]), dtype=bool)])

    def value(indices: Indices) -> npt.NDArray[np.float64]:
        weights = _weights(indices, len(truth))
        sums, counts = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for label in range(truth.shape[1]):
            drawn, relevant = weights[order[:, label]], truth[order[:, label], label]
            hits = np.cumsum(drawn * relevant[:, None], axis=0)[ends[:, label]]
            seen = np.cumsum(drawn, axis=0)[ends[:, label]]
            gained = np.diff(hits, axis=0, prepend=0.0)
            precision = (gained * hits / np.maximum(seen, 1)).sum(axis=0) / np.maximum(hits[-1], 1)
            sums, counts = sums + precision, counts + (hits[-1] > 0)
        return _shaped(sums / np.maximum(counts, 1), indices)

    return value


def _weights(indices: Indices, texts: int) -> npt.NDArray[np.float64]:
    """How often each text is in each row of ``indices``, ``[texts, rows]``."""
    rows = indices.reshape(-1, indices.shape[-1])
    cells = rows + texts * np.arange(len(rows))[:, None]
    return np.bincount(cells.ravel(), minlength=texts * len(rows)).reshape(len(rows), texts).T.astype(np.float64)


def _shaped(values: npt.NDArray[np.float64], indices: Indices) -> npt.NDArray[np.float64]:
    return values.reshape(indices.shape[:-1])


def rank_correlation(truth: Answers, found: Answers) -> Statistic:
    """Spearman's rank correlation; 0 where all numbers are equal and so have no order."""

    def value(indices: Indices) -> npt.NDArray[np.float64]:
        first, second = (rankdata(numbers[indices], axis=-1) for numbers in (truth, found))
        first, second = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (first, second))
        size = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
        return np.asarray((first * second).sum(axis=-1) / np.where(size > 0, size, 1))

    return value


def rmse(truth: Answers, found: Answers) -> Statistic:
    """Root mean square error."""
    return lambda indices: np.sqrt(((truth - found) ** 2)[indices].mean(axis=-1))


def main(spec: ModelSpec, truth: Answers, found: Answers) -> Statistic:
    """The main metric of the spec's problem type, which gates and comparisons use: MAIN of :mod:`.names`."""
    if spec.problem_type == "single_label_classification":
        return macro_f1(truth, found)
    return rank_correlation(truth, found) if spec.problem_type == "regression" else set_f1(truth, found, "micro")


def of(spec: ModelSpec, truth: Answers, scores: Scores) -> dict[str, Statistic]:
    """The metrics of the spec's problem type by name, in the order of their columns."""
    found = answers(spec, scores)
    first = main(spec, truth, found)
    if spec.problem_type == "single_label_classification":
        return {"accuracy": accuracy(truth, found), "macro_f1": first}
    if spec.problem_type == "regression":
        return {"rank_correlation": first, "rmse": rmse(truth, found)}
    return {
        "micro_f1": first,
        "macro_f1": set_f1(truth, found, "macro"),
        "average_precision": average_precision(truth, scores),
    }


def value_of(statistic: Statistic, texts: int) -> float:
    """The value of ``statistic`` on all texts, whose number is ``texts``."""
    return float(statistic(np.arange(texts)))


def interval(statistic: Statistic, texts: int) -> list[float]:
    """The two ends of the 95 % interval of ``statistic`` over resamples of the texts."""
    if texts < 2:  # scipy cannot resample a single text
        return [value_of(statistic, texts)] * 2
    found = bootstrap(
        (np.arange(texts),),
        lambda indices, axis: statistic(indices),
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, STEP // texts),
        method="percentile",
        rng=SEED,
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def figures(statistics: Mapping[str, Statistic], texts: int) -> dict[str, Any]:
    """The value on all texts, and the interval, of each of ``statistics``."""
    values = {name: value_of(statistic, texts) for name, statistic in statistics.items()}
    return values | {f"{name}_interval": interval(statistic, texts) for name, statistic in statistics.items()}
