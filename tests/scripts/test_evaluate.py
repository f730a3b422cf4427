from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluate import calibration, figures, predict, vader
from sentiment.classifier import Classifier

pytestmark = pytest.mark.export


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


def test_figures_are_those_of_all_labels_alike() -> None:
    assert figures([0, 0, 0, 1, 2], [0, 0, 0, 1, 1]) == {
        "texts": 5,
        "accuracy": 0.8,
        "macro_f1": pytest.approx((1 + 2 / 3 + 0) / 3),
    }


def test_vader_reads_plain_texts() -> None:
    assert vader(["I love this!", "I hate this!", "This is a table."]) == [2, 0, 1]


def test_probabilities_are_in_one_order_whatever_the_order_of_the_model(classifier: Classifier) -> None:
    rows = predict(classifier, ["I hate this.", "I love this."])
    assert rows.argmax(axis=1).tolist() == [0, 2]
