from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling.tasks.sentiment import noise

SENTENCE = "Źle, że się spóźniłem na łódkę."


def changed(text: str, count: int = 2000) -> list[str]:
    random.seed(0)
    return [noise.hurried(text) for _ in range(count)]


def test_each_kind_of_haste_has_its_share() -> None:
    found = changed(SENTENCE)
    bare = sum(text.lower().startswith("zle, ze sie") for text in found) / len(found)
    assert bare == pytest.approx(noise.NO_DIACRITICS, abs=0.05)
    assert sum(not text.endswith(".") for text in found) / len(found) == pytest.approx(noise.NO_FULL_STOP, abs=0.05)
    as_it_is = (1 - noise.NO_DIACRITICS) * (1 - noise.TYPO) * (1 - noise.NO_FULL_STOP)
    assert sum(text == SENTENCE for text in found) / len(found) == pytest.approx(as_it_is, abs=0.05)
    assert len({*found}) > 50


@given(st.text(min_size=1), st.integers())
def test_no_text_becomes_empty_and_a_typo_moves_its_length_by_one_at_most(text: str, seed: int) -> None:
    random.seed(seed)
    assert noise.hurried(text)
    assert abs(len(noise.mistyped(text)) - len(text)) <= 1


def test_the_same_seed_changes_the_same() -> None:
    assert changed(SENTENCE, 50) == changed(SENTENCE, 50)
