from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, f1_score

from modeling.evaluation import quality
from modeling.evaluation.quality import calibration, confusion, figures, loss, predict, vader
from modeling.tasks.sentiment.texts import LabelledTexts
from textserve.classifier import Classifier

pytestmark = pytest.mark.export

LABELS = arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 2))


def test_a_model_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    probabilities = np.tile(np.array([[0.8, 0.1, 0.1]], dtype=np.float32), (10, 1))
    assert calibration(probabilities, [0] * 8 + [1] * 2)["ece"] == pytest.approx(0, abs=1e-6)


def test_the_calibration_error_is_the_gap_between_score_and_accuracy_weighted_by_texts() -> None:
    sure = np.array([[0.9, 0.05, 0.05]], dtype=np.float32)
    unsure = np.array([[0.2, 0.2, 0.6]], dtype=np.float32)
    found = calibration(np.concatenate([sure] * 3 + [unsure]), [0, 0, 1, 2])
    assert found["ece"] == pytest.approx((3 * (0.9 - 2 / 3) + (1 - 0.6)) / 4, abs=1e-6)
    assert [one["texts"] for one in found["bins"]] == [1, 3]


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert calibration(np.array([[1.0, 0.0, 0.0]], dtype=np.float32), [0])["bins"][0]["texts"] == 1


@given(st.data())
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(data: st.DataObject) -> None:
    truth = data.draw(LABELS)
    found = data.draw(arrays.arrays(np.int64, len(truth), elements=st.integers(0, 2)))
    counts = confusion(truth.tolist(), found.tolist())
    assert quality.accuracy(counts) == pytest.approx(accuracy_score(truth, found))
    assert quality.macro_f1(counts) == pytest.approx(f1_score(truth, found, average="macro"))


def test_an_interval_is_as_wide_as_the_error_of_a_share() -> None:
    truth, found = [0] * 200 + [2] * 200, [0] * 160 + [2] * 240
    measured = figures(truth, found)
    error = 1.96 * (0.9 * 0.1 / 400) ** 0.5
    assert measured["accuracy"] == 0.9
    assert measured["accuracy_interval"] == pytest.approx([0.9 - error, 0.9 + error], abs=0.006)
    low, high = measured["macro_f1_interval"]
    assert low < measured["macro_f1"] < high


def test_intervals_are_the_same_each_time() -> None:
    assert figures([0, 1, 2, 2], [0, 1, 2, 1]) == figures([0, 1, 2, 2], [0, 1, 2, 1])


def test_the_loss_against_another_model_is_paired() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600).tolist()
    found = [label if random.random() < 0.7 else 0 for label in truth]
    # The other model is right on six texts more, and otherwise says the same.
    other = list(found)
    for place in [place for place, label in enumerate(truth) if found[place] != label][:6]:
        other[place] = truth[place]
    measured = loss(truth, found, other)
    assert measured["macro_f1"] == pytest.approx(f1_score(truth, other, average="macro"))
    assert measured["f1_loss"] == pytest.approx(measured["macro_f1"] - f1_score(truth, found, average="macro"))
    low, high = measured["f1_loss_interval"]
    # Much narrower than the interval of either score, as what both answer alike cancels out.
    assert 0 < low < measured["f1_loss"] < high < 0.025
    single = figures(truth, found)["macro_f1_interval"]
    assert single[1] - single[0] > 2 * (high - low)


def test_a_model_loses_nothing_against_itself() -> None:
    assert loss([0, 1, 2], [0, 1, 1], [0, 1, 1])["f1_loss_interval"] == [0.0, 0.0]


def test_vader_reads_plain_texts() -> None:
    assert vader(["I love this!", "I hate this!", "This is a table."]) == [2, 0, 1]


def test_probabilities_are_in_one_order_whatever_the_order_of_the_model(classifier: Classifier) -> None:
    found = predict(classifier, ["I hate this.", "I love this."])
    assert found.argmax(axis=1).tolist() == [0, 2]


def one_hot(labels: list[int]) -> quality.Probabilities:
    return np.eye(3, dtype=np.float32)[labels]


def test_quality_is_measured_by_language_and_domain() -> None:
    english = LabelledTexts(
        "en",
        "English",
        ["I love this!", "I hate this!", "A table."],
        ["positive", "negative", "neutral"],
        ["a", "b", "b"],
    )
    polish = LabelledTexts("pl", "Polish", ["Świetnie!", "Źle."], ["positive", "negative"], [])
    measured = quality.section([english, polish], [one_hot([2, 0, 0]), one_hot([2, 2])])
    assert {name: one["accuracy"] for name, one in measured["languages"].items()} == {
        "en": pytest.approx(2 / 3),
        "pl": 0.5,
    }
    domains = measured["languages"]["en"]["domains"]
    assert {name: (one["texts"], one["accuracy"]) for name, one in domains.items()} == {"a": (1, 1.0), "b": (2, 0.5)}
    assert [one["vader_macro_f1"] for one in domains.values()] == [1.0, 1.0]
    assert "vader_macro_f1" not in measured["languages"]["pl"]
    assert measured["languages"]["pl"]["confusion"] == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    # On the largest set: three texts answered with certainty, one of them wrong.
    calibrated = measured["calibration"]
    assert (calibrated["language"], calibrated["texts"], calibrated["ece"]) == ("en", 3, pytest.approx(1 / 3))


def test_without_labelled_texts_there_is_nothing_to_show() -> None:
    assert quality.section([], []) == {"languages": {}}
