from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, root_mean_squared_error

from modeling.evaluation import metrics
from modeling.evaluation.metrics import value_of

pytestmark = pytest.mark.export

COUNTS = st.integers(2, 30)


def drawn(data: st.DataObject, shape: Any, elements: st.SearchStrategy[Any], kind: Any) -> Any:
    return data.draw(arrays.arrays(kind, shape, elements=elements))


def resampled(statistic: metrics.Statistic, texts: int, data: st.DataObject) -> tuple[Any, Any]:
    """Two rows of indices, and the values of the statistic for both at once."""
    indices = drawn(data, (2, texts), st.integers(0, texts - 1), np.int64)
    return indices, statistic(indices)


@settings(max_examples=40)
@given(st.data())
def test_accuracy_and_macro_f1_are_those_of_scikit_learn_on_every_resample(data: st.DataObject) -> None:
    texts = data.draw(COUNTS)
    truth, found = (drawn(data, texts, st.integers(0, 3), np.int64) for _ in range(2))
    assert value_of(metrics.accuracy(truth, found), texts) == pytest.approx(accuracy_score(truth, found))
    assert value_of(metrics.macro_f1(truth, found), texts) == pytest.approx(f1_score(truth, found, average="macro"))
    indices, values = resampled(metrics.macro_f1(truth, found), texts, data)
    assert values == pytest.approx([f1_score(truth[row], found[row], average="macro") for row in indices])


@settings(max_examples=40)
@given(st.data())
def test_metrics_of_sets_are_those_of_scikit_learn_on_every_resample(data: st.DataObject) -> None:
    texts = data.draw(COUNTS)
    # Few different scores, so that there are ties.
    scores = drawn(data, (texts, 3), st.sampled_from([0.1, 0.4, 0.6, 0.9]), np.float64).astype(np.float32)
    truth, found = drawn(data, (texts, 3), st.booleans(), np.bool_), scores >= 0.5
    indices, values = resampled(metrics.set_f1(truth, found, "micro"), texts, data)
    pairs = [(truth[row].ravel(), found[row].ravel()) for row in indices]
    assert values == pytest.approx([f1_score(*pair, zero_division=0) for pair in pairs])
    indices, values = resampled(metrics.set_f1(truth, found, "macro"), texts, data)
    for row, value in zip(indices, values, strict=True):
        labels = [label for label in range(3) if (truth[row] | found[row])[:, label].any()]
        each = [f1_score(truth[row, label], found[row, label], zero_division=0) for label in labels]
        assert value == pytest.approx(np.mean(each) if each else 0.0)
    indices, values = resampled(metrics.average_precision(truth, scores), texts, data)
    for row, value in zip(indices, values, strict=True):
        labels = [label for label in range(3) if truth[row, label].any()]
        each = [average_precision_score(truth[row, label], scores[row, label]) for label in labels]
        assert value == pytest.approx(np.mean(each) if each else 0.0, abs=1e-6)


@settings(max_examples=40)
@given(st.data())
def test_metrics_of_numbers_are_those_of_scipy_and_scikit_learn_on_every_resample(data: st.DataObject) -> None:
    texts = data.draw(COUNTS)
    truth, found = (drawn(data, texts, st.integers(-3, 3), np.int64).astype(np.float64) for _ in range(2))
    assert value_of(metrics.rmse(truth, found), texts) == pytest.approx(root_mean_squared_error(truth, found))
    indices, values = resampled(metrics.rank_correlation(truth, found), texts, data)
    for row, value in zip(indices, values, strict=True):
        equal = len({*truth[row]}) == 1 or len({*found[row]}) == 1
        assert value == pytest.approx(0.0 if equal else spearmanr(truth[row], found[row]).statistic)


def test_an_interval_does_not_depend_on_the_steps_of_its_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 3, 300), random.integers(0, 3, 300)
    whole = metrics.interval(metrics.accuracy(truth, found), 300)
    monkeypatch.setattr(metrics, "STEP", 3000)
    assert metrics.interval(metrics.accuracy(truth, found), 300) == pytest.approx(whole, abs=0.01)
