"""The matrix: tiny random checkpoints of every architecture, from the export to the answers of ``transformers``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnxruntime.quantization import quantize_dynamic

from benchmarks import checkpoints
from benchmarks.architectures import describe, pipeline_scores
from benchmarks.checkpoints import ARCHITECTURES, TINY
from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.export import export as export_module
from modeling.export.checkpoint import source_scores
from modeling.export.export import export
from modeling.export.quantization import QuantizationError, QuantizationReport
from modeling.export.verification import likeness, verify
from modeling.files import ModelFiles
from tests import every_protocol
from tests.server import save_model, serve
from textserve.classifier import Classifier
from textserve.spec import Input

pytestmark = pytest.mark.export

TEXTS = 48
# Of a score between 0 and 1 in INT8, where every layer has a relative error of about 1 %.
INT8_DIFFERENCE = 0.15
FLOAT_DIFFERENCE = 1e-4
LEFT = {"tokenization": {"pad_id": checkpoints.PAD, "max_tokens": checkpoints.MAX_TOKENS, "padding_side": "left"}}
# Their convolution, or attention, rounds otherwise where there is padding, which INT8 amplifies on some processors.
ROUNDED = ("DeBERTa v2", "XLNet")
SEVERAL = {"problem_type": "multi_label_classification", "labels": ["a", "b", "c", "d"]}
NUMBER = {"problem_type": "regression", "labels": ["relevance"]}


@dataclass(frozen=True)
class Case:
    """A checkpoint: its architecture, what it reads and answers, and how its tokenizer pads."""

    architecture: str
    pair: bool = False
    shape: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)

    def make(self, root: Path) -> tuple[ModelFiles, Path, list[Input]]:
        """The model's files below ``root``, its checkpoint, and inputs."""
        inputs = checkpoints.pairs(TINY, TEXTS) if self.pair else list[Input](checkpoints.texts(TINY, TEXTS))
        row, checkpoint = ARCHITECTURES[self.architecture], root / "checkpoint"
        checkpoints.make(row, checkpoint, inputs, TINY, **self.shape, **self.options)
        return describe(root, row, checkpoint, inputs, **self.shape, **self.sections), checkpoint, inputs


