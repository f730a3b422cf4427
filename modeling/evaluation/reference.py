"""The reference of a model: statistics on known texts, with which the service compares its traffic."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modeling.files import ModelFiles, replacing, sha256
from modeling.texts import drawn, reference_texts
from textserve.classifier import Classifier
from textserve.drift import MAX_LABELS, STATISTICS, Reference, measure
from textserve.prediction import Prediction
from textserve.spec import Input, ModelSpec

BINS = 10
# Fewer texts say too little about a group.
MIN_TEXTS = 100
MAX_TEXTS = 1000
# A token is rare if it is not among the FREQUENT_IDS most frequent tokens, or was seen fewer than MIN_SEEN times.
FREQUENT_IDS = 2000
MIN_SEEN = 5


def write_reference(files: ModelFiles, texts: Mapping[str, Sequence[Input]] | None = None) -> dict[str, int]:
    """Write ``reference.json`` of a model, and return the number of texts of each group.

    ``texts`` are as for :func:`reference_groups`. Without any group, no reference is written and an existing file is
    removed.
    """
    groups = reference_groups(files, texts)
    if groups:
        classifier = Classifier(files.folder)
        answered = {name: predictions(classifier, group) for name, group in groups.items()}
        content = {"sha256": sha256(files.model), **_reference(classifier.spec, answered, _unknown_id(files))}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        with replacing(files.reference_file) as new:
            new.write_text(text + "\n", encoding="utf-8")
    else:
        files.reference_file.unlink(missing_ok=True)
    return {name: len(group) for name, group in groups.items()}


def reference_groups(
    files: ModelFiles, texts: Mapping[str, Sequence[Input]] | None = None
) -> dict[str, Sequence[Input]]:
    """The texts to measure, at most MAX_TEXTS per group; a group with fewer than MIN_TEXTS is left out.

    ``texts`` has the texts of each group, by default those of :func:`modeling.texts.reference_texts`.
    """
    return {
        name: drawn(group, MAX_TEXTS)
        for name, group in (reference_texts(files) if texts is None else texts).items()
        if len(group) >= MIN_TEXTS
    }


def predictions(classifier: Classifier, texts: Sequence[Input]) -> list[Prediction]:
    """The predictions of the model for ``texts``, with token ids, as the service makes them."""
    rows, encodings = classifier.predict_many(texts).tolist(), classifier.encode(texts)
    return [encoding.answer(classifier.spec, row) for row, encoding in zip(rows, encodings, strict=True)]


def _reference(spec: ModelSpec, groups: Mapping[str, Sequence[Prediction]], unknown_id: int | None) -> dict[str, Any]:
    everything = [prediction for group in groups.values() for prediction in group]
    seen = Counter(token for prediction in everything for token in prediction.ids)
    frequent = frozenset(token for token, count in seen.most_common(FREQUENT_IDS) if count >= MIN_SEEN)
    names = list(STATISTICS)
    if spec.problem_type == "regression":
        names.remove("label")
    if unknown_id is None:
        names.remove("unknown")
    values = [measure(prediction, unknown_id, frequent) for prediction in everything]
    bounds = {name: _bounds([value[name] for value in values]) for name in names if name not in ("label", "capitals")}
    bounds["capitals"] = [0.0]
    sizes = {name: len(bounds[name]) + 1 if name in bounds else min(len(spec.labels), MAX_LABELS + 1) for name in names}
    reference = Reference(
        bounds=bounds,
        unknown_id=unknown_id,
        frequent_ids=frequent,
        groups={"": {name: [0] * size for name, size in sizes.items()}},
    )
    counted = {name: _histograms(reference, group, sizes) for name, group in groups.items()}
    return {
        "bounds": bounds,
        "unknown_id": unknown_id,
        "frequent_ids": sorted(frequent),
        "groups": counted,
    }


def _bounds(values: Sequence[float]) -> list[float]:
    """Quantiles that divide ``values`` into at most BINS bins: equal quantiles are merged, so that no bin is empty."""
    found = np.quantile(values, np.arange(1, BINS) / BINS, method="lower")
    return [float(bound) for bound in np.unique(found) if bound < max(values)] or [float(max(values))]


def _histograms(reference: Reference, group: Sequence[Prediction], sizes: Mapping[str, int]) -> dict[str, list[int]]:
    rows = np.array([reference.bins(prediction) for prediction in group])
    return {
        name: np.bincount(rows[:, column], minlength=size).tolist() for column, (name, size) in enumerate(sizes.items())
    }


def _unknown_id(files: ModelFiles) -> int | None:
    """The id of the unknown token in the model's ``tokenizer.json``, or ``None``."""
    content = json.loads(files.tokenizer.read_text(encoding="utf-8"))
    model = content["model"]
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else {}
    found = {**vocabulary, **added}.get(model.get("unk_token"))
    return None if found is None else int(found)
