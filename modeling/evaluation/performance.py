"""Speed and size of a model, and its comparison with the model in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modeling.environment import cpu_name
from modeling.evaluation import quality
from modeling.evaluation.answers import Answers, Scores, answers, right_answers
from modeling.evaluation.speed import sample, texts_per_second
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.texts import SEVERAL, LabelledTexts
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier
from textserve.prediction import Prediction
from textserve.spec import Input


@dataclass(frozen=True, slots=True)
class InUse:
    """The model to compare with: its folder, its name in the report, and its version if it is registered."""

    folder: Path
    name: str
    version: str | None = None


def section(
    files: ModelFiles,
    classifier: Classifier,
    sets: Sequence[LabelledTexts],
    scores: Sequence[Scores],
    in_use: InUse | None,
) -> dict[str, Any]:
    """The section ``performance`` of the report, from the ``scores`` of ``classifier`` for each of ``sets``."""
    spec = files.spec()
    pool = [text for labelled in sets for text in labelled.texts] or [golden.input for golden in classifier.spec.golden]
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
        other_spec = ModelSpec.load(in_use.folder)
        measured["against"] = {
            "name": in_use.name,
            "version": in_use.version,
            "sha256": {name: sha256(in_use.folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
            "languages": {
                labelled.language: quality.loss(
                    spec,
                    right_answers(spec, labelled.answers),
                    answers(spec, rows),
                    _answers(other, labelled.texts, spec),
                )
                for labelled, rows in zip(sets, scores, strict=True)
                if _is_comparable(spec, other_spec, labelled.language)
            },
            "texts_per_second": round(speeds[0], 1),
            "relative_speed": round(speed / speeds[0], 3),
            "bytes": _bytes(in_use.folder),
        }
    return measured


def _is_comparable(spec: ModelSpec, other: ModelSpec, language: str) -> bool:
    """Whether ``other`` answers the same question about texts of ``language``."""
    languages = spec.languages if language == SEVERAL else [language]
    same = (spec.problem_type, spec.input) == (other.problem_type, other.input)
    return same and set(languages) <= set(other.languages)


def _answers(other: Classifier, texts: Sequence[Input], spec: ModelSpec) -> Answers:
    """The answers of ``other`` as labels of ``spec``, which may have the labels in another order, or lack some."""
    scores = other.predict_many(texts)
    if spec.problem_type == "regression":
        return answers(spec, scores)
    predictions = [Prediction(other.spec, row, tokens=0, truncated=False) for row in scores.tolist()]
    several = spec.problem_type == "multi_label_classification"
    return right_answers(spec, [tuple(each.labels) if several else each.label for each in predictions])


def _answer(classifier: Classifier, text: Input) -> Scores:
    return classifier.predict(classifier.encode([text]))


def _bytes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in (MODEL_FILE, TOKENIZER_FILE)}
