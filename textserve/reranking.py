"""Ranks texts by how well they fit a query, with a model that scores pairs of texts with a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textserve.application import Application
from textserve.classifier import Truncation, activate
from textserve.errors import InvalidRequest, TextserveError
from textserve.prediction import Classified
from textserve.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Ranking:
    """The score of each text, the texts' indices, highest score first, and the request that computed the scores."""

    scores: Sequence[float]
    best: Sequence[int]
    classified: Classified


def reranks(spec: ModelSpec) -> bool:
    """Whether the model scores pairs of texts with a number."""
    return spec.problem_type == "regression" and spec.input == "pair"


def check_reranks(spec: ModelSpec, instead: str) -> None:
    """Check that the model ranks texts; ``instead`` is the path for models that do not.

    Raises:
        InvalidRequest: if it does not.
    """
    if not reranks(spec):
        message = f"is for a model that scores pairs of texts with a number, and this model does not; use {instead}"
        raise InvalidRequest(message, where="path")


async def rank(
    application: Application,
    query: str,
    texts: Sequence[str],
    *,
    name: str = "texts",
    truncation: Truncation | None = "right",
    raw: bool = False,
) -> Ranking:
    """Rank ``texts``; errors call them ``name``.

    A score is the sigmoid of the logit, whatever the model's own activation is, or with ``raw`` the logit.

    Raises:
        TextserveError: see :meth:`Application.classify`.
    """
    try:
        classified = await application.classify([(query, text) for text in texts], truncation=truncation)
    except TextserveError as error:
        if error.where is not None:
            of_query = error.where.endswith("].text")
            error.where = "query" if of_query else error.where.removesuffix(".text_pair").replace("texts", name, 1)
        raise
    logits = np.array([prediction.logits[0] for prediction in classified.predictions], dtype=np.float32)
    scores: list[float] = (logits if raw else activate("sigmoid", logits)).tolist()
    return Ranking(scores, sorted(range(len(scores)), key=lambda index: -scores[index]), classified)
