from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textserve.cache import ENTRY_BYTES, AnswerCache

LABELS = 3
KEYS = st.binary(min_size=1, max_size=40)


def row(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(2, LABELS)).astype(np.float32)


def size(key: bytes) -> int:
    return len(key) + 2 * LABELS * 4 + ENTRY_BYTES


@given(st.integers(0, 3000), st.lists(st.tuples(KEYS, st.booleans()), max_size=60))
def test_the_rows_used_last_are_kept_within_the_limit(limit: int, events: list[tuple[bytes, bool]]) -> None:
    cache, model = AnswerCache(limit), OrderedDict[bytes, npt.NDArray[np.float32]]()
    for number, (key, is_kept) in enumerate(events):
        if is_kept:
            cache.keep(key, row(number))
            model[key] = row(number)
        found = cache.find(key)
        if key in model:
            model.move_to_end(key)
        while sum(map(size, model)) > limit:
            model.popitem(last=False)
        assert cache.bytes == sum(map(size, model)) <= limit
        if key in model:
            assert found is not None
            np.testing.assert_array_equal(found, model[key])
        else:
            assert found is None


@pytest.mark.parametrize("limit", [0, size(b"key") - 1])
def test_an_answer_larger_than_the_limit_is_not_kept(limit: int) -> None:
    cache = AnswerCache(limit)
    cache.keep(b"key", row(0))
    assert cache.find(b"key") is None
    assert cache.bytes == 0
