from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.errors import ModelingError
from modeling.export.declared import check, declared
from modeling.spec import ModelSpec

pytestmark = pytest.mark.export

Write = Callable[..., Path]
THREE = {"0": "negative", "1": "neutral", "2": "positive"}
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(**content)``: the folder of a checkpoint with only this configuration."""

    def write(architecture: str = "BertForSequenceClassification", **content: Any) -> Path:
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]} | content), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"id2label": THREE}, ("single_label_classification", "softmax")),
        ({}, ("single_label_classification", "softmax")),
        ({"id2label": {"0": "LABEL_0"}}, ("regression", "sigmoid")),
        ({"id2label": {"0": "LABEL_0"}, "problem_type": "regression"}, ("regression", "none")),
        ({"id2label": THREE, "problem_type": "multi_label_classification"}, ("multi_label_classification", "sigmoid")),
    ],
)
def test_where_a_checkpoint_names_no_activation_it_is_that_of_the_pipeline(
    write: Write, content: dict[str, Any], expected: tuple[str, str]
) -> None:
    found = declared(write(**content))
    assert (found.problem_type, found.activation) == expected
    assert found.is_explicit == ("problem_type" in content)
    assert not found.is_cross_encoder


@pytest.mark.parametrize(
    ("labels", "recorded", "activation"),
    [
        ({"0": "LABEL_0"}, SIGMOID, "sigmoid"),
        ({"0": "LABEL_0"}, IDENTITY, "none"),
        (THREE, SIGMOID, "sigmoid"),
        (THREE, IDENTITY, "softmax"),  # its default, which says nothing of labels
    ],
)
@pytest.mark.parametrize("key", ["sentence_transformers", "sbert_ce_default_activation_function"])
def test_a_cross_encoder_has_the_activation_that_sentence_transformers_recorded(
    write: Write, labels: dict[str, str], recorded: str, activation: str, key: str
) -> None:
    content = {"activation_fn": recorded, "version": "5.1.0"} if key == "sentence_transformers" else recorded
    found = declared(write(id2label=labels, **{key: content}))
    assert (found.activation, found.is_cross_encoder) == (activation, True)


def test_labels_are_in_the_order_of_the_outputs_and_have_default_names(write: Write) -> None:
    many = {str(index): f"label {index}" for index in sorted(range(12), key=str)}
    assert declared(write(id2label=many)).labels == [f"label {index}" for index in range(12)]
    assert declared(write()).labels == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    ("architecture", "does"),
    [
        ("BertForTokenClassification", "labels each token"),
        ("RobertaForQuestionAnswering", "finds an answer"),
        ("GPT2LMHeadModel", "generates text"),
        ("Qwen2ForCausalLM", "generates text"),
        ("T5ForConditionalGeneration", "generates text"),
        ("BertForMaskedLM", "masked tokens"),
        ("XLMRobertaModel", "no classification head"),
        ("WhateverNet", "no known classifier"),
    ],
)
def test_other_networks_are_refused_by_name_with_what_to_do(write: Write, architecture: str, does: str) -> None:
    with pytest.raises(ModelingError, match=rf"is a {architecture}, which .*{does}.*fine-tune it as"):
        declared(write(architecture))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"id2label": THREE, "problem_type": "regression"}, ["regression", "3 outputs"]),
        ({"problem_type": "ranking"}, ["ranking", "single_label_classification"]),
        (
            {"id2label": {"0": "only"}, "problem_type": "single_label_classification"},
            ["single_label_classification", "'only'"],
        ),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, ["Tanh", "Sigmoid"]),
        (
            {
                "id2label": THREE,
                "problem_type": "multi_label_classification",
                "sbert_ce_default_activation_function": "torch.nn.modules.activation.Softmax",
            },
            ["softmax", "multi_label_classification", "sigmoid"],
        ),
        ({"id2label": {"0": "spam", "1": "spam"}}, ["'spam'", "own name"]),
        ({"id2label": {"1": "spam", "2": "ham"}}, ["id2label", "0, 1, 2"]),
        ({"id2label": ["spam", "ham"]}, ["id2label", "0, 1, 2"]),
    ],
)
def test_what_contradicts_itself_or_is_unknown_is_refused(
    write: Write, content: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(ModelingError) as error:
        declared(write(**content))
    assert all(part in str(error.value) for part in ["config.json", *named]), error.value


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelingError, match=r"config\.json: "):
        declared(tmp_path)


SEVERAL = {"task": None, "problem_type": "multi_label_classification", "golden": [{"text": "a", "labels": []}] * 2}


@pytest.mark.parametrize(
    ("content", "spec", "named"),
    [
        ({}, {"architecture": "RobertaForSequenceClassification"}, ["is a Bert", "is RobertaFor"]),
        ({"id2label": {"0": "positive", "1": "neutral", "2": "negative"}}, {}, ["['positive', ", "['negative', "]),
        ({"id2label": {"0": "negative", "1": "positive"}}, {}, ["'positive']", "'neutral', 'positive']"]),
        (
            {"problem_type": "single_label_classification"},
            SEVERAL,
            ["single_label_classification", "multi_label_classification"],
        ),
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, {}, ["sigmoid", "softmax", "activation: sigmoid"]),
    ],
)
def test_a_contradiction_between_checkpoint_and_spec_names_both(
    write: Write, spec_content: dict[str, Any], content: dict[str, Any], spec: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(ModelingError) as error:
        check(ModelSpec.model_validate(spec_content | spec), write(**{"id2label": THREE} | content))
    assert all(part in str(error.value) for part in ["config.json", *named]), error.value


@pytest.mark.parametrize(
    ("content", "spec"),
    [
        ({}, {}),
        ({}, SEVERAL),  # the checkpoint does not say what it is
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, {"activation": "softmax"}),  # as the spec says
    ],
)
def test_a_spec_may_say_what_the_checkpoint_leaves_open(
    write: Write, spec_content: dict[str, Any], content: dict[str, Any], spec: dict[str, Any]
) -> None:
    check(ModelSpec.model_validate(spec_content | spec), write(id2label=THREE, **content))
