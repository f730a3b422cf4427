"""Classifies texts into any labels, with a model that tells whether one text entails another.

Each label becomes a hypothesis, such as "This example is sport.", and the model answers whether the text entails it:
Yin, Hay and Roth, "Benchmarking Zero-shot Text Classification", 2019, arXiv:1909.00161. Scores are those of the
zero-shot-classification pipeline of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from textserve.application import Application
from textserve.classifier import Truncation, softmax
from textserve.errors import InvalidRequest, TextserveError, TooManyTexts
from textserve.prediction import Classified
from textserve.spec import ModelSpec

PLACEHOLDER = "{}"
# ``where`` of an error in the request for pairs.
PAIR = re.compile(r"texts\[(\d+)\](\.\w+)?")


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Scores, float32 ``[texts, labels]``, and the request to the runner that computed them."""

    scores: npt.NDArray[np.float32]
    classified: Classified


async def zero_shot(
    application: Application,
    texts: Sequence[str],
    labels: Sequence[str],
    template: str,
    *,
    several: bool,
    truncation: Truncation | None = "right",
) -> ZeroShot:
    """The score of each label for each text: they sum to 1, or with ``several`` each is a probability of its own.

    Args:
        application: the served model, of pairs, with a label for entailment.
        texts: the texts to classify.
        labels: the labels to choose from.
        template: the hypothesis, with ``{}`` in place of the label.
        several: whether any number of labels may apply to a text.
        truncation: see :meth:`textserve.application.Application.classify`.

    Raises:
        InvalidRequest: if the model or the template is unsuitable, or there are no labels.
        TooManyTexts: if texts times labels are more than ``TEXTSERVE_MAX_TEXTS``.
        TextserveError: see :meth:`textserve.application.Application.classify`; ``where`` is ``texts[3]``, or for a
            label ``parameters.candidate_labels[1]``.
    """
    indices = entailment(application.classifier.spec)
    if indices is None:
        raise InvalidRequest(
            "needs a model that tells whether one text entails another, and this model does not; leave it out",
            where="parameters.candidate_labels",
        )
    if not labels:
        raise InvalidRequest("is empty; send at least one label", where="parameters.candidate_labels")
    if PLACEHOLDER not in template:
        raise InvalidRequest(f"must contain {PLACEHOLDER}, for the label", where="parameters.hypothesis_template")
    count, limit = len(texts) * len(labels), application.max_texts
    if count > limit:
        message = f"times the texts are {count} pairs; send at most {limit} in one request"
        raise TooManyTexts(message, where="parameters.candidate_labels")
    pairs = [(text, template.replace(PLACEHOLDER, label)) for text in texts for label in labels]
    try:
        classified = await application.classify(pairs, truncation=truncation)
    except TextserveError as error:
        if found := PAIR.fullmatch(error.where or ""):
            text, label = divmod(int(found[1]), len(labels))
            of_label = found[2] == ".text_pair"
            error.where = f"parameters.candidate_labels[{label}]" if of_label else f"texts[{text}]"
        raise
    logits = np.array([prediction.logits for prediction in classified.predictions], dtype=np.float32)
    logits = logits.reshape(len(texts), len(labels), -1)
    if several or len(labels) == 1:
        return ZeroShot(softmax(logits[..., indices])[..., 1], classified)
    return ZeroShot(softmax(logits[..., indices[1]]), classified)


def entailment(spec: ModelSpec) -> tuple[int, int] | None:
    """The indices of the labels for contradiction and for entailment, ``None`` if the model has none for entailment.

    If no name says contradiction, its index is the first one, or the last if entailment has the first, as in
    transformers' pipeline.
    """
    names = [f"{label.label} {label.name}".lower() for label in spec.labels]
    entails = next((index for index, name in enumerate(names) if "entail" in name and "not" not in name), None)
    if spec.input != "pair" or spec.problem_type != "single_label_classification" or entails is None:
        return None
    contradicts = next((index for index, name in enumerate(names) if "contrad" in name), None)
    if contradicts is None:
        contradicts = len(names) - 1 if entails == 0 else 0
    return contradicts, entails
