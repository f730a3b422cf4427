"""Which words carry a prediction: each is left out in turn, and the winning label's probability is asked for again.

This is leave-one-out, or occlusion, for words: Li, Monroe and Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016, arXiv:1612.08220. They measure the fall in log-likelihood; here it is the fall in
probability, in the unit of the score that the caller sees.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from textserve.application import Application
from textserve.errors import TextTooLong
from textserve.runner import Classified, Prediction

# Words are found by the kind of each character, a letter a kind: Python's `re` knows no Unicode properties, and its \w
# leaves out the combining marks that "ó" may be written with.
LETTER, DIGIT, MARK, JOINER, POINT = "a", "0", "m", "'", "."
SYMBOL, FLAG_HALF, SELECTOR, ZERO_WIDTH_JOINER, MODIFIER, EMOTICON = "s", "f", "v", "j", "t", "e"
OTHER, SPACE = "o", " "

KINDS = {
    **dict.fromkeys("'’ʼ-\u2010\u2011_\u00ad\u200c", JOINER),
    **dict.fromkeys(".,:", POINT),
    "\ufe0f": SELECTOR,
    "\u20e3": SELECTOR,  # the frame of a keycap
    "\u200d": ZERO_WIDTH_JOINER,
    **dict.fromkeys(map(chr, range(0x1F1E6, 0x1F200)), FLAG_HALF),
    **dict.fromkeys(map(chr, range(0x1F3FB, 0x1F400)), MODIFIER),  # skin tones
    **dict.fromkeys(map(chr, range(0xE0020, 0xE0080)), MODIFIER),  # tags of flags such as Scotland's
}

# Letters and digits with their marks, joined by apostrophes, hyphens and the like, digits by points too: near to the
# word boundaries of Unicode Standard Annex #29, but a compound with a hyphen is one word.
PLAIN = "[a0][a0m]*(?:(?:'|(?<=0)\\.(?=0)|j)[a0][a0m]*)*"
# Emoji sequences as Unicode Technical Standard #51 has them; a symbol that is no emoji, such as ★, counts as one.
EMOJI = "(?:ff|[^ v]v+|s)[tv]*(?:j(?:[^ v]v+|s)[tv]*)*"
WORD = re.compile(f"{EMOTICON}+|{EMOJI}|{PLAIN}")
EMOTICONS = re.compile(r"(?:[:;]['^-]?(?:[()]+|[DPp*/\\|](?![\w/\\]))|<3)(?!\w)")


@dataclass(frozen=True, slots=True)
class Word:
    """A word's place in the text, ``text[start:end]``, counted in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ExplainedWord:
    """A word, and the score of the winning label when the text is read without it."""

    word: Word
    score_without: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for a whole text, and each of its words in their order.

    ``classified`` is of the one request that everything was computed in.
    """

    prediction: Prediction
    words: list[ExplainedWord]
    classified: Classified


def find_words(text: str) -> list[Word]:
    """The words of ``text`` in their order: letters and digits that belong together, emoji and emoticons."""
    kinds = [_kind(character) for character in text]
    for found in EMOTICONS.finditer(text):
        start, end = found.span()
        kinds[start:end] = EMOTICON * (end - start)
    return [Word(*found.span()) for found in WORD.finditer("".join(kinds))]


def without(text: str, word: Word) -> str:
    """``text`` with ``word`` left out and everything else as it was, the white space around it too."""
    return text[: word.start] + text[word.end :]


async def explain(application: Application, text: str) -> Explanation:
    """Classify ``text`` and what is left of it without each of its words, as one request to the runner.

    What is left may have nothing in it to read, as when a text is one word: then the score is the model's for no text,
    its special tokens alone. A text without words, such as "?!", has an explanation without words.

    Raises:
        EmptyInput: if the text is empty or white space.
        TextTooLong: if it has too many characters, or more words than ``TEXTSERVE_MAX_EXPLAINED_WORDS``.
        NotReady, Overloaded, DeadlineExceeded, ShuttingDown, Internal: as :meth:`Application.classify` does.
    """
    application.check_text(text)
    words = find_words(text)
    most = application.settings.max_explained_words
    if len(words) > most:
        raise TextTooLong(f"has {len(words)} words; send at most {most} to have each explained", where="text")
    classified = await application.classify_parts([text, *(without(text, word) for word in words)])
    whole, *rest = classified.predictions
    winner = whole.labels.index(whole.label)
    explained = [
        ExplainedWord(word, prediction.probabilities[winner]) for word, prediction in zip(words, rest, strict=True)
    ]
    return Explanation(whole, explained, classified)


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if known := KINDS.get(character):
        return known
    if character.isspace():
        return SPACE
    category = unicodedata.category(character)
    if category == "So":
        return SYMBOL
    return {"L": LETTER, "N": DIGIT, "M": MARK}.get(category[0], OTHER)
