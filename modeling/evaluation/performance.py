"""Speed and size of a model, and what it is beside the model now in use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from modeling.environment import cpu_name
from modeling.evaluation import quality
from modeling.evaluation.quality import Probabilities
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.tasks.sentiment.texts import LabelledTexts
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier

SEED = 0
SPEED_TEXTS = 200
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class InUse:
    """The model to compare with: its files, what to call it, and its number if it is a registered version."""

    folder: Path
    name: str
    version: str | None = None


def texts_per_second(classifiers: Sequence[Classifier], texts: Sequence[str], rounds: int = ROUNDS) -> list[float]:
    """Speed of each model, tokenization included, one text at a time on one core: the median of ``rounds``, in turns.

    Turns, because a machine that others share changes its speed from minute to minute: only ratios within one call mean
    anything.
    """
    seconds: list[list[float]] = [[] for _ in classifiers]
    for _ in range(rounds + 1):
        for times, classifier in zip(seconds, classifiers, strict=True):
            started = time.perf_counter()
            for text in texts:
                classifier.predict(classifier.encode([text]))
            times.append(time.perf_counter() - started)
    # The first round warms up.
    return [len(texts) / median(times[1:]) for times in seconds]


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the ONNX file and of the tokenizer, by file name."""
    return {name: (folder / name).stat().st_size for name in (MODEL_FILE, TOKENIZER_FILE)}


def section(
    files: ModelFiles,
    classifier: Classifier,
    sets: Sequence[LabelledTexts],
    found: Sequence[Probabilities],
    in_use: InUse | None,
) -> dict[str, Any]:
    """The section ``performance`` of the report; ``against`` in it is null where there is no model in use.

    Args:
        files: of the model.
        classifier: the model.
        sets: labelled texts.
        found: the model's probabilities for each set, in the order of MEANINGS.
        in_use: the model to compare with.
    """
    pool = [text for one in sets for text in one.texts] or [golden.text for golden in classifier.spec.golden]
    texts = [pool[place] for place in np.random.default_rng(SEED).permutation(len(pool))[:SPEED_TEXTS]]
    other = Classifier(in_use.folder) if in_use else None
    speeds = texts_per_second([classifier, *([other] if other else [])], texts)
    against = _against(in_use, other, sets, found, speeds) if in_use and other else None
    return {
        "cpu": cpu_name(),
        "texts": len(texts),
        "texts_per_second": round(speeds[0], 1),
        "bytes": sizes(files.folder),
        "against": against,
    }


def _against(
    in_use: InUse,
    other: Classifier,
    sets: Sequence[LabelledTexts],
    found: Sequence[Probabilities],
    speeds: Sequence[float],
) -> dict[str, Any]:
    languages = {}
    for one, probabilities in zip(sets, found, strict=True):
        if one.language in ModelSpec.load(in_use.folder).languages:
            answers = quality.predict(other, one.texts).argmax(axis=1).tolist()
            languages[one.language] = quality.loss(
                quality.indices(one.labels), probabilities.argmax(axis=1).tolist(), answers
            )
    return {
        "name": in_use.name,
        "version": in_use.version,
        "sha256": {name: sha256(in_use.folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
        "languages": languages,
        "texts_per_second": round(speeds[1], 1),
        "relative_speed": round(speeds[0] / speeds[1], 3),
        "bytes": sizes(in_use.folder),
    }
