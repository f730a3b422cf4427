"""Export a model: from the checkpoint to the float and the served ONNX file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tokenizers import Tokenizer

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.evaluation.speed import Feeds, feeds
from modeling.export.checkpoint import check_golden, check_graph, check_inputs, check_source, export_float
from modeling.export.optimization import optimize
from modeling.export.quantization import QuantizationError, QuantizationReport, quantize
from modeling.export.verification import compare_in_batches, likeness
from modeling.files import ModelFiles, replacing, sha256
from modeling.spec import ModelSpec
from modeling.texts import PlainTexts, calibration_texts, check_input
from textserve.classifier import (
    Classifier,
    GoldenMismatch,
    ModelFilesError,
    activate,
    batch_feeds,
    load_tokenizer,
)
from textserve.graph import open_session
from textserve.spec import Input

# Calibration texts to compute in random batches after the quantization.
BATCHED_TEXTS = 100


def export(files: ModelFiles, checkpoint: Path, texts: Sequence[Input] | None = None) -> dict[str, Any]:
    """Write the float and the served ONNX file, and return the section ``export`` of the report, which it adds.

    ``texts`` are calibration texts, by default those of :func:`modeling.texts.calibration_texts`. If the graph
    cannot be quantized, or INT8 changes its answers, the float graph is served, and ``float_reason`` of the section
    says why; if the spec names the method, that is an error.

    Raises:
        QuantizationError: if the graph cannot be quantized by the method that the spec names.
        ModelingError: if the checkpoint, its labels or its tokenizer do not fit the spec, or it cannot be exported.
    """
    spec = files.spec()
    check_input(texts or [], spec)
    check_source(files, checkpoint)
    # Before the export, which takes minutes.
    check_golden(spec, checkpoint)
    export_float(spec, checkpoint, files.float_model, files.tokenizer)
    check_inputs(spec, files.float_model)
    if spec.source.kind != "onnx":
        check_graph(spec, checkpoint, files.float_model)
    section: dict[str, Any] = {
        "versions": versions(["torch", "transformers", "optimum-onnx", "onnx", "onnxruntime"]),
        "float_bytes": files.float_model.stat().st_size,
    }
    if spec.quantization.method == "none":
        section["float_reason"] = "quantization.method is none"
    else:
        calibration = PlainTexts(texts) if texts else calibration_texts(files)
        section |= {"note": calibration.note} if calibration.note else {}
        try:
            used = calibration.texts[: spec.quantization.calibration_texts]
            section["quantization"] = _quantize(spec, files, used)
        except QuantizationError as error:
            if "method" in spec.quantization.model_fields_set:
                raise
            section["float_reason"] = str(error)
    if "float_reason" in section:
        with replacing(files.model) as new:
            shutil.copyfile(files.float_model, new)
    section |= {"bytes": files.model.stat().st_size, "sha256": sha256(files.model)}
    files.add_to_report("export", section)
    return section


def quantized(spec: ModelSpec, files: ModelFiles, texts: Sequence[Input]) -> tuple[onnx.ModelProto, QuantizationReport]:
    """The float graph of a model in INT8, calibrated on ``texts``, not optimized; raises what ``quantize`` raises."""
    return quantize(
        onnx.load(files.float_model),
        _feeds(spec, load_tokenizer(spec, files.tokenizer), texts),
        outlier_ratio=spec.quantization.outlier_ratio,
        weight_bits=spec.quantization.weight_bits,
    )


def _quantize(spec: ModelSpec, files: ModelFiles, texts: Sequence[Input]) -> dict[str, Any]:
    model, report = quantized(spec, files, texts)
    model, changed = optimize(model, spec.graph.attention_mask)
    with replacing(files.model) as new:
        onnx.save(model, new)
    _check_answers(spec, files, texts)
    return {**asdict(report), "outlier_channels": report.outlier_channels, "optimization": changed}


def _feeds(spec: ModelSpec, tokenizer: Tokenizer, texts: Sequence[Input]) -> Iterator[Feeds]:
    """The inputs of the graph for each text; raises :class:`ModelingError` for a pair that cannot be cut to fit."""
    for index, text in enumerate(texts, start=1):
        try:
            found = feeds(spec, tokenizer, text)
        except Exception as error:  # tokenizers has no exception class
            raise ModelingError(f"{spec.name}: calibration text {index} cannot be tokenized: {error}") from error
        yield found


def _check_answers(spec: ModelSpec, files: ModelFiles, texts: Sequence[Input]) -> None:
    """Raise a :class:`QuantizationError` if INT8 changes a golden answer or too many, or a batch changes scores."""
    try:
        classifier = Classifier(files.folder)
    except ModelFilesError as error:
        raise QuantizationError(f"the INT8 graph cannot be loaded: {error}") from error
    encodings, session = classifier.encode(texts), open_session(files.float_model)
    logits = [session.run([spec.graph.logits], batch_feeds(spec, [text]))[0] for text in encodings]
    alone = np.concatenate([classifier.predict([text]) for text in encodings])
    limits = spec.fidelity
    ((measure, alike),) = likeness(spec, activate(spec.activation, np.concatenate(logits)), alone).items()
    least = limits.min_rank_correlation if spec.problem_type == "regression" else limits.min_agreement
    # The texts are few: allow two standard errors more, and let scripts/verify.py decide in doubt.
    if not 1 - alike <= 1 - least + 2 * sqrt((1 - least) / len(texts)):
        raise QuantizationError(
            f"in INT8 the {measure.replace('_', ' ')} with float32 on {len(texts)} calibration texts is {alike:.3f}; "
            f"fidelity.min_{measure} is {least}"
        )
    try:
        classifier.check_golden()
    except GoldenMismatch as error:
        raise QuantizationError(f"in INT8 {error}") from error
    _, change = compare_in_batches(classifier, encodings[:BATCHED_TEXTS], alone)
    if not change <= limits.max_batch_difference:
        raise QuantizationError(
            f"in INT8 a batch changes a score by {change:.1e}; "
            f"fidelity.max_batch_difference is {limits.max_batch_difference:g}"
        )
