"""The answer to a request: a prediction for each text, and the seconds that each stage took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from textserve.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result for one text, or one pair of texts.

    Attributes:
        spec: the model's spec; shared by all predictions.
        scores: one per label: probabilities that sum to 1, or independent probabilities, or a number, as the spec says.
        tokens: tokens read by the model, special tokens included.
        truncated: whether the text had more tokens than that.
        logits: the model's outputs before its activation.
        ids: the token ids that the model read; not shown, since they are the text.
        capitals: whether the text is written in capitals.
    """

    spec: ModelSpec
    scores: Sequence[float]
    tokens: int
    truncated: bool
    logits: Sequence[float] = ()
    ids: Sequence[int] = field(default=(), compare=False, repr=False)
    capitals: bool = False

    @property
    def score(self) -> float:
        """The highest score; for regression, the number."""
        return max(self.scores)

    @property
    def label(self) -> str:
        """The label with the highest score; the first one in a tie."""
        return self.spec.label_names[self.scores.index(self.score)]

    @property
    def labels(self) -> list[str]:
        """The labels whose score reaches their threshold, the highest score first."""
        labels = zip(self.spec.label_names, self.scores, self.spec.thresholds, strict=True)
        over = [(label, score) for label, score, threshold in labels if score >= threshold]
        return [label for label, _ in sorted(over, key=lambda pair: -pair[1])]

    def ranked(self, scores: Sequence[float] | None = None) -> list[tuple[str, float]]:
        """Labels with their ``scores`` (default: those of this prediction), highest first."""
        pairs = zip(self.spec.label_names, self.scores if scores is None else scores, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions of a request, in input order, and the seconds that each stage took.

    Queueing ends and inference begins when the first text is computed.
    """

    predictions: list[Prediction]
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(prediction.tokens for prediction in self.predictions)
