from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modeling.errors import ModelingError
from modeling.evaluation import speed as inference
from modeling.export import declared
from modeling.export.checkpoint import check_golden, export_float, torch_logits
from modeling.files import ModelFiles
from modeling.spec import ModelSpec
from textserve.classifier import load_tokenizer, softmax
from textserve.graph import open_session

pytestmark = pytest.mark.export

BERT_INPUTS = {"token_type_ids": "token_type_ids"}


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture
def spec(spec_content: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate(spec_content)


@pytest.mark.parametrize(("architecture", "graph"), [("bert", BERT_INPUTS), ("distilbert", {}), ("roberta", {})])
def test_the_float_graph_answers_like_pytorch(
    make_checkpoint: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    tmp_path: Path,
    texts: list[str],
    architecture: str,
    graph: dict[str, str],
) -> None:
    checkpoint, files = make_checkpoint(architecture), write_model(tmp_path, graph=graph)
    spec = files.spec()
    export_float(spec, checkpoint, files.float_model, files.tokenizer)
    session, tokenizer = open_session(files.float_model), load_tokenizer(spec, files.tokenizer)
    assert {argument.name for argument in session.get_inputs()} == {"input_ids", "attention_mask", *graph.values()}
    logits = [session.run(["logits"], dict(inference.feeds(spec, tokenizer, text)))[0] for text in texts]
    expected = softmax(torch_logits(spec, checkpoint, texts))
    assert len(set(expected.argmax(axis=1))) == 3
    np.testing.assert_allclose(softmax(np.concatenate(logits)), expected, atol=1e-4)


def test_the_graph_has_the_opset_of_the_spec(checkpoint: Path, tmp_path: Path, spec_content: dict[str, Any]) -> None:
    spec = ModelSpec.model_validate(spec_content | {"export": {"opset": 17}})
    export_float(spec, checkpoint, tmp_path / "float.onnx", tmp_path / "tokenizer.json")
    (found,) = [entry.version for entry in onnx.load(tmp_path / "float.onnx").opset_import if entry.domain == ""]
    assert found == 17


@pytest.mark.parametrize(
    "id2label",
    [
        {"0": "positive", "1": "neutral", "2": "negative"},
        {"0": "negative", "1": "neutral"},
        {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        None,
    ],
)
def test_a_checkpoint_with_other_labels_is_rejected(
    checkpoint: Path, tmp_path: Path, spec: ModelSpec, id2label: dict[str, str] | None
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "swapped")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("id2label")
    (folder / "config.json").write_text(json.dumps(config | ({"id2label": id2label} if id2label else {})))
    with pytest.raises(ModelingError, match=r"config\.json: id2label is .*, the spec's labels are .*'negative'"):
        check_golden(spec, folder)


def test_a_served_label_is_not_the_name_in_the_checkpoint(checkpoint: Path, spec_content: dict[str, Any]) -> None:
    for label, better in zip(spec_content["labels"], ("positive", "neutral", "negative"), strict=True):
        label["label"] = better
    declared.check(ModelSpec.model_validate(spec_content), checkpoint)


def test_logits_come_in_the_order_of_the_texts_whatever_their_length(
    checkpoint: Path, texts: list[str], spec: ModelSpec
) -> None:
    some = texts[:40]  # more than a batch
    assert [len(text) for text in some] != sorted(len(text) for text in some)
    rows = torch_logits(spec, checkpoint, some)
    assert rows.shape == (40, 3)
    alone = [torch_logits(spec, checkpoint, [text])[0] for text in some[:5]]
    np.testing.assert_allclose(rows[:5], alone, atol=1e-5)
    np.testing.assert_allclose(torch_logits(spec, checkpoint, some[::-1]), rows[::-1], atol=1e-5)


def test_a_text_is_cut_at_the_longest_input_of_the_model(
    checkpoint: Path, words: list[str], spec_content: dict[str, Any]
) -> None:
    spec_content["tokenization"]["max_tokens"] = 10
    spec = ModelSpec.model_validate(spec_content)
    long = " ".join(words[:60])
    kept = " ".join(words[:8])  # and the two special tokens
    cut, whole, shorter = torch_logits(spec, checkpoint, [long, kept, " ".join(words[:7])])
    np.testing.assert_allclose(cut, whole, atol=1e-5)
    assert np.abs(cut - shorter).max() > 1e-3
