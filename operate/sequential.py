"""Wald's sequential probability ratio test of a share, which decides as soon as there are enough data.

A. Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16 (1945), 117-186. Of all
tests with the same error rates it needs the fewest observations on average (Wald and Wolfowitz, 1948). The bounds are
1/alpha and beta, which hold exactly by Ville's inequality; Wald's own bounds are approximations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

# A share of 0 or 1 would let one observation decide.
SMALLEST = 1e-4


class Decision(Enum):
    """What the data say so far."""

    MORE = "more data needed"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Sprt:
    """Tests whether a share is at most ``good`` or at least ``bad``.

    ``alpha`` bounds the probability of calling a share of ``good`` bad, ``beta`` that of calling a share of ``bad``
    good, for independent observations, however often :meth:`decide` is called. For a share between the two, either
    decision may come. Raises :class:`ValueError` unless ``good < bad`` and both error rates are between 0 and 0.5.
    """

    good: float
    bad: float
    alpha: float = 0.01
    beta: float = 0.01

    def __post_init__(self) -> None:
        if not self.clipped(self.good) < self.clipped(self.bad):
            raise ValueError(f"the good share, {self.good}, is not below the bad one, {self.bad}")
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(f"alpha and beta must be between 0 and 0.5; found {self.alpha} and {self.beta}")

    @staticmethod
    def clipped(share: float) -> float:
        """The share, moved away from exactly 0 and 1."""
        return min(max(share, SMALLEST), 1 - SMALLEST)

    def decide(self, hits: float, total: float) -> Decision:
        """The decision after ``total`` observations so far, of which ``hits`` count towards the share."""
        good, bad = self.clipped(self.good), self.clipped(self.bad)
        evidence = hits * math.log(bad / good) + (total - hits) * math.log((1 - bad) / (1 - good))
        if evidence >= -math.log(self.alpha):
            return Decision.BAD
        if evidence <= math.log(self.beta):
            return Decision.GOOD
        return Decision.MORE
