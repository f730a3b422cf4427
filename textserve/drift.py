"""Whether the served texts are still like those on which the model was measured. Keeps statistics, and no texts.

A model's ``reference.json`` has histograms of what the model read and answered on known texts, for each group of these,
such as a language. :class:`Window` keeps the same histograms of the last texts served, and :func:`compare` says how far
they are from the mixture of the groups that fits them best: the shares of the known groups may change, and only a
difference that no mixture explains counts.
"""

from __future__ import annotations

import logging
import math
import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from textserve.prediction import Prediction

logger = logging.getLogger(__name__)

REFERENCE_FILE = "reference.json"
# Statistics of a text: see measure().
STATISTICS = ("label", "score", "tokens", "unknown", "rare", "capitals")
# Labels with a bin and a time series of their own; the others share one.
MAX_LABELS = 50
# Parts of a window, which is tested after each part.
PARTS = 10
# Expected texts in a bin below which the chi-square distribution is a poor approximation (Cochran, 1954).
MIN_EXPECTED = 5.0
# The thresholds of deploy/alerts.yaml. Texts have drifted if both are passed: with many texts an unimportant difference
# is significant, and with few texts a large one is chance.
LEVEL, MIN_PSI = 0.001, 0.2
# Texts added to each bin, so that the index of an empty bin is finite.
SMOOTHING = 0.5
# The shares of the groups are fitted until they change by less than CONVERGED, for at most ROUNDS rounds.
CONVERGED, ROUNDS = 1e-4, 100

Counts: TypeAlias = npt.NDArray[np.float64]
Histograms: TypeAlias = Mapping[str, Counts]


class Reference(BaseModel):
    """What the model read and answered on known texts.

    Attributes:
        bounds: for each statistic but ``label``, the inclusive upper bounds of its bins; the last bin has none.
        unknown_id: the id of the token for what the vocabulary lacks; ``None`` if it lacks nothing.
        frequent_ids: the ids of the tokens that are not rare.
        groups: for each group, the number of texts in each bin, by statistic. All groups have the same statistics.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    bounds: dict[str, list[float]]
    unknown_id: int | None
    frequent_ids: frozenset[int]
    groups: dict[str, dict[str, list[int]]]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        shapes = [{name: len(counts) for name, counts in group.items()} for group in self.groups.values()]
        if not shapes or any(shape != shapes[0] for shape in shapes):
            raise ValueError("groups: needs at least one, all with the same statistics and bins")
        if unknown := shapes[0].keys() - set(STATISTICS):
            raise ValueError(f"groups: no such statistic: {', '.join(sorted(unknown))}")
        if any(bins != len(self.bounds.get(name, [])) + 1 for name, bins in shapes[0].items() if name != "label"):
            raise ValueError("bounds: each statistic needs one bound fewer than it has bins")
        return self

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The reference in a model's ``folder``; ``None`` if there is none, or if it is invalid, which is logged."""
        file = folder / REFERENCE_FILE
        if not file.exists():
            return None
        try:
            return cls.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            logger.error("%s cannot be used, so drift is not measured: %s", file, error)
            return None

    @cached_property
    def statistics(self) -> list[str]:
        """The names of the statistics of the groups, some or all of those of :func:`measure`."""
        return list(next(iter(self.groups.values())))

    @cached_property
    def histograms(self) -> list[Histograms]:
        """The histograms of each group."""
        return [
            {name: np.array(counts, dtype=np.float64) for name, counts in group.items()}
            for group in self.groups.values()
        ]

    def count(self, predictions: Sequence[Prediction]) -> dict[str, list[int]]:
        """The number of ``predictions`` in each bin, by statistic."""
        counts = {name: [0] * len(bins) for name, bins in next(iter(self.groups.values())).items()}
        for prediction in predictions:
            for found, bin_ in zip(counts.values(), self.bins(prediction), strict=True):
                found[bin_] += 1
        return counts

    def bins(self, prediction: Prediction) -> list[int]:
        """The bin of a text in each of :attr:`statistics`."""
        values = measure(prediction, self.unknown_id, self.frequent_ids)
        return [
            int(values[name]) if name == "label" else bisect_left(self.bounds[name], values[name])
            for name in self.statistics
        ]


def measure(prediction: Prediction, unknown_id: int | None, frequent_ids: frozenset[int]) -> dict[str, float]:
    """The statistics of a text.

    ``label``: the index of the winning label, at most ``MAX_LABELS``; ``score``: the highest score, for regression the
    number; ``tokens``: the number of tokens that the model reads; ``unknown``, ``rare``: the shares of unknown and of
    rare tokens; ``capitals``: 1 for a text in capitals, otherwise 0.
    """
    ids, score = prediction.ids, prediction.score
    return {
        "label": min(prediction.scores.index(score), MAX_LABELS),
        "score": score,
        "tokens": len(ids),
        "unknown": operator.countOf(ids, unknown_id) / len(ids),
        "rare": 1 - sum(map(frequent_ids.__contains__, ids)) / len(ids),
        "capitals": float(prediction.capitals),
    }


@dataclass(frozen=True, slots=True)
class Distance:
    """How far served texts are from the reference in one statistic.

    Attributes:
        psi: population stability index, in nats: 0 if the shares of all bins are equal.
        p_value: the p-value of the chi-square test that both are samples of one distribution, times the number of tests
            of a window (Bonferroni), at most 1: of 1,000 windows of texts like the reference, on average at most one
            has a value below 0.001 in any statistic.
    """

    psi: float
    p_value: float

    @property
    def drifted(self) -> bool:
        """Whether the difference is both significant and large."""
        return self.p_value < LEVEL and self.psi > MIN_PSI


