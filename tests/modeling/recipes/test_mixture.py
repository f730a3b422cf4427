from __future__ import annotations

import random
from collections import Counter

import pytest

from modeling.recipes import mixture
from modeling.recipes.mixture import Mixture, soft_label
from modeling.recipes.recipe import Recipe
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText
from modeling.tasks.sentiment.sentences import Sentence

RECIPE = Recipe(english=40, plwordnet=60, tatoeba=10)


def sentences(
    source: str, count: int, *, doubt: float = 0.1, language: str = "pl", labels: tuple[str, ...] = MEANINGS
) -> list[Sentence]:
    return [
        Sentence(f"{source} {label} {doubt} {language} {number}", label, language, source, doubt)  # type: ignore[arg-type]
        for label in labels
        for number in range(count)
    ]


@pytest.fixture
def mixed() -> Mixture:
    rows = [RatedText(f"rated {number}", 2.0, "news") for number in range(100)]
    found = [
        *sentences("composed", 20),
        *sentences("composed", 20, language="en"),
        *sentences("clarin-emo", 20),
        *sentences("plwordnet-emo", 100, doubt=0.08, labels=("negative",)),
        *sentences("plwordnet-emo", 15, doubt=0.08, labels=("positive",)),
        *sentences("plwordnet-emo", 100, doubt=0.2, labels=("negative", "positive")),
        *sentences("tatoeba-neutral", 50, labels=("neutral",)),
    ]
    return Mixture.of(rows, found, held_out=[found[0].text])


@pytest.mark.parametrize(
    ("rating", "expected"),
    [(-3.0, (1, 0, 0)), (0.0, (0.05, 0.9, 0.05)), (0.5, (0, 0.5, 0.5)), (3.0, (0, 0, 1))],
)
def test_a_rating_near_a_boundary_is_an_uncertain_label(rating: float, expected: tuple[float, float, float]) -> None:
    found = soft_label(rating)
    assert sum(found) == pytest.approx(1)
    assert found == pytest.approx(expected, abs=0.01)


def test_an_epoch_has_its_share_of_each_source(mixed: Mixture) -> None:
    random.seed(0)
    drawn = mixed.draw(RECIPE)
    by_text = {sentence.text: sentence for sentence in mixed.sentences}
    counts = Counter(text for text, _, _ in drawn)
    found = Counter(by_text[text].source if text in by_text else "rated" for text in counts.elements())
    assert found["rated"] == 40
    assert found["tatoeba-neutral"] == 10
    assert found["plwordnet-emo"] == 60
    for text, sentence in by_text.items():
        if sentence.source == "composed":
            assert counts[text] == 2
        if sentence.source == "clarin-emo":
            assert counts[text] == (2 if sentence.label == "neutral" else 1)
    drawn_of = Counter((by_text[text].label, by_text[text].doubt) for text in counts if "plwordnet" in text)
    # Three quarters strong ones, as far as there are.
    assert drawn_of[("negative", 0.08)] == 22
    assert drawn_of[("positive", 0.08)] == 15
    assert drawn_of[("negative", 0.08)] + drawn_of[("negative", 0.2)] == 30
    assert drawn_of[("positive", 0.08)] + drawn_of[("positive", 0.2)] == 30


def test_polish_texts_typed_in_a_hurry_have_a_plain_fact_beside_them_at_times(
    mixed: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "hurried", lambda text: text)
    random.seed(0)
    language = {sentence.text: sentence.language for sentence in mixed.sentences}
    drawn = [example for _ in range(10) for example in mixed.draw(RECIPE)]
    polish = [(text, typed) for text, typed, _ in drawn if language.get(text) == "pl"]
    changed = [(text, typed) for text, typed in polish if text != typed]
    assert len(changed) / len(polish) == pytest.approx(RECIPE.asides, abs=0.03)
    after = [typed.startswith(f"{text} tatoeba-neutral") for text, typed in changed]
    before = [typed.startswith("tatoeba-neutral") and typed.endswith(f" {text}") for text, typed in changed]
    assert all(map(any, zip(after, before, strict=True)))
    assert any(after)
    assert any(before)
    assert all(text == typed for text, typed, _ in drawn if language.get(text) != "pl")


def test_a_long_text_has_no_fact_beside_it(mixed: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "hurried", lambda text: text)
    text = "słowo " * 100
    long = Mixture(mixed.rated, [*mixed.sentences, Sentence(text, "negative", "pl", "composed", 0.1)])
    assert {typed for _ in range(20) for found, typed, _ in long.draw(RECIPE) if found == text} == {text}


def test_only_training_parts_are_drawn_and_nothing_held_out(mixed: Mixture) -> None:
    assert {row.part for row in mixed.rated} == {"train"}
    assert {sentence.part for sentence in mixed.sentences} == {"train"}
    assert "composed negative 0.1 pl 0" not in {sentence.text for sentence in mixed.sentences}


def test_the_same_seed_draws_the_same_and_another_epoch_something_else(mixed: Mixture) -> None:
    draws = []
    for _ in range(2):
        random.seed(3)
        draws.append([mixed.draw(RECIPE), mixed.draw(RECIPE)])
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[0][1]
