from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import load

from modeling.errors import ModelingError
from modeling.export.checkpoint import source_scores
from modeling.export.export import export
from modeling.export.loading import load_network, load_tokenizer
from modeling.export.recovery import recover, weights_of
from modeling.files import ModelFiles
from textserve.graph import open_session

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def exported(
    make_checkpoint: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
) -> tuple[ModelFiles, Path]:
    checkpoint, root = make_checkpoint("bert", outlier=30.0), tmp_path_factory.mktemp("exported")
    # The surest answer of each label, which INT8 does not change.
    spec = write_model(root).spec()
    scores = source_scores(spec, checkpoint, texts)
    surest = [texts[index] for index in scores.argmax(axis=0)]
    golden = [{"text": text, "label": name} for text, name in zip(surest, spec.label_names, strict=True)]
    files = write_model(root, golden=golden)
    section = export(files, checkpoint, texts)
    # Otherwise nothing of it would be tested.
    assert section["quantization"]["outlier_channels"]
    assert section["quantization"]["optimization"]["merged_linears"]
    return files, checkpoint


def test_a_recovered_checkpoint_answers_like_the_quantized_graph(
    exported: tuple[ModelFiles, Path], texts: list[str], tmp_path: Path
) -> None:
    files, checkpoint = exported
    recover(files.model, checkpoint, tmp_path)
    tokenizer, network = load_tokenizer(tmp_path), load_network(tmp_path)
    session = open_session(files.model)
    before = load_network(checkpoint)
    found, wanted, source = [], [], []
    for text in texts[:30]:
        inputs = tokenizer(text, return_tensors="pt")
        feeds = {name: value.numpy() for name, value in inputs.items()}
        feeds.setdefault("token_type_ids", np.zeros_like(feeds["input_ids"]))
        wanted.append(session.run(None, feeds)[0][0])
        with torch.inference_mode():
            found.append(network(**inputs).logits[0].numpy())
            source.append(before(**inputs).logits[0].numpy())
    spread = np.std(wanted)
    assert np.abs(np.array(found) - wanted).mean() < 0.05 * spread
    assert np.abs(np.array(found) - source).mean() < 0.05 * spread


def test_a_graph_of_another_network_is_an_error(
    exported: tuple[ModelFiles, Path], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    files, _ = exported
    with pytest.raises(ModelingError, match="do not fit the network"):
        recover(files.model, make_checkpoint("roberta"), tmp_path)


def test_names_of_weights_are_those_of_the_checkpoint(exported: tuple[ModelFiles, Path]) -> None:
    files, checkpoint = exported
    assert {*weights_of(load(files.model))} == {*load_network(checkpoint).state_dict()}
