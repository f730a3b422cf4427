from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from textserve.application import Application
from textserve.classifier import Classifier
from textserve.errors import EmptyInput, TextTooLong
from textserve.explanation import Explanation, Word, explain, find_words, without
from textserve.metrics import RequestMetrics, RunnerMetrics
from textserve.runner import Classified, Runner
from textserve.settings import Settings

# A text of each, and the word without which nobody would know.
CARRIERS = {
    "Obsługa była fatalna.": "fatalna",
    "Jedzenie było pyszne.": "pyszne",
    "To był najgorszy film.": "najgorszy",
    "To był wspaniały koncert.": "wspaniały",
    "Polecam tę restaurację.": "Polecam",
    "Kelner był niegrzeczny.": "niegrzeczny",
    "Jestem zachwycona tą książką.": "zachwycona",
    "Nienawidzę tego telefonu.": "Nienawidzę",
    "Ten film jest cudowny.": "cudowny",
    "Pokój był brudny.": "brudny",
    "The food was delicious.": "delicious",
    "The service was terrible.": "terrible",
    "This phone is awful.": "awful",
    "What a wonderful evening!": "wonderful",
    "The room was dirty.": "dirty",
    "I love this phone.": "love",
    "I hate this phone.": "hate",
    "The film was boring.": "boring",
    "It was a beautiful concert.": "beautiful",
    "This is the worst hotel.": "worst",
}


def words_of(text: str) -> list[str]:
    return [text[word.start : word.end] for word in find_words(text)]


def application_of(classifier: Classifier, **changes: int) -> Application:
    registry = CollectorRegistry()
    chosen = Settings.model_validate({"threads": 1, **changes})
    runner = Runner(classifier, chosen, RunnerMetrics(registry))
    return Application("tiny:1", chosen, classifier, runner, registry, RequestMetrics(registry), ready=True)


def explained(classifier: Classifier, *texts: str) -> list[Explanation]:
    async def run() -> list[Explanation]:
        application = application_of(classifier)
        application.start()
        explanations = [await explain(application, text) for text in texts]
        await application.close()
        return explanations

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nie polecam, zła obsługa!", ["Nie", "polecam", "zła", "obsługa"]),
        ("  two\n\tlines ", ["two", "lines"]),
        ("It's the dogs' don’t-care attitude - really", ["It's", "the", "dogs", "don’t-care", "attitude", "really"]),
        ("biało-czerwony, 'cytat' i --dwa--", ["biało-czerwony", "cytat", "i", "dwa"]),
        ("3,50 zł o 12:30. Koniec.Dalej", ["3,50", "zł", "o", "12:30", "Koniec", "Dalej"]),
        ("snake_case #super @ktoś", ["snake_case", "super", "ktoś"]),
        ("Szło ❤️ i 👍🏽👩‍👩‍👧!", ["Szło", "❤️", "i", "👍🏽", "👩‍👩‍👧"]),
        (
            "🇵🇱🇬🇧 1️⃣ ‼️ ★ 🏴\U000e0067\U000e0062\U000e007f",
            ["🇵🇱", "🇬🇧", "1️⃣", "‼️", "★", "🏴\U000e0067\U000e0062\U000e007f"],
        ),
        ("super:) źle :-( ech:/ <3 :D ;) xD", ["super", ":)", "źle", ":-(", "ech", ":/", "<3", ":D", ";)", "xD"]),
        ("http://a.pl a:b (note:see) C:\\dir", ["http", "a", "pl", "a", "b", "note", "see", "C", "dir"]),
        ("Ελλάδα ещё Ünïcödé", ["Ελλάδα", "ещё", "Ünïcödé"]),
        ("?! … - '", []),
        ("", []),
    ],
)
def test_words_are_what_a_reader_takes_for_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_word_is_the_same_however_its_accents_are_written() -> None:
    text = "Zażółć gęślą jaźń"
    assert words_of(unicodedata.normalize("NFD", text)) == [unicodedata.normalize("NFD", word) for word in text.split()]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_words_of_any_text_are_in_order_and_have_no_white_space(text: str) -> None:
    end = 0
    for word in find_words(text):
        assert end <= word.start < word.end <= len(text)
        assert not any(character.isspace() for character in text[word.start : word.end])
        end = word.end
    assert {place for place, character in enumerate(text) if character.isalnum()} <= {
        place for word in find_words(text) for place in range(word.start, word.end)
    }


