"""Specs of every shape of classifier, and predictions of them, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textserve.classifier import activate
from textserve.prediction import Prediction
from textserve.spec import ModelSpec

MULTI = "multi_label_classification"


def spec(labels: Sequence[Any], first: Any, second: Any, **more: Any) -> ModelSpec:
    """A spec whose two golden texts, or pairs, have the answers ``first`` and ``second``."""
    pair = {"text_pair": "other"} if more.get("input") == "pair" else {}
    key = {MULTI: "labels", "regression": "score"}.get(more.get("problem_type", ""), "label")
    return ModelSpec.model_validate(
        {
            "name": "fake",
            "description": "Fake.",
            "labels": labels,
            "tokenization": {"pad_id": 0, "max_tokens": 64},
            "golden": [{"text": "a", key: first} | pair, {"text": "b", key: second} | pair],
            **more,
        }
    )


SPECS = {
    "single": spec(["ham", "spam"], "ham", "spam"),
    "several": spec(["insult", {"name": "threat", "threshold": 0.9}, "spam"], ["insult"], [], problem_type=MULTI),
    "number": spec(["stars"], 1.0, 2.0, problem_type="regression"),
    "pair": spec(["contradiction", "entailment", "neither"], "entailment", "neither", input="pair"),
    "pair number": spec(["relevance"], 1.0, 2.0, problem_type="regression", input="pair"),
    "pair several": spec(["same", "about"], ["same"], [], problem_type=MULTI, input="pair"),
    "150 labels": spec([f"intent {index}" for index in range(150)], "intent 0", "intent 1"),
    "28 labels": spec([f"emotion {index}" for index in range(28)], ["emotion 0"], [], problem_type=MULTI),
}


def predictions(served: ModelSpec, *logits: Sequence[float], tokens: int = 3) -> list[Prediction]:
    """A prediction for each row of logits."""
    rows = np.array(logits, dtype=np.float32)
    return [
        Prediction(served, scores, tokens, truncated=False, logits=row)
        for scores, row in zip(activate(served.activation, rows).tolist(), rows.tolist(), strict=True)
    ]


def some(served: ModelSpec) -> list[Prediction]:
    """One prediction: its best label is the model's last label, its second best the first."""
    count = len(served.labels)
    return predictions(served, [1.0, *[-2.0] * (count - 2), 3.0] if count > 1 else [1.5])
