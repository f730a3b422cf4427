"""Which words drive a prediction: remove each word in turn and read the score of the predicted label again.

This is leave-one-out, or occlusion, for words: Li, Monroe and Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016, arXiv:1612.08220. They measure the fall in log-likelihood; here it is the fall in
probability, the unit of the score in the response, and in log-odds, which do not saturate: from 0.98 to 0.95 the
probability hardly moves, the log-odds by 0.95.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import regex  # type: ignore[import-untyped]  # it has no types

from textserve.application import Application
from textserve.errors import TextTooLong
from textserve.prediction import Classified, Prediction

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
    """The word ``text[start:end]``, in code points, and what the predicted label has without it.

    Attributes:
        score_without: its probability for the text without the word.
        log_odds: its log-odds for the text, less those for the text without the word, in nats.
    """

    start: int
    end: int
    score_without: float
    log_odds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The prediction for a whole text, its words in order, and the request to the runner that computed both."""

    prediction: Prediction
    words: list[ExplainedWord]
    classified: Classified


def find_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word of ``text``: runs of letters and digits, emoji and emoticons."""
    return [match.span() for match in WORD.finditer(text)]


async def explain(application: Application, text: str) -> Explanation:
    """Classify ``text`` and its variants, each without one word, as one request to the runner.

    A variant may be empty: its score is then that of the special tokens alone. A text without words, such as "?!", gets
    an explanation without words.

    Raises:
        EmptyInput: if the text is empty or white space.
        TextTooLong: if it has too many characters, or words times tokens exceed ``TEXTSERVE_MAX_EXPLAINED_TOKENS``.
        NotReady, Overloaded, RequestTooLarge, DeadlineExceeded, ShuttingDown, Internal: see
            :meth:`Application.classify`.
    """
    started, seconds = time.monotonic(), application.settings.request_seconds
    application.check_input(text, "text")
    words = find_words(text)
    # A word has at least one token: too many words are too many tokens, whatever they are.
    _check_cost(application, len(words), len(words))
    _check_cost(application, len(words), await application.runner.tokens(text, seconds))
    parts = [text, *(text[:start] + text[end:] for start, end in words)]
    classified = await application.classify_parts(parts, seconds=started + seconds - time.monotonic())
    whole, *variants = classified.predictions
    predicted = whole.spec.label_names.index(whole.label)
    odds = log_odds(whole.logits, predicted)
    explained = [
        ExplainedWord(start, end, variant.scores[predicted], odds - log_odds(variant.logits, predicted))
        for (start, end), variant in zip(words, variants, strict=True)
    ]
    return Explanation(whole, explained, classified)


def _check_cost(application: Application, words: int, tokens: int) -> None:
    limit = application.settings.max_explained_tokens
    if (words + 1) * tokens > limit:
        raise TextTooLong(
            f"has {words} words and at least {tokens} tokens; to have each word explained, tokens times words plus one "
            f"may be {limit} at most",
            where="text",
        )


def log_odds(logits: Sequence[float], label: int) -> float:
    """ln(p / (1 - p)) of the softmax probability p of ``label``, from logits, which keep what p rounds away."""
    others = [logit for index, logit in enumerate(logits) if index != label]
    highest = max(others)
    return logits[label] - highest - math.log(sum(math.exp(logit - highest) for logit in others))
