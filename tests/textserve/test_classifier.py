from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.conftest import DEFAULT_MODEL
from textserve.classifier import (
    Classifier,
    Encoding,
    GoldenMismatch,
    ModelFilesError,
    Truncation,
    length_batches,
    softmax,
)

AlteredModel = Callable[[dict[str, Any]], Path]

PHRASES = [
    "Świetna robota!",
    "Nie polecam, szkoda pieniędzy.",
    "Jutro o dziewiątej jest zebranie.",
    "Zażółć gęślą jaźń 😍",
    "I would buy it again.",
    "What a mess, never again...",
    "The bus leaves at noon.",
    "It's fine, I guess?",
]
SIDES: tuple[Truncation, Truncation] = ("right", "left")
GRAPH = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "token_type_ids",
    "logits": "logits",
}


def texts_of_varied_length(count: int) -> list[str]:
    """Texts of 1 to 12 phrases in both languages, most of them short."""
    chance = random.Random(7)
    return [" ".join(chance.choices(PHRASES, k=chance.choice((1, 1, 2, 3, 5, 12)))) for _ in range(count)]


class Session:
    """A fake ONNX Runtime session: equal logits for every text, and a record of its inputs."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs
        self.feeds: dict[str, npt.NDArray[np.int64]] = {}

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, shape=["batch", "sequence"]) for name in self.inputs]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="logits", shape=["batch", 3])]

    def run(self, names: list[str], feeds: dict[str, npt.NDArray[np.int64]]) -> list[npt.NDArray[np.float32]]:
        self.feeds = feeds
        return [np.zeros((len(feeds["input_ids"]), 3), dtype=np.float32)]


def test_probabilities_have_a_row_per_text_that_sums_to_one(classifier: Classifier) -> None:
    probabilities = classifier.predict(classifier.encode(PHRASES))
    assert probabilities.shape == (len(PHRASES), len(classifier.spec.labels))
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_padding_does_not_change_a_prediction(classifier: Classifier) -> None:
    encodings = classifier.encode(texts_of_varied_length(32))
    lengths = [len(encoding.ids) for encoding in encodings]
    assert max(lengths) > 10 * min(lengths)
    together = classifier.predict(encodings)
    alone = np.concatenate([classifier.predict([encoding]) for encoding in encodings])
    np.testing.assert_allclose(together, alone, atol=1e-4, rtol=0)


def test_texts_beyond_the_limit_are_cut_and_flagged_and_no_others(classifier: Classifier) -> None:
    limit = classifier.spec.tokenization.max_tokens
    encodings = classifier.encode(["a " * n for n in (*range(limit - 8, limit + 2), 2 * limit)])
    assert max(len(encoding.ids) for encoding in encodings if not encoding.truncated) == limit
    assert {len(encoding.ids) for encoding in encodings if encoding.truncated} == {limit}


@pytest.mark.parametrize("text", ["", "a", "</s> <s> </s>", *(" ".join(PHRASES * n) for n in (1, 7, 9, 20, 60))])
def test_left_truncation_equals_the_tokenizers_own(classifier: Classifier, text: str) -> None:
    limit = classifier.spec.tokenization.max_tokens
    reference = Tokenizer.from_file(str(DEFAULT_MODEL / "tokenizer.json"))
    reference.no_padding()
    for words in range(6):
        longer = text + " koniec" * words
        reference.enable_truncation(limit, direction="left")
        expected = reference.encode(longer).ids
        (encoding,) = classifier.encode([longer], "left")
        assert encoding.ids == expected
        reference.no_truncation()
        assert encoding.truncated == (len(reference.encode(longer).ids) > limit)


def test_a_truncated_text_is_classified_by_what_is_left_of_it(classifier: Classifier) -> None:
    text = "It was great. " * 200 + "It was awful. " * 200
    beginning, end = (classifier.predict(classifier.encode([text], side)) for side in SIDES)
    assert [classifier.spec.label_names[int(row.argmax())] for row in (beginning, end)] == ["positive", "negative"]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_an_error_with_the_command_that_writes_it(altered_model: AlteredModel, name: str) -> None:
    folder = altered_model({})
    (folder / name).unlink()
    with pytest.raises(ModelFilesError) as error:
        Classifier(folder)
    assert str(folder / name) in str(error.value)
    assert "scripts/export.py sentiment-pl-en" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"graph": GRAPH | {"input_ids": "tokens"}},
            r"has the inputs \['attention_mask', 'input_ids', 'token_type_ids'\].* names .*'tokens'",
            id="an input that the graph lacks",
        ),
        pytest.param(
            {"graph": GRAPH | {"attention_mask": None}},
            r"has the inputs \['attention_mask', .* names \['input_ids', 'token_type_ids'\]",
            id="an input that the spec lacks",
        ),
        pytest.param(
            {"graph": GRAPH | {"logits": "output"}},
            r"has the outputs \['logits'\], the spec names 'output'",
            id="an output that the graph lacks",
        ),
        pytest.param(
            {
                "labels": [{"name": name, "label": name} for name in ("negative", "positive")],
                "golden": [{"text": "Awful.", "label": "negative"}, {"text": "Great.", "label": "positive"}],
            },
            "has 3 outputs per text, the spec has 2 labels",
            id="another number of labels",
        ),
    ],
)
def test_a_graph_that_does_not_match_its_spec_is_an_error(
    altered_model: AlteredModel, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ModelFilesError, match=problem):
        Classifier(altered_model(changes))


def test_failed_golden_texts_are_listed_by_index(altered_model: AlteredModel) -> None:
    golden = [
        {"text": "I love this phone, it works perfectly.", "label": "positive"},
        {"text": "What a wonderful evening, thank you all!", "label": "negative"},
        {"text": "The meeting was moved to Thursday.", "label": "neutral"},
        {"text": "The worst service I have ever had.", "label": "positive"},
    ]
    with pytest.raises(GoldenMismatch) as error:
        Classifier(altered_model({"golden": golden})).check_golden()
    assert str(error.value) == (
        "sentiment-pl-en: golden[1] is positive, expected negative; golden[3] is negative, expected positive"
    )


def test_shorter_texts_are_padded_and_masked(altered_model: AlteredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("input_ids", "attention_mask", "token_type_ids")
    monkeypatch.setattr("textserve.classifier.open_session", lambda file: session)
    classifier = Classifier(altered_model({"tokenization": {"pad_id": 9, "max_tokens": 16}}))
    assert classifier.pads
    classifier.predict([Encoding([5, 6, 7], truncated=False), Encoding([5], truncated=False)])
    assert {name: feed.tolist() for name, feed in session.feeds.items()} == {
        "input_ids": [[5, 6, 7], [5, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[0, 0, 0], [0, 0, 0]],
    }


def test_a_graph_without_a_mask_computes_only_texts_of_equal_length_together(
    altered_model: AlteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("input_ids")
    monkeypatch.setattr("textserve.classifier.open_session", lambda file: session)
    classifier = Classifier(altered_model({"graph": GRAPH | {"attention_mask": None, "token_type_ids": None}}))
    assert not classifier.pads
    classifier.predict([Encoding([5, 6], truncated=False), Encoding([7, 8], truncated=False)])
    assert {name: ids.tolist() for name, ids in session.feeds.items()} == {"input_ids": [[5, 6], [7, 8]]}
    with pytest.raises(ValueError, match="no attention mask"):
        classifier.predict([Encoding([5, 6, 7], truncated=False), Encoding([5], truncated=False)])
    assert classifier.predict_many(texts_of_varied_length(20)).shape == (20, 3)


def test_softmax_does_not_overflow() -> None:
    probabilities = softmax(np.array([[1000.0, 0.0, -1000.0], [-500.0, -500.0, -1e9]], dtype=np.float32))
    np.testing.assert_allclose(probabilities, np.array([[1, 0, 0], [0.5, 0.5, 0]]), atol=1e-6)


@given(st.lists(st.integers(1, 40)), st.integers(1, 8), st.booleans())
def test_length_batches_have_every_index_once_shortest_first(lengths: list[int], size: int, equal: bool) -> None:
    batches = list(length_batches(lengths, size, equal=equal))
    indices = [index for batch in batches for index in batch]
    assert sorted(indices) == list(range(len(lengths)))
    assert [lengths[index] for index in indices] == sorted(lengths)
    assert all(1 <= len(batch) <= size for batch in batches)
    assert not equal or all(len({lengths[index] for index in batch}) == 1 for batch in batches)


def test_many_texts_are_predicted_in_order_as_each_alone(classifier: Classifier) -> None:
    texts = ["Świetny film!", "a lot " * 40, "Bad.", "The food was good, but the waiter was rude.", "Bad."]
    alone = np.concatenate([classifier.predict(classifier.encode([text])) for text in texts])
    np.testing.assert_array_equal(classifier.predict_many(texts, batch_texts=2), alone)
    assert classifier.predict_many([]).shape == (0, len(classifier.spec.labels))
