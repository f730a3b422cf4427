from __future__ import annotations

import random

import pytest

from modeling.tasks.sentiment.dataset import label_of
from modeling.tasks.sentiment.polish import Gender, PolishExamples, agreeing, gender_of, is_adjective

STEMS = [f"{first}{second}{third}" for first in "bdk" for second in "aeo" for third in ("rn", "lt", "st")]
RATINGS = {"zł": -2.5, "dobr": 2.5, "such": 0.0}
# Adjectives of every class, masculine nouns that people find pleasant, and the forms by which they are known.
WORDS = {f"{stem}{end}y": rating for stem in STEMS for end, rating in RATINGS.items()} | dict.fromkeys(STEMS, 1.5)
WORDS |= {f"{stem}ik": 0.0 for stem in STEMS}
FORMS = {f"{word[:-1]}ego": rating for word, rating in WORDS.items() if word.endswith("y")}
FORMS |= {f"{word}{end}": rating for word, rating in WORDS.items() for end in ("em", "iem") if not word.endswith("y")}


def used(text: str) -> list[str]:
    return [word.strip(".!,") for word in text.lower().split()]


@pytest.fixture
def examples() -> PolishExamples:
    random.seed(0)
    return PolishExamples(WORDS, FORMS)


def test_each_class_is_a_third_of_the_examples(examples: PolishExamples) -> None:
    labels = [label_of(rating) for _, rating in examples.draw(300)]
    assert {label: labels.count(label) for label in set(labels)} == {"negative": 100, "neutral": 100, "positive": 100}


def test_words_of_every_kind_are_drawn(examples: PolishExamples) -> None:
    drawn = {word for text, _ in examples.draw(3000) for word in used(text)}
    assert len(drawn & WORDS.keys()) == len(WORDS)
    assert len(drawn & FORMS.keys()) > 50


def test_an_inflected_form_that_may_be_a_negation_is_not_drawn() -> None:
    random.seed(0)
    examples = PolishExamples(WORDS, FORMS | {"niedobrego": 2.5})
    assert "niedobrego" not in {word for text, _ in examples.draw(3000) for word in used(text)}


def test_a_list_has_one_class_and_in_a_phrase_the_adjective_decides(examples: PolishExamples) -> None:
    pleasant_noun_called_bad = 0
    for text, rating in examples.draw(3000):
        ratings = {(WORDS | FORMS)[word] for word in used(text) if word in WORDS | FORMS}
        assert rating in {min(ratings), max(ratings), sum(ratings) / len(ratings)} or len(ratings) <= 2
        if rating == -2.5 and 1.5 in ratings:
            pleasant_noun_called_bad += 1
        if rating == 2.5:
            assert -2.5 not in ratings
        if rating == -2.5:
            assert 2.5 not in ratings
    assert pleasant_noun_called_bad > 100


def test_the_same_seed_draws_the_same() -> None:
    draws = []
    for _ in range(2):
        random.seed(7)
        draws.append(PolishExamples(WORDS, FORMS).draw(50))
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("adjective", "gender", "expected"),
    [
        ("okropny", "masculine", "okropny"),
        ("okropny", "feminine", "okropna"),
        ("okropny", "neuter", "okropne"),
        ("kiepski", "feminine", "kiepska"),
        ("kiepski", "neuter", "kiepskie"),
        ("drogi", "feminine", "droga"),
        ("głupi", "feminine", "głupia"),
        ("tani", "neuter", "tanie"),
    ],
)
def test_an_adjective_agrees_with_its_noun(adjective: str, gender: Gender, expected: str) -> None:
    assert agreeing(adjective, gender) == expected


@pytest.mark.parametrize(
    ("word", "forms", "expected"),
    [
        ("film", ["filmem"], "masculine"),
        ("rok", ["rokiem"], "masculine"),
        ("strata", ["stratą"], "feminine"),
        ("miasto", ["miastem"], "neuter"),
        ("morze", ["morzem"], "neuter"),
        ("szybko", [], None),
        ("robić", ["robię"], None),
        ("drzwi", ["drzwiami"], None),
    ],
)
def test_a_noun_is_known_by_its_instrumental(word: str, forms: list[str], expected: Gender | None) -> None:
    assert gender_of(word, dict.fromkeys(forms, 0.0)) == expected


@pytest.mark.parametrize(
    ("word", "forms", "expected"),
    [
        ("okropny", ["okropnego"], True),
        ("kiepski", ["kiepskiego"], True),
        ("tani", ["taniego"], True),
        ("okropny", [], False),
        ("mury", ["murami"], False),
        ("film", ["filmego"], False),
    ],
)
def test_an_adjective_is_known_by_its_genitive(word: str, forms: list[str], expected: bool) -> None:
    assert is_adjective(word, dict.fromkeys(forms, 0.0)) is expected
