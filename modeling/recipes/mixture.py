"""What one epoch of the recipe ``full`` learns from: rated English texts, and labelled sentences in both languages."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from modeling.recipes.recipe import Recipe
from modeling.tasks.sentiment import dataset, sentences
from modeling.tasks.sentiment.corpora import CLARIN_EMO, PLWORDNET_EMO, TATOEBA
from modeling.tasks.sentiment.dataset import THRESHOLD, RatedText
from modeling.tasks.sentiment.noise import hurried
from modeling.tasks.sentiment.sentences import COMPOSED, Sentence

RATING_ERROR = 0.3
# How often an epoch has each composed sentence: there are few, with what other texts lack.
COMPOSED_COPIES = 2
# A seventh of CLARIN-Emo is neutral.
NEUTRAL_COPIES = 2
# Of those drawn from plWordNet-emo, where there are as many.
STRONG_SHARE = 0.75
# The most words of such a fact, and of a text that has one.
ASIDE_WORDS = 12
WORDS_WITH_ASIDE = 40

# A text, the same as someone in a hurry types it, and the target probabilities of negative, neutral and positive.
Example = tuple[str, str, Sequence[float]]


def soft_label(rating: float) -> Sequence[float]:
    """Probabilities of negative, neutral and positive if the mean ``rating`` has the error RATING_ERROR."""
    error = NormalDist(rating, RATING_ERROR)
    negative, positive = error.cdf(-THRESHOLD), 1.0 - error.cdf(THRESHOLD)
    return negative, 1.0 - negative - positive, positive


@dataclass(frozen=True)
class Mixture:
    """Draws the examples of an epoch from the training parts of rated texts and labelled sentences."""

    rated: Sequence[RatedText]
    sentences: Sequence[Sentence]

    @classmethod
    def of(cls, rows: Sequence[RatedText], found: Sequence[Sentence], held_out: Collection[str] = ()) -> Mixture:
        """The training parts, without the texts ``held_out``."""
        kept = [sentence for sentence in sentences.select(found, "train") if sentence.text not in held_out]
        return cls(dataset.select(rows, "train"), kept)

    def draw(self, recipe: Recipe) -> list[Example]:
        """The examples of an epoch; draws from :mod:`random`.

        The classes of plWordNet-emo, which has twice as many negative sentences, weigh the same.
        """
        rated = random.sample(self.rated, min(recipe.english, len(self.rated)))
        chosen: list[Sentence] = []
        for label in dataset.MEANINGS:
            of_label = [sentence for sentence in self.sentences if sentence.label == label]
            by_source = {name: [one for one in of_label if one.source == name] for name in self.sources}
            chosen += by_source.get(COMPOSED, []) * COMPOSED_COPIES
            chosen += by_source.get(CLARIN_EMO, []) * (NEUTRAL_COPIES if label == "neutral" else 1)
            chosen += _sample(by_source.get(TATOEBA, []), recipe.tatoeba)
            chosen += _surest(by_source.get(PLWORDNET_EMO, []), recipe.plwordnet // 2)
        facts = [one.text for one in self.sentences if one.source == TATOEBA and len(one.text.split()) <= ASIDE_WORDS]
        asides = recipe.asides
        return [(row.text, hurried(row.text), soft_label(row.rating)) for row in rated] + [
            (one.text, hurried(_with_aside(one.text, facts, asides) if one.language == "pl" else one.text), one.target)
            for one in chosen
        ]

    @property
    def sources(self) -> list[str]:
        """The sources of the sentences."""
        return sorted({sentence.source for sentence in self.sentences})


def _with_aside(text: str, facts: Sequence[str], share: float) -> str:
    """``text``, in that share with one of the ``facts`` before or after it, which leaves its label as it is."""
    if not facts or random.random() >= share or len(text.split()) > WORDS_WITH_ASIDE:
        return text
    return " ".join(random.sample([text, random.choice(facts)], 2))


def _surest(found: Sequence[Sentence], count: int) -> list[Sentence]:
    """At most ``count`` of ``found``, STRONG_SHARE of them with the least doubt, as far as there are."""
    least = min((sentence.doubt for sentence in found), default=0.0)
    strong = _sample([one for one in found if one.doubt == least], round(STRONG_SHARE * count))
    return strong + _sample([one for one in found if one.doubt > least], count - len(strong))


def _sample(found: Sequence[Sentence], count: int) -> list[Sentence]:
    return random.sample(found, min(count, len(found)))
