"""Verify a model: compare the served ONNX file with the source of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modeling.environment import cpu_flags, cpu_name, versions
from modeling.errors import ModelingError
from modeling.evaluation import metrics
from modeling.evaluation.answers import Scores, answers, differing, right_answers
from modeling.evaluation.names import LOSS, MAIN
from modeling.evaluation.speed import sample, texts_per_second
from modeling.export.checkpoint import check_source, source_scores, tokenized
from modeling.files import ModelFiles, sha256
from modeling.progress import Progress
from modeling.texts import GivenAnswers, check_input, comparison_texts
from textserve.classifier import (
    TOKENIZER_FILE,
    Classifier,
    Encoding,
    GoldenMismatch,
    PairTooLong,
    batch_feeds,
)
from textserve.cpus import available_cpus
from textserve.graph import open_session
from textserve.spec import Input, ModelSpec

SEED = 0
GROUPINGS = 5
LARGEST_BATCH = 32


def verify(files: ModelFiles, checkpoint: Path, texts: Sequence[Input] | None = None) -> dict[str, Any]:
    """Measure fidelity, speed and exactness, and return the section ``verification`` of the report, which it adds.

    ``texts`` are unlabelled; by default those of :func:`modeling.texts.comparison_texts` are compared. Raises
    :class:`ModelingError` if a file is missing, the tokenizer is another model's, or a golden text gets another answer.
    """
    if texts:
        check_input(texts, files.spec())
        section = compare(files, checkpoint, texts, [None] * len(texts))
    else:
        found = comparison_texts(files)
        section = compare(files, checkpoint, found.texts, found.answers, found.languages)
        section |= {"note": found.note} if found.note else {}
    files.add_to_report("verification", section)
    return section


def compare(
    files: ModelFiles,
    checkpoint: Path,
    texts: Sequence[Input],
    truths: GivenAnswers,
    languages: Sequence[str] = (),
) -> dict[str, Any]:
    """The measurements of :func:`verify` on ``texts``; ``None`` in ``truths`` is an unknown answer.

    ``languages`` has the language of each text; of several languages, each has its own likeness, too.
    """
    spec = files.spec()
    source = check_source(files, checkpoint)
    if not files.float_model.exists():
        raise ModelingError(f"{files.float_model} does not exist; python -m scripts.export {spec.name} writes it")
    classifier = Classifier(files.folder)
    try:
        encodings = classifier.encode(texts)
    except PairTooLong as error:
        raise ModelingError(f"{spec.name}: of the texts to compare, {error}; leave out or shorten that text") from error
    _check_served_tokenizer(classifier, checkpoint, texts, encodings)
    try:
        classifier.check_golden()
    except GoldenMismatch as error:
        raise ModelingError(str(error)) from error
    reference = source_scores(spec, checkpoint, texts)
    # Text by text: batches would hide the error of an inexact graph.
    alone = np.concatenate(list(_computed(classifier, [[text] for text in encodings], "one by one")))
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
        **likeness(spec, reference, alone),
        "largest_difference": float(np.abs(alone - reference).max()),
        "mean_difference": float(np.abs(alone - reference).mean()),
        "texts_per_second": {"float32": round(speed[0], 1), "served": round(speed[1], 1)},
        "speedup": round(speed[1] / speed[0], 2),
        "quantized": sha256(files.model) != sha256(files.float_model),
        "batches": {"groupings": GROUPINGS, "labels_changed": flips, "largest_difference": largest},
        **against_truth(spec, reference, alone, truths),
        **_by_language(spec, reference, alone, languages),
    }


def _by_language(spec: ModelSpec, reference: Scores, served: Scores, languages: Sequence[str]) -> dict[str, Any]:
    if len(set(languages)) < 2:
        return {}
    rows = {name: np.flatnonzero(np.array(languages) == name) for name in dict.fromkeys(languages)}
    return {
        "languages": {
            name: {"texts": len(chosen), **likeness(spec, reference[chosen], served[chosen])}
            for name, chosen in rows.items()
        }
    }


def _check_served_tokenizer(
    classifier: Classifier, checkpoint: Path, texts: Sequence[Input], encodings: list[Encoding]
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


def compare_in_batches(classifier: Classifier, encodings: list[Encoding], alone: Scores) -> tuple[int, float]:
    """The number of changed answers, and the largest difference of a score, when texts share random batches."""
    random = np.random.default_rng(SEED)
    batches = [
        batch for _ in range(GROUPINGS) for batch in _random_batches(random, encodings, equal=not classifier.pads)
    ]
    flips, largest = 0, 0.0
    inputs = [[encodings[index] for index in batch] for batch in batches]
    for batch, rows in zip(batches, _computed(classifier, inputs, "random batches"), strict=True):
        changed = differing(*(answers(classifier.spec, scores) for scores in (rows, alone[batch])))
        flips += int(changed.sum())
        largest = max(largest, float(np.abs(rows - alone[batch]).max()))
    return flips, largest


def _random_batches(random: np.random.Generator, encodings: list[Encoding], equal: bool) -> Iterator[list[int]]:
    """Indices of all encodings in batches of random sizes; with ``equal``, the texts of a batch have equal length."""
    order = random.permutation(len(encodings)).tolist()
    if equal:
        order.sort(key=lambda index: len(encodings[index].ids))
    while order:
        size = int(random.integers(2, LARGEST_BATCH + 1))
        length = len(encodings[order[0]].ids)
        batch = [index for index in order[:size] if not equal or len(encodings[index].ids) == length]
        yield batch
        order = order[len(batch) :]


def _computed(classifier: Classifier, batches: Sequence[list[Encoding]], name: str) -> Iterator[Scores]:
    """The scores of each batch, computed on all cores."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        yield from Progress(pool.map(classifier.predict, batches), desc=name, unit="batch", total=len(batches))


def likeness(spec: ModelSpec, reference: Scores, served: Scores) -> dict[str, float]:
    """How alike the answers are: the share of equal answers, or the rank correlation of numbers."""
    first, second = (answers(spec, scores) for scores in (reference, served))
    if spec.problem_type == "regression":
        return {"rank_correlation": metrics.value_of(metrics.rank_correlation(first, second), len(first))}
    return {"agreement": float(1 - differing(first, second).mean())}


def against_truth(spec: ModelSpec, reference: Scores, served: Scores, truths: GivenAnswers) -> dict[str, float]:
    """The main metric of source and served file, and its loss, over the texts with a known answer.

    Empty without such texts. Of single labels, only those that the model has count.
    """
    single = spec.problem_type == "single_label_classification"
    known = {
        index: answer
        for index, answer in enumerate(truths)
        if answer is not None and (not single or answer in spec.label_names)
    }
    if not known:
        return {}
    truth, key = right_answers(spec, list(known.values())), MAIN[spec.problem_type]
    source, own = (
        metrics.value_of(metrics.main(spec, truth, answers(spec, scores[list(known)])), len(truth))
        for scores in (reference, served)
    )
    return {f"torch_{key}": source, f"served_{key}": own, LOSS[spec.problem_type]: source - own}
