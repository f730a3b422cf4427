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
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.asgi import SPEC
from tests.conftest import DEFAULT_MODEL
from textserve.classifier import (
    Classifier,
    Encoding,
    GoldenMismatch,
    ModelFilesError,
    PairTooLong,
    Truncation,
    batch_feeds,
    encoded,
    golden_problems,
    in_capitals,
    length_batches,
    sigmoid,
    softmax,
)
from textserve.spec import Input, ModelSpec

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


PAIRS = [(a, b) for a in (PHRASES[0], " ".join(PHRASES * 5)) for b in (PHRASES[1], " ".join(PHRASES * 8))]
SHORTENED = {"pad_id": 1, "max_tokens": 64}
PAIR_GOLDEN = [{"text": "a", "text_pair": "b", "label": "neutral"}] * 2


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
def test_pairs_are_cut_as_the_tokenizer_cuts_them(altered_model: AlteredModel, strategy: str, side: Truncation) -> None:
    tokenization = SHORTENED | {"truncation": strategy}
    model = Classifier(altered_model({"input": "pair", "golden": PAIR_GOLDEN, "tokenization": tokenization}))
    reference = Tokenizer.from_file(str(DEFAULT_MODEL / "tokenizer.json"))
    reference.no_padding()
    whole = [len(reference.encode(*pair).ids) > 64 for pair in PAIRS]
    reference.enable_truncation(64, strategy=strategy, direction=side)
    for pair, too_long in zip(PAIRS, whole, strict=True):
        kept = {"only_first": pair[1], "only_second": pair[0]}.get(strategy)
        if kept in (None, PHRASES[0], PHRASES[1]):
            expected = reference.encode(*pair)
            (encoding,) = model.encode([pair], side)
            assert (encoding.ids, encoding.type_ids, encoding.truncated) == (expected.ids, expected.type_ids, too_long)
        else:
            with pytest.raises(PairTooLong) as error:
                model.encode([PAIRS[0], pair], side)
            assert error.value.index == 1


def words_tokenizer(ids: dict[str, int]) -> Tokenizer:
    """A tokenizer that splits at white space and adds no special tokens."""
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[PAD]"))  # noqa: S106  # no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def test_type_ids_are_those_of_the_tokenizer_and_padding_is_on_the_side_of_the_spec() -> None:
    tokenizer = words_tokenizer({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4})
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    graph = {"token_type_ids": "types"}
    specs = {
        side: ModelSpec.model_validate(
            SPEC.model_dump() | {"graph": graph, "tokenization": {"pad_id": 0, "max_tokens": 9, "padding_side": side}}
        )
        for side in ("right", "left")
    }
    encodings = [encoded(specs["left"], tokenizer.encode(*pair)) for pair in [("a b", "b"), ("a", "b")]]
    right, left = (batch_feeds(spec, encodings) for spec in (specs["right"], specs["left"]))
    assert right["input_ids"].tolist() == [[1, 3, 4, 2, 4, 2], [1, 3, 2, 4, 2, 0]]
    assert right["types"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    assert left["input_ids"].tolist() == [[1, 3, 4, 2, 4, 2], [0, 1, 3, 2, 4, 2]]
    assert left["types"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert left["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]


def test_a_text_without_tokens_is_a_token_of_padding() -> None:
    # Such as the empty text that an explanation computes, for a tokenizer without special tokens.
    tokenizer = words_tokenizer({"[PAD]": 0, "a": 1})
    assert encoded(SPEC, tokenizer.encode("")).ids == [SPEC.tokenization.pad_id]


@pytest.mark.parametrize(
    ("text", "capitals"),
    [
        ("GOOD", True),
        ("ŹLE! 10/10", True),
        ("Good", False),
        ("10/10 🙂", False),
        ("", False),
        (("GOOD", "BAD"), True),
        (("GOOD", "bad"), False),
    ],
)
def test_a_text_in_capitals_has_no_small_letters(text: Input, capitals: bool) -> None:
    assert in_capitals(text) is capitals


@pytest.mark.parametrize(
    ("changes", "rows", "problems"),
    [
        (
            {"golden": [{"text": "a", "label": "negative"}, {"text": "b", "label": "neutral"}]},
            [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]],
            ["golden[1] is negative, expected neutral"],
        ),
        (
            {
                "problem_type": "multi_label_classification",
                "activation": "sigmoid",
                "threshold": 0.3,
                "golden": [{"text": "a", "labels": ["neutral", "negative"]}, {"text": "b", "labels": []}],
            },
            [[0.6, 0.3, 0.1], [0.2, 0.3, 0.1]],
            ["golden[1] is neutral, expected no label"],
        ),
        (
            {
                "problem_type": "regression",
                "activation": "none",
                "labels": ["quality"],
                "golden": [{"text": "a", "score": 3.0, "tolerance": 0.5}, {"text": "b", "score": -1}],
            },
            [[3.4], [-1.2]],
            ["golden[1] is -1.2, expected -1 within 0.1"],
        ),
    ],
)
def test_golden_texts_have_a_label_or_labels_or_a_number(
    changes: dict[str, Any], rows: list[list[float]], problems: list[str]
) -> None:
    spec = ModelSpec.model_validate(SPEC.model_dump() | changes)
    assert golden_problems(spec, np.array(rows, dtype=np.float32)) == problems


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
    monkeypatch.setattr("textserve.graph.open_session", lambda file: session)
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
    monkeypatch.setattr("textserve.graph.open_session", lambda file: session)
    classifier = Classifier(altered_model({"graph": GRAPH | {"attention_mask": None, "token_type_ids": None}}))
    assert not classifier.pads
    classifier.predict([Encoding([5, 6], truncated=False), Encoding([7, 8], truncated=False)])
    assert {name: ids.tolist() for name, ids in session.feeds.items()} == {"input_ids": [[5, 6], [7, 8]]}
    with pytest.raises(ValueError, match="no attention mask"):
        classifier.predict([Encoding([5, 6, 7], truncated=False), Encoding([5], truncated=False)])
    assert classifier.predict_many(texts_of_varied_length(20)).shape == (20, 3)


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        found = sigmoid(np.array([[-80.0, 0.0, 80.0, 2.0]], dtype=np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[1.8e-35, 0.5, 1.0, 0.880797]], rtol=1e-2)


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
