"""Speed and size of a model, and its comparison with the model in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modeling.environment import cpu_name
from modeling.evaluation import quality
from modeling.evaluation.quality import Probabilities
from modeling.evaluation.speed import sample, texts_per_second
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.tasks.sentiment.texts import LabelledTexts
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier


@dataclass(frozen=True, slots=True)
class InUse:
    """The model to compare with: its folder, its name in the report, and its version if it is a registered one."""

    folder: Path
    name: str
    version: str | None = None


def section(
    files: ModelFiles,
    classifier: Classifier,
    sets: Sequence[LabelledTexts],
    probabilities: Sequence[Probabilities],
    in_use: InUse | None,
) -> dict[str, Any]:
    """The section ``performance`` of the report, from the ``probabilities`` of ``classifier`` for each of ``sets``."""
    pool = [text for labelled in sets for text in labelled.texts] or [golden.text for golden in classifier.spec.golden]
    texts = sample(pool)
    other = Classifier(in_use.folder) if in_use else None
    speed, *speeds = texts_per_second([partial(_answer, model) for model in (classifier, other) if model], texts)
    measured = {
        "cpu": cpu_name(),
        "texts": len(texts),
        "texts_per_second": round(speed, 1),
        "bytes": _bytes(files.folder),
        "against": None,
    }
    if in_use and other:
        languages = ModelSpec.load(in_use.folder).languages
        measured["against"] = {
            "name": in_use.name,
            "version": in_use.version,
            "sha256": {name: sha256(in_use.folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
            "languages": {
                labelled.language: quality.loss(
                    quality.indices(labelled.labels),
                    rows.argmax(axis=1),
                    quality.predict(other, labelled.texts).argmax(axis=1),
                )
                for labelled, rows in zip(sets, probabilities, strict=True)
                if labelled.language in languages
            },
            "texts_per_second": round(speeds[0], 1),
            "relative_speed": round(speed / speeds[0], 3),
            "bytes": _bytes(in_use.folder),
        }
    return measured


def _answer(classifier: Classifier, text: str) -> Probabilities:
    return classifier.predict(classifier.encode([text]))


def _bytes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in (MODEL_FILE, TOKENIZER_FILE)}
