"""The answers of VADER's English lexicon and rules (Hutto and Gilbert, ICWSM 2014), as a baseline for any model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# The threshold on the compound score that VADER's documentation recommends.
THRESHOLD = 0.05


def vader(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """The label of each text as an index into MEANINGS, int64 ``[texts]``."""
    analyzer = SentimentIntensityAnalyzer()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts]
    return np.array([2 if score >= THRESHOLD else 0 if score <= -THRESHOLD else 1 for score in scores], dtype=np.int64)
