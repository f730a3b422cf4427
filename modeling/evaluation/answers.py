"""The answers of a model, and the right answers, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modeling.rows import Answer
from textserve.spec import ModelSpec

Scores: TypeAlias = npt.NDArray[np.float32]
# One label: its index, int64 [texts]; several labels: which apply, bool [texts, labels]; numbers: float64 [texts].
Answers: TypeAlias = npt.NDArray[Any]


def right_answers(spec: ModelSpec, given: Sequence[Answer]) -> Answers:
    """Right answers as an array; a label that the model lacks has an index past the last label, or is left out."""
    index = {label: position for position, label in enumerate(spec.label_names)}
    if spec.problem_type == "regression":
        return np.array(given, dtype=np.float64)
    if spec.problem_type == "single_label_classification":
        return np.array([index.get(str(label), len(index)) for label in given], dtype=np.int64)
    rows = np.zeros((len(given), len(index)), dtype=bool)
    for row, labels in zip(rows, given, strict=True):
        row[[index[label] for label in labels if label in index]] = True  # type: ignore[union-attr]  # each is a tuple
    return rows


def answers(spec: ModelSpec, scores: Scores) -> Answers:
    """What a model answers with these ``scores``, ``[texts, labels]``."""
    if spec.problem_type == "regression":
        return scores[:, 0].astype(np.float64)
    if spec.problem_type == "single_label_classification":
        return np.asarray(scores.argmax(axis=1))
    return np.asarray(scores >= np.array(spec.thresholds))


def differing(first: Answers, second: Answers) -> npt.NDArray[np.bool_]:
    """Whether two answers to each text differ: other labels, or another number."""
    different = np.asarray(first != second)
    return np.asarray(different.reshape(len(different), -1).any(axis=1))
