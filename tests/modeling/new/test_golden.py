from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modeling.errors import ModelingError
from modeling.new import golden
from modeling.spec import ModelSpec
from textserve.classifier import activate, golden_problems

pytestmark = pytest.mark.export

LABELS = ["red", "green", "blue"]
TEXTS = [f"text {number}" for number in range(6)]


def spec_of(base: dict[str, Any], answer: Any, **content: Any) -> ModelSpec:
    """A spec without the task of ``base``, whose golden texts are ``answer``."""
    content = {"labels": LABELS, "task": None, "golden": [{"text": "a"} | answer] * 2} | content
    return ModelSpec.model_validate(base | content)


def proposed(monkeypatch: pytest.MonkeyPatch, spec: ModelSpec, logits: Any, texts: Any = TEXTS) -> list[dict[str, Any]]:
    """What is proposed of ``texts`` with these ``logits``; the model answers it so."""
    rows = dict(zip(texts, np.array(logits, dtype=np.float32), strict=True))
    monkeypatch.setattr(golden, "torch_logits", lambda spec, folder, texts: np.stack([rows[text] for text in texts]))
    found = golden.propose(spec, checkpoint=None, texts=texts)  # type: ignore[arg-type]  # it is not read here
    written = ModelSpec.model_validate(spec.model_dump() | {"golden": found})
    scores = activate(spec.activation, np.stack([rows[text.input] for text in written.golden]))
    assert golden_problems(written, scores) == []
    return found


def test_of_each_label_the_surest_text_is_proposed_and_none_that_is_close(
    monkeypatch: pytest.MonkeyPatch, spec_content: dict[str, Any]
) -> None:
    logits = [[3, 0, 0], [9, 0, 0], [0, 5, 0], [0, 4, 0], [0, 1, 1.1], [8, 0, 0]]
    found = proposed(monkeypatch, spec_of(spec_content, {"label": "red"}), logits)
    assert found == [{"text": "text 1", "label": "red"}, {"text": "text 2", "label": "green"}]


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[3, 0, 0], [9, 0, 0], [2, 0, 0], [4, 0, 0], [5, 0, 0], [8, 0, 0]], ["red", "red"]),  # only one label
        ([[3, 0, 0], [9, 0, 0], [2, 0, 0], [4, 0, 0], [1, 1.1, 0], [8, 0, 0]], ["red", "green"]),  # the other is close
    ],
)
def test_there_are_two_texts_and_two_labels_if_the_model_gives_two(
    monkeypatch: pytest.MonkeyPatch, spec_content: dict[str, Any], logits: Any, labels: list[str]
) -> None:
    found = proposed(monkeypatch, spec_of(spec_content, {"label": "red"}), logits)
    assert [text["label"] for text in found] == labels
    assert len({text["text"] for text in found}) == 2


def test_sets_of_labels_are_far_from_every_threshold_and_the_empty_one_comes_last(
    monkeypatch: pytest.MonkeyPatch, spec_content: dict[str, Any]
) -> None:
    labels = ["red", {"name": "green", "threshold": 0.9}, "blue"]
    spec = spec_of(spec_content, {"labels": []}, problem_type="multi_label_classification", labels=labels)
    # The threshold of green is a logit of 2.2.
    logits = [[-9, -9, -9], [5, 8, -5], [5, 2.4, -5], [4, -1, -4], [4, -3, 4], [4, -3, 0.1]]
    found = proposed(monkeypatch, spec, logits)
    assert [(text["text"], text["labels"]) for text in found] == [
        ("text 1", ["green", "red"]),
        ("text 4", ["blue", "red"]),
        ("text 3", ["red"]),
        ("text 0", []),
    ]


def test_numbers_are_the_lowest_and_highest_with_a_tolerance_of_a_part_of_their_range(
    monkeypatch: pytest.MonkeyPatch, spec_content: dict[str, Any]
) -> None:
    texts = [("a question", f"answer {number}") for number in range(6)]
    answer = {"text_pair": "b", "score": 0.0}
    spec = spec_of(spec_content, answer, problem_type="regression", labels=["score"], input="pair")
    found = proposed(monkeypatch, spec, [[1], [-4], [0], [6], [2.123456], [5]], texts)
    assert [text["score"] for text in found] == [-4, 0, 5, 6]
    assert {text["tolerance"] for text in found} == {2}
    assert found[0]["text_pair"] == "answer 1"


@pytest.mark.parametrize("logits", [[[float("nan")] * 3] * 6, [[1.0, 2.0]] * 6])
def test_answers_that_are_not_numbers_of_the_labels_are_an_error(
    monkeypatch: pytest.MonkeyPatch, spec_content: dict[str, Any], logits: Any
) -> None:
    with pytest.raises(ModelingError, match="does not answer with 3 numbers"):
        proposed(monkeypatch, spec_of(spec_content, {"label": "red"}), logits)


@pytest.mark.parametrize("kind", ["text", "pair"])
@pytest.mark.parametrize(
    ("languages", "known"), [(["pl"], ["pl"]), (["en", "fr", "xx"], ["en", "fr"]), (["xx"], ["en"])]
)
def test_examples_are_in_the_languages_of_the_model_or_english(
    kind: str, languages: list[str], known: list[str]
) -> None:
    found = golden.examples(languages, kind)
    assert found == [text for language in known for text in golden.examples([language], kind)]
    assert len(set(found)) >= 10
    assert {isinstance(text, tuple) for text in found} == {kind == "pair"}