def test_a_long_text_has_its_words_found_in_time() -> None:
    for hard in ("a" * 20_000, "a-" * 10_000, ":" * 20_000, ":(" * 10_000, "👩‍" * 10_000, "1." * 10_000):
        find_words(hard)


def test_what_is_left_out_is_the_word_alone() -> None:
    assert without("a bardzo c", Word(2, 8)) == "a  c"


@pytest.mark.parametrize(("text", "carrier"), CARRIERS.items(), ids=CARRIERS.values())
def test_the_word_that_carries_the_sentiment_has_the_greatest_influence(
    classifier: Classifier, text: str, carrier: str
) -> None:
    (explanation,) = explained(classifier, text)
    assert explanation.prediction.label in ("negative", "positive")
    lowest = min(explanation.words, key=lambda one: one.score_without)
    assert text[lowest.word.start : lowest.word.end] == carrier


def test_the_score_without_a_word_is_the_one_for_the_text_without_it(classifier: Classifier) -> None:
    for text in ("Obsługa była miła ❤️, ale hotel brudny.", "Świetnie", "The food was good but the waiter was rude."):
        (explanation,) = explained(classifier, text)
        assert len(explanation.words) == len(find_words(text))
        for one in explanation.words:
            rest = classifier.encode([without(text, one.word)])
            alone = float(classifier.predict(rest)[0, winner(explanation)])
            assert one.score_without == pytest.approx(alone, abs=1e-6)


def winner(explanation: Explanation) -> int:
    return explanation.prediction.labels.index(explanation.prediction.label)


def test_without_its_only_word_a_text_is_scored_as_no_text(classifier: Classifier) -> None:
    (explanation,) = explained(classifier, "Świetnie")
    (one,) = explanation.words
    nothing = classifier.predict(classifier.encode([""]))[0]
    assert one.score_without == pytest.approx(float(nothing[winner(explanation)]), abs=1e-6)
    assert explanation.prediction.score > one.score_without


def test_a_text_without_words_is_explained_by_none(classifier: Classifier) -> None:
    (explanation,) = explained(classifier, "?!")
    assert explanation.words == []
    assert sum(explanation.prediction.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_text_and_all_that_is_left_of_it_is_one_request(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    classify = Runner.classify

    async def spy(runner: Runner, texts: Sequence[str], *further: object) -> Classified:
        asked.append(list(texts))
        return await classify(runner, texts, *further)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "classify", spy)
    explained(classifier, "a b a")
    assert asked == [["a b a", " b a", "a  a", "a b "]]


@pytest.mark.parametrize(
    ("text", "changes", "kind", "words"),
    [
        ("  ", {}, EmptyInput, "empty"),
        ("one two three", {"max_explained_words": 2}, TextTooLong, "has 3 words; send at most 2"),
        ("one two three", {"max_characters": 12}, TextTooLong, "has 13 characters; send at most 12"),
    ],
)
def test_a_text_beyond_the_limits_is_refused_before_it_is_computed(
    classifier: Classifier, text: str, changes: dict[str, int], kind: type[Exception], words: str
) -> None:
    # The runner is not started: whatever reached it would never be answered.
    with pytest.raises(kind, match=words) as refusal:
        asyncio.run(asyncio.wait_for(explain(application_of(classifier, **changes), text), 10))
    assert getattr(refusal.value, "where", None) == "text"


def test_a_text_of_as_many_words_as_are_allowed_is_explained_whatever_the_number_of_texts(
    classifier: Classifier,
) -> None:
    async def run() -> Explanation:
        application = application_of(classifier, max_explained_words=3, max_texts=1)
        application.start()
        explanation = await explain(application, "one two three")
        await application.close()
        return explanation

    assert len(asyncio.run(run()).words) == 3
