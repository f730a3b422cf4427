"""Weak Polish examples, drawn from rated words, since only Polish words have ratings (see dataset).

- A list: one to four words of a class, "strata, kłamstwo".
- A phrase: a rated adjective with a noun of no strong rating, "okropny film". The adjective decides: on their own,
  people rate nouns like "film" and "pokój" as pleasant.

One lexicon has base forms, another their inflected forms, both with nothing but ratings. Whether a word is an adjective
or a noun follows from its inflected forms, and the agreeing form of the adjective from the gender of the noun's ending
(Swan, A Grammar of Contemporary Polish, 2002, chapters 2 to 4). Irregular words are left out or come out wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modeling.tasks.sentiment.dataset import MEANINGS, Meaning, label_of, polish_words

Gender = Literal["masculine", "feminine", "neuter"]

# An adjective decides if its rating is stronger than the noun's, on the scale from -4 to 4.
STRONG = 1.0
MILD = (-0.5, 2.0)
PHRASES = 0.5
WAS = {"masculine": "był", "feminine": "była", "neuter": "było"}
INTENSIFIERS = ("bardzo", "naprawdę", "wyjątkowo", "dość", "zupełnie")


@dataclass(frozen=True, slots=True)
class Word:
    """A word in its base form, and its rating from -4 to 4."""

    text: str
    rating: float


class PolishExamples:
    """Draws weak Polish examples from base forms and inflected forms, with their ratings or those of their words."""

    def __init__(self, words: dict[str, float], inflected: dict[str, float]) -> None:
        rated = [Word(text, rating) for text, rating in words.items()]
        # An inflected form with the negating prefix "nie" may have the rating of the word without it.
        forms = [Word(text, rating) for text, rating in inflected.items() if not text.startswith("nie")]
        self._lists = {label: [_of_class(rated, label), _of_class(forms, label)] for label in MEANINGS}
        adjectives = [word for word in rated if is_adjective(word.text, inflected)]
        self._adjectives = {
            label: [word for word in _of_class(adjectives, label) if label == "neutral" or abs(word.rating) >= STRONG]
            for label in MEANINGS
        }
        self._nouns = [
            (word, gender)
            for word in rated
            if MILD[0] < word.rating < MILD[1] and (gender := gender_of(word.text, inflected))
        ]
        self._neutral_nouns = [pair for pair in self._nouns if label_of(pair[0].rating) == "neutral"]

    @classmethod
    def of(cls, folder: Path) -> PolishExamples:
        """The examples of the data in ``folder`` (see :func:`modeling.tasks.sentiment.dataset.fetch`)."""
        return cls(polish_words(folder), polish_words(folder, inflected=True))

    def draw(self, count: int) -> list[tuple[str, float]]:
        """``count`` texts with their likely ratings, a third of them of each class."""
        return [self._example(MEANINGS[index % len(MEANINGS)]) for index in range(count)]

    def _example(self, label: Meaning) -> tuple[str, float]:
        text, rating = self._phrase(label) if random.random() < PHRASES else self._list(label)
        if random.random() < 0.5:
            text = text[0].upper() + text[1:]
        if random.random() < 0.5:
            text += random.choice((".", "!", "...", "!!"))
        return text, rating

    def _list(self, label: Meaning) -> tuple[str, float]:
        chosen = random.sample(random.choice(self._lists[label]), random.randint(1, 4))
        separator = random.choice((" ", ", ", " "))
        return separator.join(word.text for word in chosen), sum(word.rating for word in chosen) / len(chosen)

    def _phrase(self, label: Meaning) -> tuple[str, float]:
        first, second = random.sample(self._adjectives[label], 2)
        noun, gender = random.choice(self._neutral_nouns if label == "neutral" else self._nouns)
        adjective, other = agreeing(first.text, gender), agreeing(second.text, gender)
        intensifier = random.choice(INTENSIFIERS)
        aside, _ = self._list(label)
        text = random.choice(
            (
                f"{adjective} {noun.text}",
                f"{adjective} {noun.text}, {aside}",
                f"{adjective} i {other} {noun.text}",
                f"{noun.text} {WAS[gender]} {adjective}",
                f"{noun.text} jest {intensifier} {adjective}",
                f"{intensifier} {adjective} {noun.text}, {other}",
            )
        )
        return text, first.rating


def _of_class(words: list[Word], label: Meaning) -> list[Word]:
    return [word for word in words if label_of(word.rating) == label]


def is_adjective(word: str, inflected: dict[str, float]) -> bool:
    """Whether ``word`` is the base form of an adjective: its masculine genitive, in -ego, exists."""
    return word.endswith(("y", "i")) and agreeing(word, "neuter") + "go" in inflected


def agreeing(adjective: str, gender: Gender) -> str:
    """The nominative singular of a base form in -y or -i: "okropny", "okropna", "okropne"; "głupi", "głupia"."""
    if gender == "masculine":
        return adjective
    hard = adjective.endswith("y") or adjective.endswith(("ki", "gi"))
    if gender == "feminine":
        return (adjective[:-1] if hard else adjective) + "a"
    return (adjective[:-1] if adjective.endswith("y") else adjective) + "e"


def gender_of(word: str, inflected: dict[str, float]) -> Gender | None:
    """The gender of the base form of a noun, by its ending and its instrumental; None for any other word."""
    if word.endswith("a") and word[:-1] + "ą" in inflected:
        return "feminine"
    if word.endswith(("o", "e")) and word[:-1] + "em" in inflected:
        return "neuter"
    if word[-1] not in "aeiouyąęó" and (word + "em" in inflected or word + "iem" in inflected):
        return "masculine"
    return None
