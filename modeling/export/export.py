"""Export a model: from the checkpoint to the float and the served ONNX file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
from tokenizers import Tokenizer

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.evaluation.speed import Feeds, feeds
from modeling.export.checkpoint import check_golden, check_inputs, check_source, export_float
from modeling.export.quantization import quantize
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.texts import PlainTexts, calibration_texts, check_input
from textserve.classifier import load_tokenizer
from textserve.spec import Input


def export(files: ModelFiles, checkpoint: Path, texts: Sequence[Input] | None = None) -> dict[str, Any]:
    """Write the float and the served ONNX file, and return the section ``export`` of the report, which it adds.

    ``texts`` are calibration texts, by default those of :func:`modeling.texts.calibration_texts`. Raises
    :class:`ModelingError` if the checkpoint, its labels or its tokenizer do not fit the spec, or cannot be quantized.
    """
    spec = files.spec()
    check_input(texts or [], spec)
    check_source(files, checkpoint)
    # Before the export, which takes minutes.
    check_golden(spec, checkpoint)
    export_float(spec, checkpoint, files.float_model, files.tokenizer)
    check_inputs(spec, files.float_model)
    section: dict[str, Any] = {
        "versions": versions(["torch", "transformers", "optimum-onnx", "onnx", "onnxruntime"]),
        "float_bytes": files.float_model.stat().st_size,
    }
    if spec.quantization.method == "none":
        shutil.copyfile(files.float_model, files.model)
    else:
        tokenizer = load_tokenizer(spec, files.tokenizer)
        calibration = PlainTexts(texts) if texts else calibration_texts(files)
        section |= {"note": calibration.note} if calibration.note else {}
        model, report = quantize(
            onnx.load(files.float_model),
            _feeds(spec, tokenizer, calibration.texts[: spec.quantization.calibration_texts]),
            outlier_ratio=spec.quantization.outlier_ratio,
            weight_bits=spec.quantization.weight_bits,
        )
        onnx.save(model, files.model)
        section["quantization"] = {**asdict(report), "outlier_channels": report.outlier_channels}
    section |= {"bytes": files.model.stat().st_size, "sha256": sha256(files.model)}
    files.add_to_report("export", section)
    return section


def _feeds(spec: ModelSpec, tokenizer: Tokenizer, texts: Sequence[Input]) -> Iterator[Feeds]:
    """The inputs of the graph for each text; raises :class:`ModelingError` for a pair that cannot be cut to fit."""
    for index, text in enumerate(texts, start=1):
        try:
            found = feeds(spec, tokenizer, text)
        except Exception as error:  # the library has no class of its own
            raise ModelingError(f"{spec.name}: calibration text {index} cannot be tokenized: {error}") from error
        yield found
