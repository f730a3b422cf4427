"""Checkpoints as they are saved today, from ``make new`` to the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from benchmarks import checkpoints
from benchmarks.checkpoints import ARCHITECTURES
from modeling import sources
from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.export import verification
from modeling.export.checkpoint import torch_logits
from modeling.export.export import export
from modeling.files import ModelFiles
from modeling.new.creation import create
from tests import every_protocol
from tests.server import save_model, serve
from tests.tiny_checkpoints import SAVED
from textserve.classifier import Classifier, softmax

pytestmark = pytest.mark.export

VERSION_5 = SAVED / "transformers5"
ANSWERS = json.loads((VERSION_5 / "answers.json").read_text(encoding="utf-8"))
NAME = "mine"
DIFFERENCE = 1e-4


def stored(checkpoint: Path, root: Path, texts: list[str]) -> Path:
    """The folder in the store of a model that was made from ``checkpoint`` and verified on ``texts``."""
    create(NAME, str(checkpoint), root=root)
    files = ModelFiles.of(NAME, root)
    sources.download(files, None, allow_pickle=False)
    export(files, files.checkpoint)
    section = verification.verify(files, files.checkpoint, texts)
    assert fidelity.problems(section, files.spec()) == []
    tag = save_model(root / "bentoml", NAME, root)
    return root / "bentoml" / "models" / tag.replace(":", "/") / "files"


def many(texts: list[str]) -> list[str]:
    """As many as are to be compared: one or two of ``texts`` each, and some again."""
    pairs = [f"{first} {second}" for first in texts for second in texts]
    return [*texts, *pairs, *pairs][:200]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_checkpoint_of_transformers_5_is_stored_and_answers_as_there(
    copy_project: Callable[[Path], Path], tmp_path: Path, name: str
) -> None:
    texts, logits = list(ANSWERS[name]), np.array(list(ANSWERS[name].values()))
    classifier = Classifier(stored(VERSION_5 / name, copy_project(tmp_path), many(texts)))
    scores = [classifier.predict_many([text])[0] for text in texts]
    np.testing.assert_allclose(scores, softmax(logits), atol=DIFFERENCE)


def test_a_checkpoint_of_transformers_5_is_served(copy_project: Callable[[Path], Path], tmp_path: Path) -> None:
    texts, logits = list(ANSWERS["modernbert"]), np.array(list(ANSWERS["modernbert"].values()))
    stored(VERSION_5 / "modernbert", copy_project(tmp_path), many(texts))
    with serve(tmp_path / "bentoml", TEXTSERVE_MODEL=NAME) as server:
        found = every_protocol.scores(server, ModelFiles.of(NAME, tmp_path).spec(), texts)
    for protocol, scores in found.items():
        np.testing.assert_allclose(scores, softmax(logits), atol=DIFFERENCE, err_msg=protocol)


def test_a_vocabulary_of_sentencepiece_without_tokenizer_json_is_stored(
    copy_project: Callable[[Path], Path], tmp_path: Path
) -> None:
    checkpoint, texts = tmp_path / "checkpoint", many(list(ANSWERS["bert"]))
    torch.manual_seed(4)
    config = transformers.DebertaV2Config(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        initializer_range=0.5,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
        pooler_hidden_size=16,
    )
    transformers.DebertaV2ForSequenceClassification(config).save_pretrained(checkpoint)
    shutil.copyfile(SAVED / "sentencepiece" / "spm.model", checkpoint / "spm.model")
    classifier = Classifier(stored(checkpoint, copy_project(tmp_path), texts))
    expected = softmax(torch_logits(classifier.spec, checkpoint, texts[:20]))
    found = [classifier.predict_many([text])[0] for text in texts[:20]]
    np.testing.assert_allclose(found, expected, atol=DIFFERENCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_several_files_is_stored(
    copy_project: Callable[[Path], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    texts: list[str],
    dtype: torch.dtype,
) -> None:
    checkpoint = Path(shutil.copytree(make_checkpoint("distilbert"), tmp_path / "checkpoint"))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=dtype)
    network.config.id2label = {0: "red", 1: "green", 2: "blue"}
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="50KB")
    classifier = Classifier(stored(checkpoint, copy_project(tmp_path), texts + texts[:40]))
    expected = softmax(torch_logits(classifier.spec, checkpoint, texts[:20]))
    found = [classifier.predict_many([text])[0] for text in texts[:20]]
    np.testing.assert_allclose(found, expected, atol=DIFFERENCE)


def test_a_decoder_without_a_padding_token_is_stored(copy_project: Callable[[Path], Path], tmp_path: Path) -> None:
    checkpoint, size = tmp_path / "checkpoint", checkpoints.Size(words=200)
    texts = checkpoints.texts(size, 200)
    checkpoints.make(ARCHITECTURES["GPT-2"], checkpoint, texts, size, pads=False)
    classifier = Classifier(stored(checkpoint, copy_project(tmp_path), texts))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoint)
    with torch.inference_mode():
        logits = [
            network(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0].numpy() for text in texts[:20]
        ]
    found = [classifier.predict_many([text])[0] for text in texts[:20]]
    np.testing.assert_allclose(found, softmax(np.array(logits)), atol=DIFFERENCE)


def test_an_adapter_is_refused_with_what_to_do(tmp_path: Path) -> None:
    adapter = SAVED / "peft" / "adapter"
    with pytest.raises(ModelingError, match=r"adapter: is an adapter of PEFT.*merge_and_unload.*give FOLDER"):
        create(NAME, str(adapter), root=tmp_path)
    # Beside the whole model, as some tools write it, it would be left out.
    whole = Path(shutil.copytree(VERSION_5 / "bert", tmp_path / "whole"))
    shutil.copyfile(adapter / "adapter_config.json", whole / "adapter_config.json")
    with pytest.raises(ModelingError, match="whole: is an adapter of PEFT"):
        create(NAME, str(whole), root=tmp_path)
    assert not (tmp_path / "models").exists()
