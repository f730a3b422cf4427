"""Proposes golden texts: texts that the model answers most surely, so that INT8 does not change the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from modeling.errors import ModelingError
from modeling.export.checkpoint import torch_logits
from modeling.spec import ModelSpec
from textserve.classifier import activate
from textserve.prediction import Prediction
from textserve.spec import Input

EXAMPLES_FILE = Path(__file__).with_name("examples.yaml")
# The most and the fewest golden texts; one for each label, or set of labels.
MOST = 6
FEWEST = 2
# The distance to another answer, in standard deviations of all logits, that INT8 should not bridge.
SURE = 0.5
# Tolerance of a number, as a share of its range over all texts. INT8 moves the tests' numbers by 1/7 of it at most.
TOLERANCE = 0.2


def examples(languages: Sequence[str], kind: str) -> list[Input]:
    """Everyday texts in ``languages``, or in English if there are none in these; pairs if ``kind`` is "pair".

    The first text of each pair is also paired with the second of the next pair, to which it does not belong.
    """
    known = yaml.safe_load(EXAMPLES_FILE.read_text(encoding="utf-8"))["pairs" if kind == "pair" else "texts"]
    found: list[Input] = []
    for language in [language for language in languages if language in known] or ["en"]:
        texts = known[language]
        if kind == "pair":
            texts = [(text, other) for text, other in texts]
            texts += [(text, other) for (text, _), (_, other) in zip(texts, [*texts[1:], texts[0]], strict=True)]
        found += texts
    return found


def propose(spec: ModelSpec, checkpoint: Path, texts: Sequence[Input]) -> list[dict[str, Any]]:
    """Golden texts chosen from ``texts``, in the form of ``model.yaml``; those of ``spec`` are not read.

    Raises :class:`ModelingError` if the checkpoint does not run, or answers with other than finite numbers.
    """
    texts = list(dict.fromkeys(texts))
    logits = torch_logits(spec, checkpoint, texts)
    if logits.shape != (len(texts), len(spec.labels)) or not np.isfinite(logits).all():
        raise ModelingError(f"{checkpoint}: its network does not answer with {len(spec.labels)} numbers for a text")
    scores = activate(spec.activation, logits)
    if spec.problem_type == "regression":
        return _numbers(texts, scores[:, 0])
    several = spec.problem_type == "multi_label_classification"
    predictions = [Prediction(spec, row, tokens=0, truncated=False) for row in scores.tolist()]
    answers = [tuple(sorted(found.labels)) if several else (found.label,) for found in predictions]
    chosen = _surest(answers, distances(spec, logits))
    given = [{"labels": list(answer)} if several else {"label": answer[0]} for answer in answers]
    return [_input(texts[index]) | given[index] for index in chosen]


def distances(spec: ModelSpec, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The distance of each row of ``logits``, ``[texts, labels]``, to another answer, in standard deviations of all.

    Shape ``[texts]``; only for models with labels.
    """
    if spec.problem_type == "multi_label_classification":
        thresholds = np.array(spec.thresholds)
        far = np.abs(logits - np.log(thresholds / (1 - thresholds))).min(axis=1)
    else:
        ranked = np.sort(logits, axis=1)
        far = ranked[:, -1] - ranked[:, -2]
    return np.asarray(far / max(float(logits.std()), 1e-12), dtype=np.float32)


def _surest(answers: Sequence[tuple[str, ...]], far: npt.NDArray[np.float32]) -> list[int]:
    """The index of the surest text for each answer that has one; at least two indices, of two answers if possible.

    An empty set of labels comes last.
    """
    order = [int(index) for index in np.argsort(-far, kind="stable")]
    first: dict[tuple[str, ...], int] = {}
    for index in order:
        first.setdefault(answers[index], index)
    sure = [index for index in first.values() if far[index] >= SURE]
    chosen = sorted(sure, key=lambda index: not answers[index])[:MOST]
    for index in [*first.values(), *order]:
        if len(chosen) < FEWEST and index not in chosen:
            chosen.append(index)
    return chosen


def _numbers(texts: Sequence[Input], scores: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
    """The two texts with the lowest and the two with the highest score."""
    order = [int(index) for index in np.argsort(scores, kind="stable")]
    spread = float(scores.max() - scores.min())
    tolerance = max(TOLERANCE * spread, 0.01 * float(np.abs(scores).max()), 1e-3)
    return [
        _input(texts[index]) | {"score": _digits(float(scores[index]), 4), "tolerance": _digits(tolerance, 2)}
        for index in dict.fromkeys([*order[:2], *order[-2:]])
    ]


def _input(text: Input) -> dict[str, Any]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def _digits(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")