class Window:
    """The histograms of the last ``texts`` texts, in ``PARTS`` parts; a complete part changes the distances."""

    def __init__(self, reference: Reference, texts: int) -> None:
        self._reference = reference
        self._part_texts = max(1, texts // PARTS)
        self._parts: deque[Histograms] = deque(maxlen=PARTS)
        self._counts = self._empty()
        self._texts = 0
        self._distances: dict[str, Distance] | None = {}

    @property
    def texts(self) -> int:
        """The number of texts on which the distances are measured."""
        return len(self._parts) * self._part_texts

    @property
    def distances(self) -> dict[str, Distance]:
        """The distances of the complete parts, by statistic; empty without any. Takes milliseconds after a part."""
        if self._distances is None:
            names = self._reference.statistics
            served = {name: np.sum([part[name] for part in self._parts], axis=0) for name in names}
            self._distances = compare(self._reference.histograms, served, tests=PARTS * len(names))
        return self._distances

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Count the texts of a request."""
        for prediction in predictions:
            for counts, bin_ in zip(self._counts, self._reference.bins(prediction), strict=True):
                counts[bin_] += 1
            self._texts += 1
            if self._texts == self._part_texts:
                self._complete()

    def _complete(self) -> None:
        counts = map(np.array, self._counts)
        self._parts.append(dict(zip(self._reference.statistics, counts, strict=True)))
        self._counts, self._texts = self._empty(), 0
        self._distances = None

    def _empty(self) -> list[list[float]]:
        return [[0.0] * len(counts) for counts in self._reference.histograms[0].values()]


def compare(groups: Sequence[Histograms], served: Histograms, tests: int = 1) -> dict[str, Distance]:
    """The distance of ``served`` from the best mixture of ``groups``, by statistic.

    Args:
        groups: the histograms of each group.
        served: the histograms of the served texts, at least one text.
        tests: the number of tests of a window, of all statistics together.
    """
    weights = mixture(groups, served)
    found = {}
    for name, counts in served.items():
        expected = sum(weight * shares(group[name]) for weight, group in zip(weights, groups, strict=True))
        # The sample size that has the variance of the mixture, which is a weighted mean.
        sizes = [group[name].sum() for group in groups]
        size = 1 / sum(weight**2 / texts for weight, texts in zip(weights, sizes, strict=True))
        p_value = chi_square_test(np.asarray(expected) * size, counts)
        found[name] = Distance(psi(np.asarray(expected), shares(counts)), min(1.0, p_value * tests))
    return found


def mixture(groups: Sequence[Histograms], served: Histograms) -> npt.NDArray[np.float64]:
    """The shares of ``groups`` that make ``served`` most likely, all statistics taken together; they sum to 1.

    By expectation maximization (Dempster, Laird and Rubin, 1977).
    """
    counts = np.concatenate(list(served.values()))
    likely = np.stack([np.concatenate([shares(group[name]) for name in served]) for group in groups])
    weights = np.full(len(groups), 1 / len(groups))
    for _ in range(ROUNDS):
        joint = weights[:, None] * likely
        before, weights = weights, (joint / joint.sum(axis=0)) @ counts / counts.sum()
        if np.abs(weights - before).max() < CONVERGED:
            break
    return weights


def psi(expected: Counts, found: Counts) -> float:
    """The population stability index of two lists of shares without zeros, in nats."""
    return float(np.sum((found - expected) * np.log(found / expected)))


def chi_square_test(first: Counts, second: Counts) -> float:
    """The p-value of the chi-square test that two histograms of the same bins are samples of one distribution.

    Neighbouring bins are joined until each has ``MIN_EXPECTED`` expected texts in both; 1 if only one bin is left.
    """
    smaller = min(first.sum(), second.sum()) / (first.sum() + second.sum())
    joined: list[tuple[float, float]] = []
    left = (0.0, 0.0)
    for one, two in zip(first.tolist(), second.tolist(), strict=True):
        left = (left[0] + one, left[1] + two)
        if sum(left) * smaller >= MIN_EXPECTED:
            joined.append(left)
            left = (0.0, 0.0)
    if joined:
        joined[-1] = (joined[-1][0] + left[0], joined[-1][1] + left[1])
    if len(joined) < 2:
        return 1.0
    one, two = np.array(joined).T
    ratio = math.sqrt(two.sum() / one.sum())
    # Press and others, Numerical Recipes, 3rd edition, equation 14.3.3.
    statistic = float(np.sum((ratio * one - two / ratio) ** 2 / (one + two)))
    return chi_square_tail(statistic, len(joined) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability that chi-square with ``degrees`` of freedom, at least 1, is larger than ``statistic``.

    Abramowitz and Stegun, 26.4.4 and 26.4.5.
    """
    half = statistic / 2
    if degrees % 2:
        total = math.erfc(math.sqrt(half))
        term, divisors = math.exp(-half) * math.sqrt(half / math.pi) * 2, range(3, degrees, 2)
    else:
        total = 0.0
        term, divisors = math.exp(-half), range(2, degrees, 2)
    if degrees > 1:
        total += term
    for divisor in divisors:
        term *= statistic / divisor
        total += term
    return min(1.0, total)


def shares(counts: Counts) -> Counts:
    """The share of each bin, smoothed so that none is 0."""
    return np.asarray((counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts)))