CASES = {name: Case(name) for name in ARCHITECTURES} | {
    "BERT, pairs": Case("BERT", pair=True),
    "XLM-RoBERTa, pairs": Case("XLM-RoBERTa", pair=True),
    "DeBERTa v3, pairs": Case("DeBERTa v3", pair=True),
    "DistilBERT, several labels": Case("DistilBERT", shape=SEVERAL),
    "DeBERTa v3, several labels": Case("DeBERTa v3", shape=SEVERAL),
    "ELECTRA, a number for pairs": Case("ELECTRA", pair=True, shape=NUMBER),
    "XLNet, pairs": Case("XLNet", pair=True),
    "GPT-2, tokenizer pads on the left": Case("GPT-2", options={"padding_side": "left"}),
    "GPT-2, without a padding token": Case("GPT-2", options={"pads": False}),
    "Qwen2, tokenizer pads on the left": Case("Qwen2", options={"padding_side": "left"}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_is_served_with_the_answers_of_its_pipeline_and_in_int8_if_that_is_exact(
    name: str, tmp_path: Path
) -> None:
    files, checkpoint, inputs = CASES[name].make(tmp_path)
    section = export(files, checkpoint, inputs[: TEXTS // 2])
    reason = section.get("float_reason")
    assert reason is None or (CASES[name].architecture in ROUNDED and reason.startswith("in INT8 a batch changes"))
    verified = verify(files, checkpoint, inputs)
    spec = files.spec()
    assert fidelity.problems(verified, spec) == []
    assert verified["quantized"] == (reason is None)
    expected = pipeline_scores(checkpoint, inputs, spec.label_names)
    found = Classifier(files.folder).predict_many(inputs)
    assert min(likeness(spec, expected, found).values()) >= 0.85
    assert np.abs(found - expected).max() <= INT8_DIFFERENCE * max(1, np.abs(expected).max())
    # Not the same answer for all.
    assert expected.std(axis=0).min() > 0.05


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            Case("RoBERTa", sections={"quantization": {"weight_bits": 2}}),
            "in INT8 the agreement with float32 on 48 calibration texts is",
        ),
        (Case("RoBERTa", sections={"quantization": {"method": "none"}}), "quantization.method is none"),
    ],
)
def test_what_int8_would_change_is_served_in_float_with_the_reason(case: Case, reason: str, tmp_path: Path) -> None:
    files, checkpoint, inputs = case.make(tmp_path)
    section = export(files, checkpoint, inputs)
    assert re.match(reason, section["float_reason"])
    assert "quantization" not in section
    verified = verify(files, checkpoint, inputs)
    assert not verified["quantized"]
    assert fidelity.problems(verified, files.spec()) == []
    expected = pipeline_scores(checkpoint, inputs, files.spec().label_names)
    np.testing.assert_allclose(Classifier(files.folder).predict_many(inputs), expected, atol=FLOAT_DIFFERENCE)


def test_a_golden_text_that_int8_answers_otherwise_is_served_in_float(tmp_path: Path) -> None:
    files, checkpoint, inputs = Case("BERT", shape=NUMBER).make(tmp_path)
    written = yaml.safe_load((files.folder / "model.yaml").read_text(encoding="utf-8"))
    scores = source_scores(files.spec(), checkpoint, [golden["text"] for golden in written["golden"]])
    for golden, (score,) in zip(written["golden"], scores.tolist(), strict=True):
        golden |= {"score": score, "tolerance": 1e-4}  # more than float32 rounds, less than INT8 does
    (files.folder / "model.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    section = export(files, checkpoint, inputs)
    assert section["float_reason"].startswith(f"in INT8 {files.spec().name}: golden[")
    assert verify(files, checkpoint, inputs)["quantized"] is False


def test_int8_that_depends_on_the_batch_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dynamic(model: onnx.ModelProto, *_: object, **__: object) -> tuple[onnx.ModelProto, QuantizationReport]:
        """With scales by the largest value in the batch, as ONNX Runtime's own quantizer of transformers has them."""
        quantize_dynamic(model, tmp_path / "dynamic.onnx")
        return onnx.load(tmp_path / "dynamic.onnx"), QuantizationReport([], [])

    monkeypatch.setattr(export_module, "quantize", dynamic)
    files, checkpoint, inputs = Case("RoBERTa", sections={"fidelity": {"texts": 10, "min_agreement": 0.5}}).make(
        tmp_path
    )
    section = export(files, checkpoint, inputs)
    assert section["float_reason"].startswith("in INT8 a batch changes a score by")
    assert files.model.read_bytes() == files.float_model.read_bytes()


def test_a_method_that_the_spec_names_is_not_replaced(tmp_path: Path) -> None:
    named = {"quantization": {"method": "static-int8", "weight_bits": 2}}
    files, checkpoint, inputs = Case("RoBERTa", sections=named).make(tmp_path)
    with pytest.raises(QuantizationError, match="calibration texts is"):
        export(files, checkpoint, inputs[: TEXTS // 2])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        # Its positions are counted from the left end, whatever is there.
        (Case("GPT-2", sections=LEFT), "a GPT2ForSequenceClassification cannot be served in batches: padding changes"),
        (
            Case("BERT", sections={"export": {"opset": 9}}),
            "a BertForSequenceClassification cannot be exported at opset 9",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(case: Case, reason: str, tmp_path: Path) -> None:
    files, checkpoint, inputs = case.make(tmp_path)
    with pytest.raises(ModelingError, match=reason):
        export(files, checkpoint, inputs[: TEXTS // 2])
    assert not files.model.exists()


@pytest.mark.parametrize("name", ["DeBERTa v3", "GPT-2", "DistilBERT, several labels"])
def test_the_service_answers_like_the_pipeline(name: str, tmp_path: Path, copy_project: Callable[[Path], Path]) -> None:
    files, checkpoint, inputs = CASES[name].make(tmp_path)
    export(files, checkpoint, inputs[: TEXTS // 2])
    verify(files, checkpoint, inputs)
    home = tmp_path / "bentoml"
    save_model(home, files.folder.name, copy_project(tmp_path))
    spec, some = files.spec(), inputs[:12]
    with serve(home, TEXTSERVE_MODEL=files.folder.name) as server:
        found = every_protocol.scores(server, spec, some)
    expected = pipeline_scores(checkpoint, some, spec.label_names)
    alone = Classifier(files.folder)
    exact = [alone.predict_many([text])[0] for text in some]
    for protocol, scores in found.items():
        np.testing.assert_allclose(scores, exact, atol=1e-4, err_msg=protocol)
        np.testing.assert_allclose(scores, expected, atol=INT8_DIFFERENCE, err_msg=protocol)
