from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from modeling.evaluation import speed as inference
from modeling.files import ROOT
from textserve.classifier import Classifier
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


def test_the_spec_decides_how_texts_are_cut_and_padded_whatever_the_tokenizer_file_says(
    spec: ModelSpec, tokenizer_file: Path
) -> None:
    tokenizer = inference.load_tokenizer(spec, tokenizer_file)
    assert tokenizer.encode("good").ids == [1]
    assert tokenizer.encode("good bad good bad good bad").ids == [1, 2, 1, 2]


def test_a_text_is_fed_with_all_inputs_that_the_spec_names(spec: ModelSpec, tokenizer_file: Path) -> None:
    fed = inference.feeds(spec, inference.load_tokenizer(spec, tokenizer_file), "bad good bad")
    assert {name: array.tolist() for name, array in fed.items()} == {
        "input_ids": [[2, 1, 2]],
        "attention_mask": [[1, 1, 1]],
        "token_type_ids": [[0, 0, 0]],
    }
    assert {array.dtype for array in fed.values()} == {np.dtype(np.int64)}


def test_a_graph_without_mask_and_token_types_is_not_fed_with_them(
    spec_content: dict[str, Any], tokenizer_file: Path
) -> None:
    graph = {"input_ids": "ids", "attention_mask": None, "token_type_ids": None}
    spec = ModelSpec.model_validate(spec_content | {"graph": graph})
    assert list(inference.feeds(spec, inference.load_tokenizer(spec, tokenizer_file), "good")) == ["ids"]


def test_what_is_measured_is_fed_with_what_the_service_feeds(classifier: Classifier) -> None:
    tokenizer = inference.load_tokenizer(classifier.spec, DEFAULT_MODEL / "tokenizer.json")
    for text in ("Świetny film!", "", "a lot " * 600):
        ids = inference.feeds(classifier.spec, tokenizer, text)["input_ids"]
        assert ids.tolist() == [classifier.encode([text])[0].ids]


class Clock:
    """Time that passes only where a session runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns: list[str] = []

    def session(self, name: str, seconds: list[float]) -> Session:
        return Session(self, name, seconds)


class Session:
    """Takes the given seconds for each input, a value a round."""

    def __init__(self, clock: Clock, name: str, seconds: list[float]) -> None:
        self.clock, self.name, self.seconds, self.runs = clock, name, seconds, 0

    def run(self, outputs: None, values: Mapping[str, Any]) -> None:
        self.clock.now += self.seconds[self.runs // 2]
        self.clock.turns.append(self.name)
        self.runs += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    sessions = {
        Path("slow"): clock.session("slow", [100.0, 0.5, 0.5, 9.0]),
        Path("fast"): clock.session("fast", [100.0, 0.1, 7.0, 0.1]),
    }
    monkeypatch.setattr(inference, "open_session", lambda file: sessions[file])
    monkeypatch.setattr(inference, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_speed_is_the_median_of_the_rounds_after_a_warm_up(clock: Clock) -> None:
    inputs: list[inference.Feeds] = [{}, {}]
    assert inference.texts_per_second([Path("slow"), Path("fast")], inputs, rounds=3) == pytest.approx([2.0, 10.0])


def test_files_are_measured_in_turns(clock: Clock) -> None:
    inputs: list[inference.Feeds] = [{}, {}]
    inference.texts_per_second([Path("slow"), Path("fast")], inputs, rounds=3)
    assert clock.turns == ["slow", "slow", "fast", "fast"] * 4
