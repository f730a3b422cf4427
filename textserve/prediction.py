"""The answer to a request: a prediction for each text, and the seconds that they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textserve.spec import Meaning


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result for one text.

    Attributes:
        labels: the model's labels, by index; shared by all predictions.
        probabilities: one per label, summing to 1.
        tokens: tokens read by the model, special tokens included.
        truncated: whether the text had more tokens.
        logits: the model's outputs before softmax.
    """

    labels: Sequence[Meaning]
    probabilities: Sequence[float]
    tokens: int
    truncated: bool
    logits: Sequence[float] = ()

    @property
    def score(self) -> float:
        """The highest probability."""
        return max(self.probabilities)

    @property
    def label(self) -> Meaning:
        """The label with the highest probability; the first one in a tie."""
        return self.labels[self.probabilities.index(self.score)]

    def ranked(self, scores: Sequence[float] | None = None) -> list[tuple[Meaning, float]]:
        """Labels with their ``scores`` (default: the probabilities), highest first."""
        pairs = zip(self.labels, self.probabilities if scores is None else scores, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions of a request, in input order, and the seconds it took.

    Queueing ends and inference begins when the first text is computed.
    """

    predictions: list[Prediction]
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(prediction.tokens for prediction in self.predictions)
