from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModel

from modeling.errors import ModelingError
from modeling.evaluation.speed import feeds
from modeling.export.checkpoint import export_float
from modeling.files import ModelFiles
from modeling.recipes import head
from modeling.tasks.sentiment.dataset import MEANINGS, DataError, RatedText, select
from textserve.classifier import load_tokenizer

pytestmark = [
    pytest.mark.export,
    # transformers warns that the head of the base is new, as it should be
    pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning"),
]

Fitted = tuple[Any, Any, list[head.Head]]
RATINGS = (-2.0, 0.0, 2.0)
MAX_TOKENS = 32


@pytest.fixture(scope="module")
def encoder(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture(scope="module")
def rows(texts: list[str]) -> list[RatedText]:
    """Texts whose label depends on their length, which the mean of an encoder's tokens reveals."""
    ranks = np.argsort(np.argsort([len(text.split()) for text in texts], kind="stable"))
    return [
        RatedText(text, RATINGS[3 * int(rank) // len(texts)], "news") for text, rank in zip(texts, ranks, strict=True)
    ]


@pytest.fixture(scope="module")
def fitted(encoder: Path, rows: list[RatedText]) -> Fitted:
    tokenizer, network = head.load_encoder(encoder, MEANINGS)
    return tokenizer, network, head.sweep(network, tokenizer, rows, MAX_TOKENS)


def test_features_are_from_the_mean_of_the_tokens_whatever_the_batch(encoder: Path, texts: list[str]) -> None:
    tokenizer, network = head.load_encoder(encoder, MEANINGS)
    found = head.features(network, tokenizer, texts[:20], MAX_TOKENS)
    plain = AutoModel.from_pretrained(encoder, dtype=torch.float32).eval()
    for text, row in zip(texts[:20], found, strict=True):
        inputs = tokenizer([text], truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            tokens = plain(**inputs).last_hidden_state[0].numpy()
        pooled = head.MEAN_SCALE * tokens.mean(axis=0) + tokens[0]
        scaled = (pooled - pooled.mean()) / pooled.std()
        np.testing.assert_allclose(row, np.tanh(head.POOLER_SCALE * scaled), atol=1e-5)


def test_a_head_is_fitted_for_each_c_and_validated(fitted: Fitted, rows: list[RatedText]) -> None:
    heads = fitted[2]
    assert [fitted.c for fitted in heads] == [0.1, 1.0, 10.0]
    wanted = [MEANINGS.index(row.label) for row in select(rows, "validation")]
    for each in heads:
        assert each.regression.get_params()["C"] == each.c
        assert list(each.validation.truth) == wanted
        np.testing.assert_allclose(each.validation.probabilities.sum(axis=1), 1, atol=1e-6)
        assert 1 < each.iterations < head.MAX_ITERATIONS
    assert len({each.validation.metrics()["validation_log_loss"] for each in heads}) == 3
    # Chance is a third.
    assert max(each.validation.macro_f1 for each in heads) > 0.5


def test_the_exported_graph_gives_the_probabilities_of_scikit_learn(
    fitted: Fitted, texts: list[str], write_model: Callable[..., ModelFiles], tmp_path: Path
) -> None:
    tokenizer, network, heads = fitted
    regression = heads[-1].regression
    wanted = regression.predict_proba(head.features(network, tokenizer, texts, MAX_TOKENS))
    head.attach(network, regression)
    files = write_model(tmp_path)
    network.save_pretrained(files.checkpoint)
    tokenizer.save_pretrained(files.checkpoint)
    export_float(files.spec(), files.checkpoint, files.float_model, files.tokenizer)
    session = onnxruntime.InferenceSession(files.float_model, providers=["CPUExecutionProvider"])
    exported = load_tokenizer(files.spec(), files.tokenizer)
    logits = [session.run(["logits"], dict(feeds(files.spec(), exported, text)))[0][0] for text in texts]
    found = torch.tensor(np.stack(logits)).softmax(dim=-1).numpy()
    assert np.abs(found - wanted).max() < 1e-4
    assert len(set(found.argmax(axis=1))) == 3


def test_an_encoder_of_another_architecture_is_an_error(make_checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(ModelingError, match="is a distilbert; the recipe head requires a bert"):
        head.load_encoder(make_checkpoint("distilbert"), MEANINGS)


def test_a_base_that_is_not_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelingError, match="not a checkpoint that transformers can load"):
        head.load_encoder(tmp_path, MEANINGS)


def test_a_tampered_encoder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / head.ENCODER_FILE).write_bytes(b"something else")
    with pytest.raises(DataError, match=rf"{head.ENCODER_FILE}: SHA-256 is \w+, expected b9a0"):
        head.fetch_encoder(tmp_path)
