from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.architectures import pipeline_scores
from modeling import sources
from modeling.evaluation import fidelity
from modeling.export import verification
from modeling.export.checkpoint import torch_logits
from modeling.export.export import export
from modeling.files import ModelFiles
from modeling.new import creation, golden
from modeling.new.creation import create
from modeling.spec import ModelSpec
from tests import every_protocol
from tests.scripts.rated_data import write_rated_data
from tests.server import save_model, serve
from tests.tiny_checkpoints import MAX_TOKENS
from tests.tiny_shapes import SHAPES, everyday_words
from textserve.classifier import Classifier

pytestmark = pytest.mark.export

# What is written of each: problem type, activation, input, number of labels, key of the golden answers.
WRITTEN: dict[str, tuple[str, str, str, int, str]] = {
    "topics": ("single_label_classification", "softmax", "text", 3, "label"),
    "intents": ("single_label_classification", "softmax", "text", 150, "label"),
    "emotions": ("multi_label_classification", "sigmoid", "text", 28, "labels"),
    "harms": ("multi_label_classification", "sigmoid", "text", 6, "labels"),
    "grade": ("regression", "none", "text", 1, "score"),
    "inference": ("single_label_classification", "softmax", "pair", 3, "label"),
    "reranker": ("regression", "sigmoid", "pair", 1, "score"),
}


COMPARED = 220
FLOAT_DIFFERENCE = 1e-4


def clear_texts(spec: ModelSpec, checkpoint: Path) -> list[Any]:
    """More texts than the spec asks to compare on, those that the checkpoint answers most surely.

    Between labels a network without training is as undecided as no other.
    """
    texts: list[Any] = golden.examples(["en"], spec.input)
    if spec.input == "pair":
        texts = [(first, second) for first, _ in texts for _, second in texts][:800]
    else:
        texts += [f"{first} {second}" for first in texts[:40] for second in texts[40:70]]
    if spec.problem_type == "regression":
        return texts[:COMPARED]
    far = golden.distances(spec, torch_logits(spec, checkpoint, texts))
    return [texts[index] for index in np.argsort(-far)[:COMPARED]]


@pytest.mark.parametrize("name", SHAPES)
def test_a_new_model_is_served_after_make_model(
    make_shape: Callable[[str], Path],
    copy_project: Callable[[Path], Path],
    write_data: Callable[..., Path],
    tmp_path: Path,
    name: str,
) -> None:
    root, checkpoint = copy_project(tmp_path / "project"), make_shape(name)
    create(name, str(checkpoint), root=root)
    files = ModelFiles.of(name, root)
    # So narrow a network is served in float.
    assert files.spec().quantization.method == "none"
    # Texts of unknown words would get one score, and rounding, which differs between processors, would rank them.
    write_rated_data(files.data, write_data, everyday_words("text"), 5 * COMPARED)
    sources.download(files, None, allow_pickle=False)
    export(files, files.checkpoint)
    section = verification.verify(files, files.checkpoint)
    assert fidelity.problems(section, files.spec()) == []
    save_model(tmp_path / "bentoml", name, root)
    spec = files.spec()
    inputs = golden.examples(["en"], spec.input)[:8]
    expected = pipeline_scores(checkpoint, inputs, [label.name for label in spec.labels])
    with serve(tmp_path / "bentoml", TEXTSERVE_MODEL=name) as server:
        found = every_protocol.scores(server, spec, inputs)
    for protocol, scores in found.items():
        np.testing.assert_allclose(scores, expected, atol=FLOAT_DIFFERENCE, err_msg=protocol)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_written_is_exported_verified_and_saved_unchanged(
    make_shape: Callable[[str], Path],
    copy_project: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(creation, "MIN_WIDTH", 0)
    root, checkpoint = copy_project(tmp_path / "project"), make_shape(name)
    create(name, str(checkpoint), root=root)
    files = ModelFiles.of(name, root)
    spec, written = files.spec(), (files.folder / "model.yaml").read_bytes()
    answer = next(key for key in ("label", "labels", "score") if getattr(spec.golden[0], key) is not None)
    found = (spec.problem_type, spec.activation, spec.input, len(spec.labels), answer)
    assert found == WRITTEN[name]
    assert [label.name for label in spec.labels] == list(SHAPES[name][1]["id2label"].values())
    assert (spec.tokenization.pad_id, spec.tokenization.max_tokens) == (1, MAX_TOKENS)
    assert (spec.graph.token_type_ids is not None) == (SHAPES[name][0] == "bert")
    if answer != "score":
        assert len({str(getattr(text, answer)) for text in spec.golden}) > 1
    # The speed of so small a network says nothing.
    monkeypatch.setattr(verification, "texts_per_second", lambda *_: [100.0, 200.0])
    sources.download(files, None, allow_pickle=False)
    texts = clear_texts(spec, checkpoint)
    export(files, files.checkpoint, texts[::2])
    section = verification.verify(files, files.checkpoint, texts)
    assert fidelity.problems(section, spec) == []
    assert files.report()["export"]["quantization"]["linears"]
    assert (files.folder / "model.yaml").read_bytes() == written
    tag = save_model(tmp_path / "bentoml", name, root)
    stored = tmp_path / "bentoml" / "models" / tag.replace(":", "/") / "files"
    assert Classifier(stored).spec == spec.serving
