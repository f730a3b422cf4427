from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import SPECS
from textserve.drift import (
    PARTS,
    Distance,
    Reference,
    Window,
    chi_square_tail,
    chi_square_test,
    compare,
    measure,
    mixture,
    psi,
)
from textserve.prediction import Prediction

CONTENT: dict[str, Any] = {
    "bounds": {"score": [0.6, 0.8], "tokens": [3.0, 6.0], "unknown": [0.0], "rare": [0.25]},
    "unknown_id": 1,
    "frequent_ids": [2, 3, 4],
    "groups": {
        "en": {
            "label": [300, 100],
            "score": [50, 150, 200],
            "tokens": [200, 150, 50],
            "unknown": [398, 2],
            "rare": [350, 50],
        }
    },
}
SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=12).map(lambda weights: np.array(weights) / sum(weights))


def prediction(scores: Sequence[float], ids: Sequence[int]) -> Prediction:
    return Prediction(SPECS["single"], scores, len(ids), truncated=False, ids=ids)


def reference(**changes: Any) -> Reference:
    return Reference.model_validate(CONTENT | changes)


# The table of critical values in Abramowitz and Stegun, 26.8.
@pytest.mark.parametrize(
    ("statistic", "degrees", "probability"),
    [
        (3.84146, 1, 0.05),
        (10.828, 1, 0.001),
        (5.99146, 2, 0.05),
        (7.81473, 3, 0.05),
        (18.3070, 10, 0.05),
        (29.588, 10, 0.001),
        (37.697, 15, 0.001),
        (124.342, 100, 0.05),
        (0, 7, 1),
    ],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic: float, degrees: int, probability: float) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(probability, rel=3e-4)


@given(statistic=st.floats(0, 300), more=st.floats(0.01, 50), degrees=st.integers(1, 60))
def test_the_tail_falls_with_the_statistic_and_rises_with_the_degrees(
    statistic: float, more: float, degrees: int
) -> None:
    tail = chi_square_tail(statistic, degrees)
    rounding = 1e-12
    assert 0 <= chi_square_tail(statistic + more, degrees) <= tail + rounding
    assert tail <= chi_square_tail(statistic, degrees + 1) + rounding
    assert chi_square_tail(statistic, degrees + 1) <= 1


@given(first=SHARES, data=st.data())
def test_psi_is_symmetric_positive_and_0_for_equal_shares(first: Any, data: st.DataObject) -> None:
    second = first[data.draw(st.permutations(range(len(first))))]
    assert psi(first, first) == 0
    assert psi(first, second) == pytest.approx(psi(second, first))
    assert psi(first, second) >= 0
    # Siddiqi, Credit Risk Scorecards, 2006: the sum of (found - expected) ln(found / expected).
    assert psi(np.array([0.5, 0.5]), np.array([0.75, 0.25])) == pytest.approx(0.25 * np.log(3))


def test_for_samples_of_one_distribution_the_share_of_p_values_below_a_level_is_that_level() -> None:
    random = np.random.default_rng(0)
    shares = np.array([0.02, 0.08, 0.3, 0.25, 0.2, 0.15])
    p_values = [
        chi_square_test(random.multinomial(2000, shares).astype(float), random.multinomial(500, shares).astype(float))
        for _ in range(4000)
    ]
    # Within 4 standard errors.
    for level in (0.01, 0.05, 0.5):
        assert abs(np.mean(np.array(p_values) < level) - level) < 4 * np.sqrt(level * (1 - level) / 4000)


def test_bins_too_small_for_the_test_are_joined_and_one_bin_tells_nothing() -> None:
    assert chi_square_test(np.array([1000.0, 1.0]), np.array([98.0, 2.0])) == 1
    assert chi_square_test(np.array([1000.0, 1.0]), np.array([40.0, 60.0])) < 1e-6
    assert chi_square_test(np.array([1000.0, 0.0]), np.array([100.0, 0.0])) == 1


def test_a_mixture_of_known_groups_is_found_and_is_no_drift() -> None:
    polish = {"label": np.array([900.0, 50.0, 50.0]), "tokens": np.array([100.0, 900.0])}
    english = {"label": np.array([100.0, 800.0, 100.0]), "tokens": np.array([700.0, 300.0])}
    served = {name: 0.3 * polish[name] + 0.7 * english[name] for name in polish}
    assert mixture([polish, english], served) == pytest.approx([0.3, 0.7], abs=0.02)
    assert not any(distance.drifted for distance in compare([polish, english], served).values())
    # The English group alone differs from the served texts.
    assert compare([english], served)["label"].drifted


