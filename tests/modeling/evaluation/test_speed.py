from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from modeling.evaluation import speed as inference
from modeling.files import ROOT
from textserve.classifier import Classifier, load_tokenizer
from textserve.spec import ModelSpec

DEFAULT_MODEL = ROOT / "models" / "sentiment-pl-en"


@pytest.fixture
def spec(spec_content: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate(spec_content | {"tokenization": {"pad_id": 0, "max_tokens": 4}})


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "good": 1, "bad": 2}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_truncation_and_padding_follow_the_spec_whatever_the_tokenizer_file_sets(
    spec: ModelSpec, tokenizer_file: Path
) -> None:
    tokenizer = load_tokenizer(spec, tokenizer_file)
    assert tokenizer.encode("good").ids == [1]
    assert tokenizer.encode("good bad good bad good bad").ids == [1, 2, 1, 2]


def test_the_inputs_are_those_that_the_spec_names(
    spec: ModelSpec, spec_content: dict[str, Any], tokenizer_file: Path
) -> None:
    fed = inference.feeds(spec, load_tokenizer(spec, tokenizer_file), "bad good bad")
    assert {name: array.tolist() for name, array in fed.items()} == {
        "input_ids": [[2, 1, 2]],
        "attention_mask": [[1, 1, 1]],
        "token_type_ids": [[0, 0, 0]],
    }
    assert {array.dtype for array in fed.values()} == {np.dtype(np.int64)}
    graph = {"input_ids": "ids", "attention_mask": None, "token_type_ids": None}
    spec = ModelSpec.model_validate(spec_content | {"graph": graph})
    assert list(inference.feeds(spec, load_tokenizer(spec, tokenizer_file), "good")) == ["ids"]


def test_the_inputs_are_those_of_serving(classifier: Classifier) -> None:
    tokenizer = load_tokenizer(classifier.spec, DEFAULT_MODEL / "tokenizer.json")
    for text in ("Świetny film!", "", "a lot " * 600):
        ids = inference.feeds(classifier.spec, tokenizer, text)["input_ids"]
        assert ids.tolist() == [classifier.encode([text])[0].ids]


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The calls of the models of :func:`model`, with their seconds; no other time passes."""
    calls: list[tuple[str, float]] = []
    clock = SimpleNamespace(perf_counter=lambda: sum(seconds for _, seconds in calls))
    monkeypatch.setattr(inference, "time", clock)
    return calls


def model(turns: list[tuple[str, float]], name: str, *rounds: float) -> Callable[[str], object]:
    """A model that takes the given seconds for each of two texts, a value a round."""
    seconds = iter([value for value in rounds for _ in range(2)])
    return lambda text: turns.append((name, next(seconds)))


def test_speed_is_the_median_of_rounds_in_turns_after_a_warm_up(turns: list[tuple[str, float]]) -> None:
    slow, fast = model(turns, "slow", 100.0, 0.5, 0.5, 9.0), model(turns, "fast", 100.0, 0.1, 7.0, 0.1)
    assert inference.texts_per_second([slow, fast], ["a", "b"], rounds=3) == pytest.approx([2.0, 10.0])
    assert [name for name, _ in turns] == ["slow", "slow", "fast", "fast"] * 4
