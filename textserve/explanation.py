"""Which words drive a prediction: remove each word in turn and read the scores of the explained labels again.

This is leave-one-out, or occlusion, for words: Li, Monroe and Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016, arXiv:1612.08220. They measure the fall in log-likelihood; here it is the fall in
probability, the unit of the score in the response, and in log-odds, which do not saturate: from 0.98 to 0.95 the
probability hardly moves, the log-odds by 0.95.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]  # it has no types

from textserve.application import Application
from textserve.errors import InputTooLong, InvalidRequest, TextTooLong
from textserve.prediction import Classified, Prediction
from textserve.spec import Activation, Input

Part: TypeAlias = Literal["text", "text_pair"]
PARTS: Sequence[Part] = ("text", "text_pair")

# Close to the word boundaries of Unicode Standard Annex #29, but a hyphenated compound is one word, and emoji, symbols
# and emoticons count as words.
WORD = regex.compile(
    r"""
    (?:(?:[:;]['^-]?(?:[()]+|[DPp*/\\|](?![\w/\\]))|<3)(?!\w))+   # emoticons
    | (?=\p{So}|[^\s\p{C}\p{M}][\uFE0F\u20E3])\X                  # emoji or symbol: one grapheme cluster
    | (?!\p{M})[\p{L}\p{N}\p{M}]+                                # letters and digits with their marks,
      (?:(?:['’\-\u2010\u2011_\u00AD\u200C\u200D]                # joined by apostrophes, hyphens and the like,
        |(?<=\p{N})[.,:](?=\p{N}))                               # or by points within a number
        (?!\p{M})[\p{L}\p{N}\p{M}]+)*
    """,
    regex.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class ExplainedWord:
    """The word ``text[start:end]`` of a part, in code points, and the scores of the explained labels without it.

    Attributes:
        scores_without: the score for the input without the word.
        log_odds: the log-odds for the input minus the log-odds for the input without the word, in nats; empty for a
            score that is not a probability.
    """

    part: Part
    start: int
    end: int
    scores_without: list[float]
    log_odds: list[float]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The prediction for a whole input, its words in order, and the request to the runner that computed both.

    ``labels`` are the indices of the explained labels.
    """

    prediction: Prediction
    labels: list[int]
    words: list[ExplainedWord]
    classified: Classified


def find_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word of ``text``: runs of letters and digits, emoji and emoticons."""
    return [match.span() for match in WORD.finditer(text)]


async def explain(application: Application, value: Input, labels: Sequence[str] | None = None) -> Explanation:
    """Classify a text or pair and its variants, each without one word, as one request to the runner.

    A variant may be empty: its score is then that of the special tokens alone. A text without words, such as "?!", gets
    an explanation without words.

    Args:
        application: the served model.
        value: the text or pair of texts.
        labels: the labels to explain; by default those of the answer, or the best one if it has none.

    Raises:
        InvalidRequest: if the model takes pairs and ``value`` is one text, or vice versa, or a label is unknown.
        EmptyInput: if a text is empty or white space.
        TextTooLong: if a text has too many characters, or costs more than ``TEXTSERVE_MAX_EXPLAINED_TOKENS``.
        InputTooLong: if a text is too long and the model never truncates it.
        NotReady, Overloaded, RequestTooLarge, DeadlineExceeded, ShuttingDown, Internal: see
            :meth:`Application.classify`.
    """
    started, seconds = time.monotonic(), application.settings.request_seconds
    # In the request, each text of a pair has a key of its own.
    where = "text" if isinstance(value, str) else ""
    application.check_input(value, where)
    asked = None if labels is None else _indices(application.classifier.spec.label_names, labels)
    texts = (value,) if isinstance(value, str) else value
    words = [(part, *word) for part, text in enumerate(texts) for word in find_words(text)]
    # A word has at least one token, so too many words are rejected before they are tokenized.
    _check_cost(application, where, len(words), len(words))
    try:
        _check_cost(application, where, len(words), await application.runner.tokens(value, seconds))
        variants = [value, *(_without(value, *word) for word in words)]
        classified = await application.classify_parts(variants, seconds=started + seconds - time.monotonic())
    except InputTooLong as error:  # where is texts[0].text_pair; the request has text_pair
        if error.where is not None:
            error.where = error.where.rpartition(".")[2]
        raise
    whole = classified.predictions[0]
    application.predictions.count([whole])
    chosen = _answered(whole) if asked is None else asked
    scores = np.array([[variant.scores[index] for index in chosen] for variant in classified.predictions])
    logits = np.array([variant.logits for variant in classified.predictions])
    odds = log_odds(whole.spec.activation, logits, chosen)
    explained = [
        ExplainedWord(PARTS[part], start, end, without, fallen)
        for (part, start, end), without, fallen in zip(
            words, scores[1:].tolist(), (odds[0] - odds[1:]).tolist(), strict=True
        )
    ]
    return Explanation(whole, chosen, explained, classified)


def _without(value: Input, part: int, start: int, end: int) -> Input:
    """A text or pair without the word ``[start:end]`` of one of its parts."""
    if isinstance(value, str):
        return value[:start] + value[end:]
    first, second = (text[:start] + text[end:] if index == part else text for index, text in enumerate(value))
    return first, second


def _answered(prediction: Prediction) -> list[int]:
    """The indices of the labels of the answer; the best one if it has none."""
    names = prediction.spec.label_names
    several = prediction.spec.problem_type == "multi_label_classification"
    return [names.index(label) for label in (prediction.labels if several else ()) or [prediction.label]]


def _indices(names: Sequence[str], labels: Sequence[str]) -> list[int]:
    known = {name: index for index, name in enumerate(names)}
    if not labels:
        raise InvalidRequest("is empty; name at least one label, or leave it out", where="labels")
    indices: dict[int, None] = {}
    for number, label in enumerate(labels):
        if label not in known:
            raise InvalidRequest("is not a label of this model", where=f"labels[{number}]")
        if known[label] in indices:
            raise InvalidRequest("is there twice", where=f"labels[{number}]")
        indices[known[label]] = None
    return list(indices)


def _check_cost(application: Application, where: str, words: int, tokens: int) -> None:
    limit = application.settings.max_explained_tokens
    if (words + 1) * tokens > limit:
        raise TextTooLong(
            f"has {words} words and at least {tokens} tokens; to explain it, tokens times (words + 1) may "
            f"be {limit} at most; send a shorter text",
            where=where or "body",
        )


def log_odds(activation: Activation, logits: npt.NDArray[np.float64], labels: Sequence[int]) -> npt.NDArray[np.float64]:
    """ln(p / (1 - p)) of the probability p of each of ``labels``, from logits, which keep what p rounds away.

    Args:
        activation: the model's activation.
        logits: of shape ``[texts, all labels]``.
        labels: the indices of the labels.

    Returns:
        The log-odds, of shape ``[texts, len(labels)]``; without columns for a score that is not a probability.
    """
    if activation == "none":
        return logits[:, :0]
    if activation == "sigmoid":
        return logits[:, labels]
    # Softmax: p / (1 - p) is the exponential of the label's logit over the sum of the others'. For every label but the
    # highest, this sum includes the highest, so subtracting the label from the whole sum is exact enough.
    rows, best = np.arange(len(logits)), logits.argmax(axis=1)
    highest = logits[rows, best]
    rest = logits.copy()
    rest[rows, best] = -np.inf
    powers = np.exp(rest - highest[:, None])
    others = highest[:, None] + np.log1p(powers.sum(axis=1, keepdims=True) - powers)
    second = rest.max(axis=1)
    others[rows, best] = second + np.log(np.exp(rest - second[:, None]).sum(axis=1))
    odds: npt.NDArray[np.float64] = (logits - others)[:, labels]
    return odds