@given(share=st.floats(0, 1), texts=st.integers(1, 2000))
def test_distances_are_finite_whatever_is_served(share: float, texts: int) -> None:
    first = round(share * texts)
    served = {"label": np.array([float(first), float(texts - first)])}
    (distance,) = compare(reference().histograms, served | {}, tests=50).values()
    assert 0 <= distance.p_value <= 1
    assert 0 <= distance.psi < 20


def test_a_text_is_measured_by_its_label_score_tokens_and_pieces() -> None:
    found = measure(prediction([0.3, 0.7], [2, 1, 9, 3]), 1, frozenset({2, 3}))
    assert found == {"label": 1, "score": 0.7, "tokens": 4, "unknown": 0.25, "rare": 0.5, "capitals": 0.0}
    assert reference().bins(prediction([0.3, 0.7], [2, 1, 9, 3])) == [1, 1, 1, 1, 1]
    assert reference().bins(prediction([0.6, 0.4], [2, 3, 4])) == [0, 0, 0, 0, 0]


def like_the_reference(count: int, seed: int) -> list[Prediction]:
    """Predictions whose statistics are drawn from CONTENT, independently of each other."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        score = (0.55, 0.7, 0.9)[random.choice(3, p=[0.125, 0.375, 0.5])]
        ids = [2] * (3, 6, 9)[random.choice(3, p=[0.5, 0.375, 0.125])]
        ids = [9 if random.random() < 0.125 else token for token in ids[:1]] * len(ids)
        scores = [score, 1 - score] if random.random() < 0.75 else [1 - score, score]
        found.append(prediction(scores, ids))
    return found


def test_texts_like_the_reference_raise_no_alert_and_others_do_by_the_statistic_that_moved() -> None:
    for seed in range(10):
        window = Window(reference(), 1000)
        for served in like_the_reference(5000, seed):
            window.add([served])
            assert not any(distance.drifted for distance in window.distances.values())
        # From here on the other label wins: after a window of texts, only the statistic of labels has drifted.
        window.add([prediction(served.scores[::-1], served.ids) for served in like_the_reference(1000, seed)])
        assert [name for name, distance in window.distances.items() if distance.drifted] == ["label"]


def test_a_window_is_measured_at_each_part_and_forgets_the_oldest() -> None:
    window = Window(reference(), 100)
    window.add([prediction([0.9, 0.1], [2, 3, 4])] * 9)
    assert (window.texts, window.distances) == (0, {})
    window.add([prediction([0.9, 0.1], [2, 3, 4])])
    first = window.distances["label"]
    assert window.texts == 10
    window.add([prediction([0.1, 0.9], [2, 3, 4])] * 10)
    assert (window.texts, window.distances["label"] == first) == (20, False)
    for _ in range(PARTS):
        window.add([prediction([0.9, 0.1], [2, 3, 4])] * 10)
    whole = window.distances["label"]
    window.add([prediction([0.9, 0.1], [2, 3, 4])] * 10)
    assert (window.texts, window.distances["label"]) == (100, whole)


def test_drift_is_both_significant_and_large() -> None:
    assert Distance(psi=0.3, p_value=0.0001).drifted
    assert not Distance(psi=0.3, p_value=0.01).drifted
    assert not Distance(psi=0.1, p_value=0.0001).drifted


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"groups": {}}, "at least one"),
        ({"groups": CONTENT["groups"] | {"pl": {"label": [1, 1]}}}, "the same statistics"),
        ({"bounds": {}}, "one bound fewer than it has bins"),
        ({"groups": {"en": {"shoe size": [1]}}}, "no such statistic: shoe size"),
        ({"frequent_ids": "all"}, "frequent_ids"),
    ],
)
def test_a_wrong_reference_is_logged_and_not_used(
    tmp_path: Path, changes: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Reference.load(tmp_path) is None
    assert not caplog.records
    (tmp_path / "reference.json").write_text(json.dumps(CONTENT | changes))
    assert Reference.load(tmp_path) is None
    assert problem in caplog.text
    (tmp_path / "reference.json").write_text(json.dumps(CONTENT))
    assert Reference.load(tmp_path) is not None
