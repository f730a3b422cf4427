"""Acceptance of the default model: golden texts, plain sentences, behavioural tests, and the Polish sentences."""

from __future__ import annotations

import pytest

from modeling.evaluation import behaviour
from modeling.files import ModelFiles
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import MEANINGS
from modeling.tasks.sentiment.texts import SENTENCES_FILE
from textserve.classifier import Classifier

FILES = ModelFiles.of("sentiment-pl-en")
SUITES = behaviour.load(FILES)
PLAIN: dict[str, dict[str, list[str]]] = {
    "pl": {
        "positive": [
            "Jestem bardzo zadowolony z tego zakupu.",
            "Cudowne wakacje, wszystko było wspaniałe!",
            "To najlepsza restauracja w mieście, pyszne jedzenie.",
            "Kocham tę piosenkę, jest piękna.",
            "Świetny pomysł, bardzo mi się podoba.",
            "Pani w recepcji była bardzo miła i pomocna.",
            "Doskonała jakość, gorąco polecam każdemu.",
            "Hurra, wygraliśmy, jestem szczęśliwy!",
            "Rewelacyjny film, śmiałam się przez cały czas.",
            "Dziękuję, to był wspaniały prezent.",
        ],
        "negative": [
            "Jestem bardzo niezadowolony z tego zakupu.",
            "Fatalny hotel, brudno i głośno.",
            "To najgorsza restauracja w mieście, obrzydliwe jedzenie.",
            "Nienawidzę tej pracy.",
            "Beznadziejny pomysł, zupełnie mi się nie podoba.",
            "Pani w recepcji była niemiła i opryskliwa.",
            "Tandeta, odradzam każdemu, szkoda pieniędzy.",
            "Jestem wściekła, zniszczyli mi bagaż.",
            "Nudny film, zasnęłam po kwadransie, porażka.",
            "Straszna awantura, wstyd i hańba.",
        ],
        "neutral": [
            "Zebranie rady odbędzie się w środę o godzinie 18.",
            "Biblioteka znajduje się przy ulicy Długiej 5.",
            "Formularz należy złożyć do 15 marca.",
            "Wykład zaczyna się o dziesiątej w sali 204.",
            "Autobus odjeżdża z przystanku przy dworcu.",
            "Rozporządzenie wchodzi w życie pierwszego stycznia.",
            "Paczka waży dwa kilogramy.",
            "Urząd jest otwarty we wtorki i czwartki.",
            "Gmina liczy sześć tysięcy mieszkańców.",
            "Minister przyjedzie w piątek do Gdańska.",
        ],
    },
    "en": {
        "positive": [
            "I am very happy with this purchase.",
            "A lovely holiday, everything was great!",
            "The best restaurant in town, delicious food.",
            "I adore this song, it is beautiful.",
            "Great idea, I really like it.",
            "The lady at the desk was very kind and helpful.",
            "Excellent quality, highly recommended.",
            "Hooray, we won, I am so happy!",
            "A brilliant film, I laughed all the way through.",
            "Thank you, it was a wonderful present.",
        ],
        "negative": [
            "I am very unhappy with this purchase.",
            "An awful hotel, dirty and loud.",
            "The worst restaurant in town, disgusting food.",
            "I hate this job.",
            "A terrible idea, I do not like it at all.",
            "The lady at the desk was rude.",
            "Cheap rubbish, avoid it, a waste of money.",
            "I am furious, they destroyed my luggage.",
            "A boring film, I fell asleep, what a failure.",
            "This is a disgrace, shame on you.",
        ],
        "neutral": [
            "The council meets on Wednesday at 6 pm.",
            "The library is at 5 Long Street.",
            "The form is to be handed in by March 15.",
            "The lecture starts at ten in room 204.",
            "The bus leaves from the stop at the station.",
            "The regulation comes into force on January 1.",
            "The parcel weighs two kilograms.",
            "The office is open on Tuesdays and Thursdays.",
            "The town has six thousand inhabitants.",
            "The minister will be in Boston on Friday.",
        ],
    },
}


def labels(classifier: Classifier, texts: list[str]) -> list[str]:
    return [MEANINGS[index] for index in classifier.predict_many(texts).argmax(axis=1)]


def test_golden_texts_have_their_labels(classifier: Classifier) -> None:
    assert classifier.spec.label_names == list(MEANINGS)
    classifier.check_golden()


@pytest.mark.parametrize("language", SUITES)
def test_behavioural_tests_fail_no_more_often_than_the_gates_allow(classifier: Classifier, language: str) -> None:
    section = behaviour.section(
        SUITES, FILES.spec().model_copy(update={"languages": [language]}), classifier.predict_many
    )
    limits = FILES.spec().gates.max_failure_rate.model_dump()
    rates = section["failure_rates"][language]
    assert {kind: rate for kind, rate in rates.items() if rate > limits[kind.replace(" ", "_")]} == {}, section["tests"]


@pytest.mark.parametrize("language", PLAIN)
def test_plain_sentences_have_their_obvious_labels(classifier: Classifier, language: str) -> None:
    rows = [(text, expected) for expected, texts in PLAIN[language].items() for text in texts]
    found = labels(classifier, [text for text, _ in rows])
    wrong = [(text, label, expected) for (text, expected), label in zip(rows, found, strict=True) if label != expected]
    assert len(wrong) <= 0.1 * len(rows), wrong
    assert not [text for text, *pair in wrong if "neutral" not in pair], "praise is never a complaint, nor the reverse"


def test_polish_sentences_have_their_labels(classifier: Classifier) -> None:
    texts, expected = zip(*dataset.polish_sentences(FILES.folder / SENTENCES_FILE), strict=True)
    found = labels(classifier, list(texts))
    wrong = [text for text, label, rated in zip(texts, found, expected, strict=True) if label != rated]
    assert len(wrong) <= 0.12 * len(texts), wrong
