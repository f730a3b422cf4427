"""Export a model: from the checkpoint to the float and the served ONNX file."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from modeling.environment import versions
from modeling.evaluation.speed import feeds
from modeling.export.checkpoint import check_golden, check_inputs, check_source, export_float
from modeling.export.quantization import quantize
from modeling.files import ModelFiles, sha256
from modeling.tasks.sentiment.texts import calibration_texts
from textserve.classifier import load_tokenizer


def export(files: ModelFiles, checkpoint: Path, texts: list[str] | None = None) -> dict[str, Any]:
    """Write the float and the served ONNX file, and return the section ``export`` of the report, which it adds.

    ``texts`` are calibration texts; by default texts of the training data. Raises :class:`ModelingError` if the
    checkpoint, its labels or its tokenizer do not fit the spec, or it cannot be quantized.
    """
    spec = files.spec()
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
        texts = texts or calibration_texts(spec, files.data)
        model, report = quantize(
            onnx.load(files.float_model),
            (feeds(spec, tokenizer, text) for text in texts[: spec.quantization.calibration_texts]),
            outlier_ratio=spec.quantization.outlier_ratio,
            weight_bits=spec.quantization.weight_bits,
        )
        onnx.save(model, files.model)
        section["quantization"] = {**asdict(report), "outlier_channels": report.outlier_channels}
    section |= {"bytes": files.model.stat().st_size, "sha256": sha256(files.model)}
    files.add_to_report("export", section)
    return section
