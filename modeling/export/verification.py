"""Verify a model: compare the served ONNX file with the source of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from modeling.environment import cpu_flags, cpu_name, versions
from modeling.errors import ModelingError
from modeling.evaluation.speed import sample, texts_per_second
from modeling.export.checkpoint import check_source, source_scores, tokenized
from modeling.files import ModelFiles
from modeling.progress import Progress
from modeling.tasks.sentiment.texts import comparison_texts
from textserve.classifier import TOKENIZER_FILE, Classifier, Encoding, GoldenMismatch, batch_feeds, open_session

SEED = 0
GROUPINGS = 5
LARGEST_BATCH = 32

Probabilities = npt.NDArray[np.float32]


def verify(files: ModelFiles, checkpoint: Path, texts: list[str] | None = None) -> dict[str, Any]:
    """Measure fidelity, speed and exactness, and return the section ``verification`` of the report, which it adds.

    ``texts`` are unlabelled; by default the labelled texts of the task are compared. Raises :class:`ModelingError` if a
    file is missing, the tokenizer is another model's, or a golden text gets another label.
    """
    labels: Sequence[str | None]
    texts, labels = (texts, [None] * len(texts)) if texts else comparison_texts(files, files.data)
    section = compare(files, checkpoint, texts, labels)
    files.add_to_report("verification", section)
    return section


def compare(files: ModelFiles, checkpoint: Path, texts: list[str], labels: Sequence[str | None]) -> dict[str, Any]:
    """The measurements of :func:`verify` on ``texts``; a label of None does not count for macro-F1."""
    spec = files.spec()
    source = check_source(files, checkpoint)
    if not files.float_model.exists():
        raise ModelingError(f"{files.float_model} does not exist; python -m scripts.export {spec.name} writes it")
    classifier = Classifier(files.folder)
    encodings = classifier.encode(texts)
    _check_served_tokenizer(classifier, checkpoint, texts, encodings)
    try:
        classifier.check_golden()
    except GoldenMismatch as error:
        raise ModelingError(str(error)) from error
    reference = source_scores(spec, checkpoint, texts)
    # One by one: in batches an inexact graph would hide its error.
    alone = np.concatenate([classifier.predict([text]) for text in Progress(encodings, desc="one by one", unit="text")])
    flips, largest = compare_in_batches(classifier, encodings, alone)
    sessions = [partial(open_session(file).run, None) for file in (files.float_model, files.model)]
    speed = texts_per_second(sessions, [batch_feeds(spec, [text]) for text in sample(encodings)])
    return {
        "cpu": cpu_name(),
        "cpu_flags": cpu_flags(),
        "source": source,
        "versions": versions(["torch", "transformers", "onnxruntime", "tokenizers"]),
        "identity": spec.identity(files.digests()),
        "texts": len(texts),
        "agreement": float((alone.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(alone - reference).max()),
        "mean_difference": float(np.abs(alone - reference).mean()),
        "texts_per_second": {"float32": round(speed[0], 1), "served": round(speed[1], 1)},
        "speedup": round(speed[1] / speed[0], 2),
        "batches": {"groupings": GROUPINGS, "labels_changed": flips, "largest_difference": largest},
        **macro_f1(spec.label_names, reference, alone, labels),
    }


def _check_served_tokenizer(
    classifier: Classifier, checkpoint: Path, texts: list[str], encodings: list[Encoding]
) -> None:
    """Compare the token ids of the served tokenizer with those of the checkpoint's own, golden texts first."""
    spec = classifier.spec
    golden = [text.input for text in spec.golden]
    for name, group, served in (("golden", golden, classifier.encode(golden)), ("texts", texts, encodings)):
        expected = tokenized(spec, checkpoint, group)
        for index, (wanted, encoding) in enumerate(zip(expected, served, strict=True)):
            if (wanted.ids, wanted.type_ids) != (encoding.ids, encoding.type_ids):
                raise ModelingError(
                    f"{TOKENIZER_FILE}: is not the tokenizer of {checkpoint}: it reads {name}[{index}] differently; "
                    f"python -m scripts.export {spec.name} writes the right one"
                )


def compare_in_batches(classifier: Classifier, encodings: list[Encoding], alone: Probabilities) -> tuple[int, float]:
    """Labels changed, and the largest difference of a probability, when texts are computed in random batches."""
    random = np.random.default_rng(SEED)
    flips, largest = 0, 0.0
    for _ in Progress(range(GROUPINGS), desc="random batches"):
        order = list(random.permutation(len(encodings)))
        if not classifier.pads:
            order.sort(key=lambda index: len(encodings[index].ids))
        while order:
            size = int(random.integers(2, LARGEST_BATCH + 1))
            batch, order = order[:size], order[size:]
            if not classifier.pads:
                equal = [index for index in batch if len(encodings[index].ids) == len(encodings[batch[0]].ids)]
                batch, order = equal, batch[len(equal) :] + order
            rows = classifier.predict([encodings[index] for index in batch])
            flips += int((rows.argmax(axis=1) != alone[batch].argmax(axis=1)).sum())
            largest = max(largest, float(np.abs(rows - alone[batch]).max()))
    return flips, largest


def macro_f1(
    meanings: Sequence[str], reference: Probabilities, served: Probabilities, labels: Sequence[str | None]
) -> dict[str, float]:
    """Macro-F1 of source and served file over the texts with a label of the model; empty if there is none."""
    truth = {index: meanings.index(label) for index, label in enumerate(labels) if label in meanings}
    if not truth:
        return {}
    answers = (rows[list(truth)].argmax(axis=1) for rows in (reference, served))
    source, own = (float(f1_score(list(truth.values()), found, average="macro")) for found in answers)
    return {"torch_macro_f1": source, "served_macro_f1": own, "f1_loss": source - own}
