"""Which words drive a prediction: remove each word in turn and read the score of the predicted label again.

This is leave-one-out, or occlusion, for words: Li, Monroe and Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016, arXiv:1612.08220. They measure the fall in log-likelihood; here it is the fall in
probability, the unit of the score in the response.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex  # type: ignore[import-untyped]  # it has no types

from textserve.application import Application
from textserve.errors import TextTooLong
from textserve.runner import Classified, Prediction

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
    """The word ``text[start:end]``, in code points, and the score of the predicted label for the text without it."""

    start: int
    end: int
    score_without: float


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
        TextTooLong: if it has too many characters, or more words than ``TEXTSERVE_MAX_EXPLAINED_WORDS``.
        NotReady, Overloaded, DeadlineExceeded, ShuttingDown, Internal: see :meth:`Application.classify`.
    """
    application.check_text(text, "text")
    words = find_words(text)
    limit = application.settings.max_explained_words
    if len(words) > limit:
        raise TextTooLong(f"has {len(words)} words; send at most {limit} to have each explained", where="text")
    classified = await application.classify_parts([text, *(text[:start] + text[end:] for start, end in words)])
    whole, *variants = classified.predictions
    predicted = whole.labels.index(whole.label)
    explained = [
        ExplainedWord(start, end, variant.probabilities[predicted])
        for (start, end), variant in zip(words, variants, strict=True)
    ]
    return Explanation(whole, explained, classified)
