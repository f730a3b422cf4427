from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from modeling.evaluation import quality
from modeling.evaluation.answers import Answers, Scores
from modeling.evaluation.quality import calibration, figures, loss
from modeling.spec import ModelSpec
from modeling.texts import LabelledTexts
from tests.tiny_checkpoints import tiny_spec

pytestmark = pytest.mark.export

SPEC = ModelSpec.model_validate(tiny_spec())


def one_hot(labels: Answers | list[int]) -> Scores:
    return np.eye(3, dtype=np.float32)[labels]


def test_calibrated_scores_have_no_calibration_error() -> None:
    probabilities = np.tile(np.array([[0.8, 0.1, 0.1]], dtype=np.float32), (10, 1))
    assert calibration(probabilities, np.array([0] * 8 + [1] * 2))["ece"] == pytest.approx(0, abs=1e-6)


def test_the_calibration_error_is_the_gap_between_score_and_accuracy_weighted_by_texts() -> None:
    rows = [[0.9, 0.05, 0.05]] * 3 + [[0.2, 0.2, 0.6]] + [[1.0, 0.0, 0.0]]
    found = calibration(np.array(rows, dtype=np.float32), np.array([0, 0, 1, 2, 0]))
    assert found["ece"] == pytest.approx((3 * (0.9 - 2 / 3) + (1 - 0.6) + 0) / 5, abs=1e-6)
    assert [each["texts"] for each in found["bins"]] == [1, 3, 1]


def test_an_interval_is_as_wide_as_the_error_of_a_share_and_always_the_same() -> None:
    truth, answers = np.array([0] * 200 + [2] * 200), np.array([0] * 160 + [2] * 240)
    measured = figures(SPEC, truth, one_hot(answers))
    error = 1.96 * (0.9 * 0.1 / 400) ** 0.5
    assert measured["accuracy"] == 0.9
    assert measured["accuracy_interval"] == pytest.approx([0.9 - error, 0.9 + error], abs=0.006)
    low, high = measured["macro_f1_interval"]
    assert low < measured["macro_f1"] < high
    assert figures(SPEC, truth, one_hot(answers)) == measured


def test_the_interval_of_a_single_text_is_its_value() -> None:
    assert figures(SPEC, np.array([1]), one_hot([1]))["macro_f1_interval"] == [1.0, 1.0]


def test_the_loss_against_another_model_is_paired() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    answers = np.where(random.random(600) < 0.7, truth, 0)
    # The other model gives six more correct answers, and otherwise the same.
    other = answers.copy()
    more = np.flatnonzero(answers != truth)[:6]
    other[more] = truth[more]
    measured = loss(SPEC, truth, answers, other)
    assert measured["macro_f1"] == pytest.approx(f1_score(truth, other, average="macro"))
    assert measured["f1_loss"] == pytest.approx(measured["macro_f1"] - f1_score(truth, answers, average="macro"))
    low, high = measured["f1_loss_interval"]
    # Much narrower than the interval of either score, since equal answers cancel out.
    assert 0 < low < measured["f1_loss"] < high < 0.025
    single = figures(SPEC, truth, one_hot(answers))["macro_f1_interval"]
    assert single[1] - single[0] > 2 * (high - low)
    assert loss(SPEC, truth, answers, answers)["f1_loss_interval"] == [0.0, 0.0]


def test_quality_is_measured_by_language_and_domain() -> None:
    texts, labels = ["I love this!", "I hate this!", "A table."], ["positive", "negative", "neutral"]
    english = LabelledTexts("en", "English", texts, labels, ["a, x", "b, x", "b, y"])
    polish = LabelledTexts("pl", "Polish", ["Świetnie!", "Źle."], ["positive", "negative"], [])
    measured = quality.section(SPEC, [english, polish], [one_hot([2, 0, 0]), one_hot([2, 2])])
    accuracies = {name: language["accuracy"] for name, language in measured["languages"].items()}
    assert accuracies == {"en": pytest.approx(2 / 3), "pl": 0.5}
    domains = measured["languages"]["en"]["domains"]
    assert [(domains[name]["texts"], domains[name]["accuracy"]) for name in ("a", "b")] == [(1, 1.0), (2, 0.5)]
    assert list(domains) == ["a", "a, x", "b", "b, x", "b, y"]
    assert {domain["vader_macro_f1"] for domain in domains.values()} == {1.0}
    assert "vader_macro_f1" not in measured["languages"]["pl"]
    assert measured["languages"]["pl"]["confusion"] == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    # On the largest set: three texts answered with certainty, one of them wrong.
    calibrated = measured["calibration"]
    assert (calibrated["language"], calibrated["texts"], calibrated["ece"]) == ("en", 3, pytest.approx(1 / 3))
    assert {name: row["ece"] for name, row in measured["languages"].items()} == {"en": pytest.approx(1 / 3), "pl": 0.5}
    assert quality.section(SPEC, [], []) == {"languages": {}}


def spec_of(problem_type: str, names: list[str], /, **golden: object) -> ModelSpec:
    """A spec of a problem without a task."""
    texts = [{"text": "x", **golden}, {"text": "y", **golden}]
    changes = {"task": None, "problem_type": problem_type, "labels": names, "golden": texts}
    return ModelSpec.model_validate(tiny_spec() | changes)


def test_sets_of_labels_and_numbers_have_their_own_metrics_and_no_calibration() -> None:
    several = spec_of("multi_label_classification", ["a", "b"], labels=["a"])
    texts = LabelledTexts("en", "test.jsonl", ["x", "y"], [("a", "b"), ()])
    scores = np.array([[0.9, 0.2], [0.1, 0.1]], dtype=np.float32)
    measured = quality.section(several, [texts], [scores])
    assert set(measured) == {"languages"}
    row = measured["languages"]["en"]
    assert (row["micro_f1"], row["macro_f1"], row["average_precision"]) == (pytest.approx(2 / 3), 0.5, 1.0)

    number = spec_of("regression", ["stars"], score=1.0)
    texts = LabelledTexts("en", "test.jsonl", ["x", "y", "z"], [1.0, 2.0, 3.0])
    measured = quality.section(number, [texts], [np.array([[1.0], [2.0], [5.0]], dtype=np.float32)])
    row = measured["languages"]["en"]
    assert (row["rank_correlation"], row["rmse"]) == (1.0, pytest.approx((4 / 3) ** 0.5))
    assert sorted(row["points"]) == [[1.0, 1.0], [2.0, 2.0], [3.0, 5.0]]


def test_of_more_than_20_labels_there_is_no_matrix_and_without_the_task_no_lexicon() -> None:
    labels = [str(number) for number in range(21)]
    spec = spec_of("single_label_classification", labels, label="0")
    texts = LabelledTexts("en", "test.jsonl", ["I love this!"], ["3"])
    measured = quality.section(spec, [texts], [np.eye(21, dtype=np.float32)[[3]]])
    assert set(measured["languages"]["en"]) == {
        *("texts", "name", "ece", "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval")
    }
