from __future__ import annotations

import asyncio
import math
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from textserve.application import Application
from textserve.classifier import Classifier
from textserve.errors import EmptyInput, TextTooLong
from textserve.explanation import Explanation, explain, find_words
from textserve.metrics import PredictionMetrics, RequestMetrics, RunnerMetrics
from textserve.prediction import Classified
from textserve.runner import Runner
from textserve.settings import Settings
from textserve.watchdog import Watchdog

# Texts, each with the word that carries its sentiment.
CARRIERS = {
    "Obsługa była fatalna.": ("fatalna", "negative"),
    "Jedzenie było pyszne.": ("pyszne", "positive"),
    "To był najgorszy film.": ("najgorszy", "negative"),
    "To był wspaniały koncert.": ("wspaniały", "positive"),
    "Polecam tę restaurację.": ("Polecam", "positive"),
    "Kelner był niegrzeczny.": ("niegrzeczny", "negative"),
    "Jestem zachwycona tą książką.": ("zachwycona", "positive"),
    "Nienawidzę tego telefonu.": ("Nienawidzę", "negative"),
    "Koncert był niesamowity.": ("niesamowity", "positive"),
    "Pokój był brudny.": ("brudny", "negative"),
    "The food was delicious.": ("delicious", "positive"),
    "The service was terrible.": ("terrible", "negative"),
    "This phone is awful.": ("awful", "negative"),
    "What a wonderful evening!": ("wonderful", "positive"),
    "The room was dirty.": ("dirty", "negative"),
    "I love this phone.": ("love", "positive"),
    "I hate this phone.": ("hate", "negative"),
    "The film was boring.": ("boring", "negative"),
    "It was a beautiful concert.": ("beautiful", "positive"),
    "This is the worst hotel.": ("worst", "negative"),
}


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in find_words(text)]


def application_of(classifier: Classifier, **changes: int) -> Application:
    registry = CollectorRegistry()
    chosen = Settings.model_validate({"threads": 1, **changes})
    runner = Runner(classifier, chosen, RunnerMetrics(registry))
    watchdog = Watchdog(runner, chosen.stall_seconds)
    counted = RequestMetrics(registry), PredictionMetrics(registry, classifier.spec)
    return Application("tiny:1", chosen, classifier, runner, registry, *counted, watchdog, ready=True)


def explained(classifier: Classifier, *texts: str, **changes: int) -> list[Explanation]:
    async def run() -> list[Explanation]:
        application = application_of(classifier, **changes)
        application.start(end=pytest.fail)
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
def test_words_are_found(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_words_do_not_depend_on_unicode_normalization() -> None:
    text = "Zażółć gęślą jaźń"
    assert words_of(unicodedata.normalize("NFD", text)) == [unicodedata.normalize("NFD", word) for word in text.split()]


@given(st.text(max_size=60))
def test_words_of_any_text_are_in_order_without_white_space_and_cover_every_letter_and_digit(text: str) -> None:
    previous = 0
    for start, end in find_words(text):
        assert previous <= start < end <= len(text)
        assert not any(character.isspace() for character in text[start:end])
        previous = end
    assert {index for index, character in enumerate(text) if character.isalnum()} <= {
        index for start, end in find_words(text) for index in range(start, end)
    }


def test_words_of_long_texts_are_found_in_linear_time() -> None:
    for hard in ("a" * 20_000, "a-" * 10_000, ":" * 20_000, ":(" * 10_000, "👩‍" * 10_000, "1." * 10_000):
        find_words(hard)


@pytest.mark.parametrize(("text", "carrier", "label"), [(text, *found) for text, found in CARRIERS.items()])
def test_the_word_that_carries_the_sentiment_lowers_the_score_most(
    classifier: Classifier, text: str, carrier: str, label: str
) -> None:
    (explanation,) = explained(classifier, text)
    assert explanation.prediction.label == label
    lowest = min(explanation.words, key=lambda explained: explained.scores_without)
    assert text[lowest.start : lowest.end] == carrier


def test_the_score_without_a_word_is_that_of_the_text_without_it(classifier: Classifier) -> None:
    texts = ("Obsługa była miła ❤️, ale hotel brudny.", "Świetnie", "The food was good but the waiter was rude.")
    for text, explanation in zip(texts, explained(classifier, *texts), strict=True):
        words = find_words(text)
        assert [(word.start, word.end) for word in explanation.words] == words
        predicted = explanation.prediction.scores.index(explanation.prediction.score)
        alone = classifier.predict_many([text[:start] + text[end:] for start, end in words], batch_texts=1)
        without = alone[:, predicted].tolist()
        assert [word.scores_without[0] for word in explanation.words] == pytest.approx(without, abs=1e-6)
        score = explanation.prediction.score
        log_odds = [math.log(score / (1 - score)) - math.log(other / (1 - other)) for other in without]
        assert [word.log_odds[0] for word in explanation.words] == pytest.approx(log_odds, abs=1e-4)


def test_a_text_without_words_has_an_explanation_without_words(classifier: Classifier) -> None:
    (explanation,) = explained(classifier, "?!")
    assert explanation.words == []
    assert sum(explanation.prediction.scores) == pytest.approx(1, abs=1e-5)


def test_the_runner_gets_the_text_and_its_variants_in_a_single_request(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[list[str]] = []
    classify = Runner.classify

    async def spy(runner: Runner, texts: Sequence[str], *rest: object) -> Classified:
        requests.append(list(texts))
        return await classify(runner, texts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "classify", spy)
    explained(classifier, "a b a")
    assert requests == [["a b a", " b a", "a  a", "a b "]]


@pytest.mark.parametrize(
    ("text", "changes", "kind", "words"),
    [
        ("  ", {}, EmptyInput, "empty"),
        ("one two three", {"max_explained_tokens": 11}, TextTooLong, "has 3 words and at least 3 tokens.* be 11 at"),
        ("one two three", {"max_explained_tokens": 12}, TextTooLong, "has 3 words and at least 5 tokens.* be 12 at"),
        ("one two three", {"max_characters": 12}, TextTooLong, "has 13 characters; send at most 12"),
    ],
)
def test_a_text_beyond_the_limits_is_rejected_before_it_is_computed(
    classifier: Classifier, text: str, changes: dict[str, int], kind: type[Exception], words: str
) -> None:
    # The runner is not started: a request that reached it would never be answered.
    with pytest.raises(kind, match=words) as error:
        asyncio.run(asyncio.wait_for(explain(application_of(classifier, **changes), text), 60))
    assert getattr(error.value, "where", None) == "text"


def test_the_limit_of_texts_does_not_apply_to_words(classifier: Classifier) -> None:
    (explanation,) = explained(classifier, "one two three", max_explained_tokens=20, max_texts=1)
    assert len(explanation.words) == 3
