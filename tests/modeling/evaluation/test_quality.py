from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, f1_score

from modeling.evaluation import quality
from modeling.evaluation.quality import calibration, figures, loss, predict
from modeling.tasks.sentiment.texts import LabelledTexts
from textserve.classifier import Classifier

pytestmark = pytest.mark.export

LABELS = arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 2))


def test_calibrated_scores_have_no_calibration_error() -> None:
    probabilities = np.tile(np.array([[0.8, 0.1, 0.1]], dtype=np.float32), (10, 1))
    assert calibration(probabilities, np.array([0] * 8 + [1] * 2))["ece"] == pytest.approx(0, abs=1e-6)


def test_the_calibration_error_is_the_gap_between_score_and_accuracy_weighted_by_texts() -> None:
    rows = [[0.9, 0.05, 0.05]] * 3 + [[0.2, 0.2, 0.6]] + [[1.0, 0.0, 0.0]]
    found = calibration(np.array(rows, dtype=np.float32), np.array([0, 0, 1, 2, 0]))
    assert found["ece"] == pytest.approx((3 * (0.9 - 2 / 3) + (1 - 0.6) + 0) / 5, abs=1e-6)
    assert [each["texts"] for each in found["bins"]] == [1, 3, 1]


@given(st.data())
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(data: st.DataObject) -> None:
    truth = data.draw(LABELS)
    answers = data.draw(arrays.arrays(np.int64, len(truth), elements=st.integers(0, 2)))
    assert quality.accuracy(truth, answers) == pytest.approx(accuracy_score(truth, answers))
    assert quality.macro_f1(truth, answers) == pytest.approx(f1_score(truth, answers, average="macro"))
    twice = quality.macro_f1(np.stack([truth, answers]), np.stack([answers, truth]))
    assert twice == pytest.approx([f1_score(truth, answers, average="macro")] * 2)


def test_an_interval_is_as_wide_as_the_error_of_a_share_and_always_the_same() -> None:
    truth, answers = np.array([0] * 200 + [2] * 200), np.array([0] * 160 + [2] * 240)
    measured = figures(truth, answers)
    error = 1.96 * (0.9 * 0.1 / 400) ** 0.5
    assert measured["accuracy"] == 0.9
    assert measured["accuracy_interval"] == pytest.approx([0.9 - error, 0.9 + error], abs=0.006)
    low, high = measured["macro_f1_interval"]
    assert low < measured["macro_f1"] < high
    assert figures(truth, answers) == measured


def test_the_interval_of_a_single_text_is_its_value() -> None:
    assert figures(np.array([1]), np.array([1]))["macro_f1_interval"] == [1.0, 1.0]


def test_the_loss_against_another_model_is_paired() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    answers = np.where(random.random(600) < 0.7, truth, 0)
    # The other model gives six more correct answers, and otherwise the same.
    other = answers.copy()
    more = np.flatnonzero(answers != truth)[:6]
    other[more] = truth[more]
    measured = loss(truth, answers, other)
    assert measured["macro_f1"] == pytest.approx(f1_score(truth, other, average="macro"))
    assert measured["f1_loss"] == pytest.approx(measured["macro_f1"] - f1_score(truth, answers, average="macro"))
    low, high = measured["f1_loss_interval"]
    # Much narrower than the interval of either score, since equal answers cancel out.
    assert 0 < low < measured["f1_loss"] < high < 0.025
    single = figures(truth, answers)["macro_f1_interval"]
    assert single[1] - single[0] > 2 * (high - low)
    assert loss(truth, answers, answers)["f1_loss_interval"] == [0.0, 0.0]


def test_probabilities_are_in_the_order_of_the_meanings(classifier: Classifier) -> None:
    assert predict(classifier, ["I hate this.", "I love this."]).argmax(axis=1).tolist() == [0, 2]


def one_hot(labels: list[int]) -> quality.Probabilities:
    return np.eye(3, dtype=np.float32)[labels]


def test_quality_is_measured_by_language_and_domain() -> None:
    texts, labels = ["I love this!", "I hate this!", "A table."], ["positive", "negative", "neutral"]
    english = LabelledTexts("en", "English", texts, labels, ["a", "b", "b"])
    polish = LabelledTexts("pl", "Polish", ["Świetnie!", "Źle."], ["positive", "negative"], [])
    measured = quality.section([english, polish], [one_hot([2, 0, 0]), one_hot([2, 2])])
    accuracies = {name: language["accuracy"] for name, language in measured["languages"].items()}
    assert accuracies == {"en": pytest.approx(2 / 3), "pl": 0.5}
    domains = measured["languages"]["en"]["domains"]
    assert [(domains[name]["texts"], domains[name]["accuracy"]) for name in ("a", "b")] == [(1, 1.0), (2, 0.5)]
    assert [domain["vader_macro_f1"] for domain in domains.values()] == [1.0, 1.0]
    assert "vader_macro_f1" not in measured["languages"]["pl"]
    assert measured["languages"]["pl"]["confusion"] == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    # On the largest set: three texts answered with certainty, one of them wrong.
    calibrated = measured["calibration"]
    assert (calibrated["language"], calibrated["texts"], calibrated["ece"]) == ("en", 3, pytest.approx(1 / 3))
    assert quality.section([], []) == {"languages": {}}
