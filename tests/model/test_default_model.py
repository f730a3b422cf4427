"""What anybody may expect of the default model, whatever its scores: plain sentences, small changes, negation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textserve.classifier import Classifier
from textserve.spec import Meaning

POLISH_DEV = Path(__file__).resolve().parents[2] / "models" / "sentiment-pl-en" / "polish-dev.jsonl"

PLAIN: dict[str, dict[Meaning, list[str]]] = {
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

# Sentences with a first name; the name must not matter.
NAMED: dict[str, list[str]] = {
    "pl": [
        "{} ugotował pyszny obiad, był znakomity.",
        "{} to wspaniały kolega, uwielbiam go.",
        "{} to okropny sąsiad, nienawidzę go.",
        "{} bezczelnie mnie oszukał, nigdy więcej.",
        "{} mieszka przy ulicy Lipowej.",
        "Jutro o ósmej {} ma egzamin.",
    ],
    "en": [
        "{} cooked a delicious dinner, it was excellent.",
        "I love working with {}, a wonderful person.",
        "{} is a terrible neighbour, I have had enough.",
        "{} lied to me, never again.",
        "{} lives on Elm Street.",
        "{} has an exam at eight tomorrow.",
    ],
}
NAMES = {"pl": ["Adam", "Piotr", "Mateusz", "Ahmed"], "en": ["John", "Peter", "Mohammed", "Mary"]}

# A sentence and the same with a negation, which must lower the probability of positive.
NEGATED: dict[str, list[tuple[str, str]]] = {
    "pl": [
        ("Polecam.", "Nie polecam."),
        ("Lubię to.", "Nie lubię tego."),
        ("Podoba mi się.", "Nie podoba mi się."),
        ("Jestem zadowolony.", "Nie jestem zadowolony."),
        ("To jest dobre.", "To nie jest dobre."),
        ("Warto było kupić.", "Nie warto było kupić."),
        ("Ten telefon działa dobrze.", "Ten telefon nie działa dobrze."),
        ("Jedzenie było smaczne.", "Jedzenie nie było smaczne."),
        ("Obsługa była miła.", "Obsługa nie była miła."),
        ("Kupię tu znowu.", "Nigdy więcej tu nie kupię."),
    ],
    "en": [
        ("I like it.", "I do not like it."),
        ("I recommend it.", "I do not recommend it."),
        ("I am happy with it.", "I am not happy with it."),
        ("It is good.", "It is not good."),
        ("It was worth the money.", "It was not worth the money."),
        ("This phone works well.", "This phone does not work well."),
        ("The food was tasty.", "The food was not tasty."),
        ("The staff were nice.", "The staff were not nice."),
        ("I would buy it again.", "I would never buy it again."),
        ("I enjoyed the film.", "I did not enjoy the film."),
    ],
}


def labels(classifier: Classifier, texts: Sequence[str]) -> list[Meaning]:
    places = classifier.predict(classifier.encode(texts)).argmax(axis=1)
    return [classifier.spec.meanings[place] for place in places]


def positive(classifier: Classifier, texts: Sequence[str]) -> list[float]:
    column = classifier.spec.meanings.index("positive")
    probabilities: list[float] = classifier.predict(classifier.encode(texts))[:, column].tolist()
    return probabilities


def differences(classifier: Classifier, texts: Sequence[str], changed: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of a text and its changed form that do not have the same label."""
    assert list(texts) != list(changed)
    pairs = zip(texts, changed, labels(classifier, texts), labels(classifier, changed), strict=True)
    return [(text, other) for text, other, before, after in pairs if before != after]


def plain(language: str) -> list[str]:
    return [text for texts in PLAIN[language].values() for text in texts]


def test_the_golden_texts_are_answered_as_the_spec_says(classifier: Classifier) -> None:
    classifier.check_golden()


@pytest.mark.parametrize("language", PLAIN)
def test_plain_sentences_are_labelled_as_anybody_would(classifier: Classifier, language: str) -> None:
    expected = [label for label, texts in PLAIN[language].items() for _ in texts]
    found = labels(classifier, plain(language))
    wrong = [
        (text, is_, should) for text, is_, should in zip(plain(language), found, expected, strict=True) if is_ != should
    ]
    assert len(wrong) <= 0.1 * len(expected), wrong


@pytest.mark.parametrize("language", PLAIN)
def test_no_plain_praise_is_read_as_blame_and_no_blame_as_praise(classifier: Classifier, language: str) -> None:
    assert "negative" not in labels(classifier, PLAIN[language]["positive"])
    assert "positive" not in labels(classifier, PLAIN[language]["negative"])


@pytest.mark.parametrize("language", PLAIN)
def test_a_small_first_letter_does_not_change_the_label(classifier: Classifier, language: str) -> None:
    texts = plain(language)
    changed = [text[0].lower() + text[1:] for text in texts]
    found = differences(classifier, texts, changed)
    assert len(found) <= 0.1 * len(texts), found


@pytest.mark.parametrize("language", PLAIN)
@pytest.mark.parametrize("ending", ["", "…", " ."])
def test_another_ending_does_not_change_the_label(classifier: Classifier, language: str, ending: str) -> None:
    texts = plain(language)
    found = differences(classifier, texts, [text.rstrip(".!") + ending for text in texts])
    assert len(found) <= 0.1 * len(texts), found


@pytest.mark.parametrize("language", PLAIN)
def test_an_exclamation_mark_does_not_change_praise_or_blame(classifier: Classifier, language: str) -> None:
    texts = PLAIN[language]["positive"] + PLAIN[language]["negative"]
    found = differences(classifier, texts, [text.rstrip(".!") + "!" for text in texts])
    assert len(found) <= 0.1 * len(texts), found


@pytest.mark.parametrize("language", NAMED)
def test_another_first_name_does_not_change_the_label(classifier: Classifier, language: str) -> None:
    first, *others = NAMES[language]
    pairs = [(text.format(first), text.format(other)) for text in NAMED[language] for other in others]
    texts, changed = zip(*pairs, strict=True)
    found = differences(classifier, texts, changed)
    assert len(found) <= 0.1 * len(pairs), found


@pytest.mark.parametrize("language", NEGATED)
def test_a_negation_makes_a_sentence_less_positive(classifier: Classifier, language: str) -> None:
    pairs = NEGATED[language]
    before = positive(classifier, [text for text, _ in pairs])
    after = positive(classifier, [negated for _, negated in pairs])
    wrong = [pair for pair, was, now in zip(pairs, before, after, strict=True) if now >= was]
    assert len(wrong) <= 0.1 * len(pairs), wrong


def test_polish_sentences_set_aside_are_labelled_well(classifier: Classifier) -> None:
    rows = [json.loads(line) for line in POLISH_DEV.read_text(encoding="utf-8").splitlines()]
    right = np.array(labels(classifier, [row["text"] for row in rows])) == [row["label"] for row in rows]
    assert right.mean() >= 0.88, [row["text"] for row, well in zip(rows, right, strict=True) if not well]
