"""Static INT8 quantization of the ONNX graph of a transformer, with the outlier channels kept in float.

Each linear layer ``y = x W + b`` (``x``: tokens by channels, ``W``: constant) goes through four steps:

1. **Outlier channels are split off.** In a trained encoder one input channel of a few layers is ten times larger than
   all others, and a scale that covers it leaves no resolution for the rest. Channels whose largest calibration value
   exceeds ``outlier_ratio`` times the 90th percentile of the layer's channel maxima are multiplied in float with their
   rows of ``W``, and added to the INT8 result of the others: LLM.int8() (Dettmers and others 2022, arXiv:2208.07339),
   but fixed in the graph.
2. **One fixed scale and zero point per tensor** for ``x`` (uint8), with the least squared output error on calibration
   texts; unlike with dynamic quantization, results do not depend on the batch. Uneven channels are smoothed first
   (SmoothQuant, Xiao and others 2022, arXiv:2211.10438): multiplied by factors that divide the rows of ``W``.
3. **One scale per output channel** for ``W`` (int8, symmetric), rounded with GPTQ (Frantar and others 2022,
   arXiv:2210.17323): weights not yet rounded absorb the error of those already rounded. CPUs without VNNI add the
   products of two neighbouring channels in 16 bits and saturate (onnxruntime#5849), so the codes of two neighbours
   never exceed PAIR_LIMIT together.
4. **The mean error** on the calibration texts is subtracted from ``b``.

Embedding tables become int8 with one scale per row. The classification head, which is the last layer and all that is
computed once per text, stays in float.
The result uses ONNX Runtime's operators of the domain ``com.microsoft``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from modeling.errors import ModelingError
from modeling.export.graph import GraphEditor, Linear, find_linears, share_constants
from modeling.export.rounding import ActivationStatistics, gptq, plan_activation
from modeling.progress import Progress

Feeds = Mapping[str, npt.NDArray[np.int64]]


class QuantizationError(ModelingError):
    """The graph or the calibration data does not allow quantization."""


@dataclass(frozen=True)
class QuantizedLinear:
    """The quantization of one linear layer, for the report."""

    name: str
    channels: int
    outputs: int
    outliers: int
    smoothing: float
    peak: float
    peak_inside: float
    relative_error: float


@dataclass(frozen=True)
class QuantizationReport:
    """The quantized linear layers, and the quantized embedding tables by name."""

    linears: list[QuantizedLinear]
    tables: list[str]

    @property
    def outlier_channels(self) -> int:
        """Number of channels kept in float, counted once per layer."""
        return sum(linear.outliers for linear in self.linears)


def quantize(
    model: onnx.ModelProto,
    calibration: Iterable[Feeds],
    *,
    outlier_ratio: float,
    weight_bits: int,
) -> tuple[onnx.ModelProto, QuantizationReport]:
    """Quantize every linear layer and embedding table of ``model`` and return a new model with a report.

    Args:
        model: a float32 graph as optimum exports it.
        calibration: feeds of single texts, without padding: int64 arrays of shape ``[1, L]`` by input name.
        outlier_ratio: 3.0 splits off a handful of channels, infinity none.
        weight_bits: width of the integer weights, at most 8.

    Raises:
        QuantizationError: if no linear layer of the graph is computed for each token, or ``calibration`` is empty.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    share_constants(quantized.graph)
    by_source: dict[str, list[Linear]] = {}
    for linear in find_linears(quantized.graph):
        by_source.setdefault(linear.source, []).append(linear)
    texts = Progress(calibration, desc="calibrate", unit="text")
    statistics = calibrate(model, sorted(by_source), texts) if by_source else {}
    by_source = {source: group for source, group in by_source.items() if statistics[source].is_per_token}
    if not by_source:
        raise QuantizationError(
            "the graph has no MatMul or Gemm with a constant weight that is computed for each token"
        )
    editor = GraphEditor(quantized.graph)
    reports = []
    for source, group in Progress(by_source.items(), desc="quantize"):
        stats = statistics[source]
        weights = [editor.weight(linear) for linear in group]
        plan = plan_activation(stats, np.concatenate(weights, axis=1), stats.outliers(outlier_ratio), weight_bits)
        editor.quantize_activation(source, plan, group[0].matmul)
        for linear, weight in zip(group, weights, strict=True):
            codes, scales = gptq(plan.inside(weight), plan.inside_gram(stats.gram), weight_bits)
            error = plan.error(stats.sample, weight, codes * scales)
            power = np.std(stats.sample @ weight)
            bias = editor.constant(linear.bias_name) if linear.bias_name else np.zeros(weight.shape[1], np.float32)
            editor.replace_linear(
                linear,
                codes.astype(np.int8),
                scales.astype(np.float32),
                (bias - error.mean(axis=0)).astype(np.float32),
                weight[plan.outliers],
            )
            reports.append(
                QuantizedLinear(
                    name=linear.matmul.name,
                    channels=weight.shape[0],
                    outputs=weight.shape[1],
                    outliers=len(plan.outliers),
                    smoothing=plan.smoothing,
                    peak=float(stats.peak.max()),
                    peak_inside=float(np.delete(stats.peak, plan.outliers).max()),
                    # A layer of zeros has no error.
                    relative_error=float(np.std(error) / power) if power else 0.0,
                )
            )
    tables = editor.quantize_tables()
    editor.finish()
    if not any(opset.domain == "com.microsoft" for opset in quantized.opset_import):
        quantized.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.checker.check_model(quantized)
    return quantized, QuantizationReport(reports, tables)


def calibrate(
    model: onnx.ModelProto, tensors: list[str], calibration: Iterable[Feeds]
) -> dict[str, ActivationStatistics]:
    """Run ``model`` in float on the calibration feeds, and return statistics of the activations in ``tensors``."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    options = ort.SessionOptions()
    # Spinning between two texts, its threads would take the cores from the collection of the statistics.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    declared = {argument.name for argument in session.get_inputs()}
    statistics: dict[str, ActivationStatistics] = {}
    for feeds in calibration:
        values = session.run(tensors, {name: array for name, array in feeds.items() if name in declared})
        for name, value in zip(tensors, values, strict=True):
            tokens = value.reshape(-1, value.shape[-1])
            if name not in statistics:
                statistics[name] = ActivationStatistics(tokens.shape[1])
            statistics[name].add(tokens)
    if not statistics:
        raise QuantizationError("no calibration texts; the activation scales need some")
    return statistics
