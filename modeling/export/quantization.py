"""Static INT8 quantization of a BERT-like ONNX graph, with the outlier channels kept in float.

Each linear layer ``y = x W + b`` (``x``: tokens by channels, ``W``: constant) goes through four steps:

1. **Outlier channels are split off.** In a trained encoder one input channel of a few layers is ten times larger than
   all others, and a scale that covers it leaves no resolution for the rest. Channels whose largest calibration value
   exceeds ``outlier_ratio`` times the 90th percentile of the layer's channel maxima are multiplied in float with their
   rows of ``W``, and added to the INT8 result of the others: LLM.int8() (Dettmers and others 2022, arXiv:2208.07339),
   but once, in the graph.
2. **One fixed scale and zero point per tensor** for ``x`` (uint8), with the least squared output error on calibration
   texts; results do not depend on the batch, as with dynamic quantization. Uneven channels are smoothed first
   (SmoothQuant, Xiao and others 2022, arXiv:2211.10438): multiplied by a factor that divides the rows of ``W``.
3. **One scale per output channel** for ``W`` (int8, symmetric), rounded with GPTQ (Frantar and others 2022,
   arXiv:2210.17323): weights not yet rounded absorb the error of those already rounded. CPUs without VNNI add the
   products of two neighbouring channels in 16 bits and saturate (onnxruntime#5849), so the codes of two neighbours
   never exceed PAIR_LIMIT together.
4. **The mean error** on the calibration texts is subtracted from ``b``.

Embedding tables become int8 with one scale per row. The classification head (``Gemm`` nodes) stays in float.
The result uses ONNX Runtime's operators of the domain ``com.microsoft``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from modeling.errors import ModelingError
from modeling.progress import Progress

Array = npt.NDArray[Any]
Feeds = Mapping[str, npt.NDArray[np.int64]]

ACTIVATION_MAX = 255
TABLE_MIN_ELEMENTS = 100_000
# 255 times this is the largest sum of two products that fits 16 bits.
PAIR_LIMIT = 128
ROWS_KEPT = 4096
PLAN_ROWS = 512
# Exponents to try; 0 is no smoothing, 1 makes all channels equally wide.
SMOOTHING = (0.0, 0.5, 0.7, 0.85)
SMALLEST_PEAK = 0.1
SHRINK = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35)
GPTQ_DAMPING = 0.01


class QuantizationError(ModelingError):
    """The graph or the calibration data does not allow quantization."""


@dataclass(frozen=True)
class Linear:
    """A linear layer of the graph: the ``MatMul`` node and, if it has a bias, the ``Add``."""

    matmul: onnx.NodeProto
    bias_add: onnx.NodeProto | None
    bias_name: str | None

    @property
    def source(self) -> str:
        """Name of the input tensor; layers with the same input share its quantization."""
        return str(self.matmul.input[0])

    @property
    def output(self) -> str:
        """Name of the output tensor, after the bias."""
        return str((self.bias_add or self.matmul).output[0])


class ActivationStatistics:
    """Statistics of one activation tensor of K channels over the calibration texts.

    ``peak``: largest absolute value per channel, float64 ``[K]``. ``gram``: sum over tokens of the outer product,
    float64 ``[K, K]``. ``rows``: the first tokens, in arrays of float32 ``[T, K]``. ``count``: number of tokens.
    """

    def __init__(self, channels: int) -> None:
        self.peak: Array = np.zeros(channels)
        self.gram: Array = np.zeros((channels, channels))
        self.rows: list[Array] = []
        self.count = 0

    def add(self, tokens: Array) -> None:
        """Add ``tokens``, float32 of shape ``[T, K]``."""
        self.peak = np.maximum(self.peak, np.abs(tokens).max(axis=0))
        self.gram += tokens.T.astype(np.float32) @ tokens
        if self.count < ROWS_KEPT:
            self.rows.append(tokens)
        self.count += len(tokens)

    @property
    def sample(self) -> Array:
        """The kept tokens, float32 ``[R, K]``."""
        return np.concatenate(self.rows)

    def outliers(self, ratio: float) -> Array:
        """Indices (int64, ascending) of the channels whose peak exceeds ``ratio`` times the 90th percentile of all."""
        return np.flatnonzero(self.peak > ratio * np.percentile(self.peak, 90))


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
        QuantizationError: if the graph has no linear layer, or ``calibration`` is empty.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    linears = find_linears(quantized.graph)
    if not linears:
        raise QuantizationError("the graph has no MatMul with a constant weight; export an encoder in float32")
    by_source: dict[str, list[Linear]] = {}
    for linear in linears:
        by_source.setdefault(linear.source, []).append(linear)
    statistics = calibrate(model, sorted(by_source), Progress(calibration, desc="calibrate", unit="text"))
    editor = _GraphEditor(quantized.graph)
    reports = []
    for source, group in Progress(by_source.items(), desc="quantize"):
        stats = statistics[source]
        weights = [editor.constant(linear.matmul.input[1]) for linear in group]
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
                    # A layer of zeros, such as the pooler of the head recipe, has no error.
                    relative_error=float(np.std(error) / power) if power else 0.0,
                )
            )
    tables = editor.quantize_tables()
    editor.finish()
    if not any(opset.domain == "com.microsoft" for opset in quantized.opset_import):
        quantized.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.checker.check_model(quantized)
    return quantized, QuantizationReport(reports, tables)


def find_linears(graph: onnx.GraphProto) -> list[Linear]:
    """The linear layers of ``graph`` in order: each ``MatMul`` with a constant matrix, and its bias."""
    constants = {constant.name: constant for constant in graph.initializer}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    linears = []
    for node in graph.node:
        if node.op_type != "MatMul" or len(constants.get(node.input[1], onnx.TensorProto()).dims) != 2:
            continue
        readers = consumers.get(node.output[0], [])
        bias_add, bias_name = None, None
        if len(readers) == 1 and readers[0].op_type == "Add":
            names = [name for name in readers[0].input if name in constants and len(constants[name].dims) == 1]
            bias_add, bias_name = (readers[0], names[0]) if names else (None, None)
        linears.append(Linear(node, bias_add, bias_name))
    return linears


def calibrate(
    model: onnx.ModelProto, tensors: list[str], calibration: Iterable[Feeds]
) -> dict[str, ActivationStatistics]:
    """Run ``model`` in float on the calibration feeds, and return statistics of the activations in ``tensors``."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = ort.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
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


@dataclass(frozen=True)
class ActivationPlan:
    """The quantization of one activation tensor of K channels.

    ``outliers``: indices of the channels kept in float. ``smoothing``: the exponent behind ``factors``, float32
    ``[K]``, by which channels are multiplied and weights divided; 0 for outliers. ``scale`` and ``zero_point``: of the
    uint8 codes.
    """

    outliers: Array
    smoothing: float
    factors: Array
    scale: float = 1.0
    zero_point: int = 0

    def inside(self, weight: Array) -> Array:
        """The INT8 part of ``weight``, ``[K, N]``: float64, outlier rows zero, smoothed."""
        inside: Array = weight / np.where(self.factors > 0, self.factors, np.inf).astype(np.float64)[:, None]
        return inside

    def inside_gram(self, gram: Array) -> Array:
        """``gram``, ``[K, K]``, of the channels after smoothing."""
        # 0 for outliers: channels outside INT8 must not influence rounding.
        smoothed: Array = gram * np.outer(self.factors, self.factors)
        return smoothed

    def restored(self, rows: Array) -> Array:
        """``rows``, float32 ``[R, K]``, smoothed, quantized to uint8 and back, outliers zero."""
        codes = np.clip(np.rint(rows * self.factors / np.float32(self.scale)) + self.zero_point, 0, ACTIVATION_MAX)
        restored: Array = (codes - self.zero_point).astype(np.float32) * np.float32(self.scale)
        return restored

    def error(self, rows: Array, weight: Array, quantized: Array) -> Array:
        """Error of the quantized layer, ``[R, N]``, against ``rows @ weight``; ``quantized``: its INT8 weights."""
        outside = rows[:, self.outliers] @ weight[self.outliers]
        error: Array = self.restored(rows) @ quantized.astype(np.float32) + outside - rows @ weight
        return error


def plan_activation(stats: ActivationStatistics, weights: Array, outliers: Array, bits: int) -> ActivationPlan:
    """The plan with the least squared output error on a sample of the calibration tokens.

    Searches smoothing exponents and, for each, shrunken ranges, which clip a few values and resolve the others better.
    ``weights``: float32 ``[K, N]`` of all layers that read the activation, rounded here to the nearest code for GPTQ.
    """
    rows = stats.sample[:: max(1, len(stats.sample) // PLAN_ROWS)]
    # Bounded factors: a channel silent on the calibration texts may be active on others.
    peak = np.maximum(stats.peak, SMALLEST_PEAK * np.median(stats.peak) + 1e-6)
    largest = np.abs(weights).max(axis=1)
    largest = np.maximum(largest, SMALLEST_PEAK * np.median(largest) + 1e-6)
    tried: list[tuple[float, ActivationPlan]] = []
    for smoothing in SMOOTHING:
        factors = largest ** (1 - smoothing) / peak**smoothing if smoothing else np.ones_like(peak)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        factors[outliers] = 0.0
        unscaled = ActivationPlan(outliers, smoothing, factors)
        rounded = round_to_nearest(unscaled.inside(weights), bits)
        low, high = min(float((rows * factors).min()), 0.0), max(float((rows * factors).max()), 0.0)
        for shrink in SHRINK:
            scale = max((high - low) * shrink / ACTIVATION_MAX, 1e-8)
            zero_point = int(np.clip(np.rint(-low * shrink / scale), 0, ACTIVATION_MAX))
            plan = replace(unscaled, scale=scale, zero_point=zero_point)
            tried.append((float(np.square(plan.error(rows, weights, rounded)).mean()), plan))
    return min(tried, key=lambda candidate: candidate[0])[1]


def round_to_nearest(weight: Array, bits: int) -> Array:
    """``weight``, ``[K, N]``, rounded to ``bits``-bit codes with one scale per output channel, as float."""
    limit = 2 ** (bits - 1) - 1
    scales = weight_scales(weight, limit)
    rounded: Array = np.rint(weight / scales) * scales
    return rounded


def weight_scales(weight: Array, limit: int) -> Array:
    """The scale of each output channel of ``weight``, ``[N]``: no code above ``limit``, no pair above PAIR_LIMIT."""
    sizes = np.abs(weight)
    pairs = np.pad(sizes, ((0, len(sizes) % 2), (0, 0))).reshape(-1, 2, sizes.shape[1]).sum(axis=1)
    scales: Array = np.maximum(np.maximum(sizes.max(axis=0) / limit, pairs.max(axis=0) / PAIR_LIMIT), 1e-12)
    return scales


def gptq(weight: Array, gram: Array, bits: int) -> tuple[Array, Array]:
    """Round ``weight``, float64 ``[K, N]``, with one scale per output channel, by GPTQ (arXiv:2210.17323).

    ``gram`` is ``X^T X`` over the calibration tokens, ``[K, K]``. Returns integer codes ``[K, N]`` (float64) and scales
    ``[N]``; ``codes * scales`` approximates the output ``X @ weight``, not the entries of ``weight``.
    """
    limit = 2 ** (bits - 1) - 1
    scales = weight_scales(weight, limit)
    damped = gram + np.eye(len(gram)) * (GPTQ_DAMPING * np.diag(gram).mean() + 1e-12)
    order = np.argsort(-np.diag(damped), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    rest = weight[order].copy()
    codes = np.zeros_like(weight)
    for step, row in enumerate(order):
        # The other row of the pair, if any; 0 until it is rounded.
        neighbour = codes[row ^ 1] if row ^ 1 < len(codes) else np.zeros(codes.shape[1])
        bound = np.minimum(limit, PAIR_LIMIT - np.abs(neighbour))
        codes[row] = np.clip(np.rint(rest[step] / scales), -bound, bound)
        error = (rest[step] - codes[row] * scales) / upper[step, step]
        rest[step + 1 :] -= np.outer(upper[step, step + 1 :], error)
    return codes, scales


class _GraphEditor:
    """Collects replacements of nodes and constants; :meth:`finish` applies them to the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.instead: dict[str, list[onnx.NodeProto]] = {}

    def constant(self, name: str) -> Array:
        value: Array = numpy_helper.to_array(self.constants[name])
        return value

    def add_constant(self, name: str, value: Array) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def quantize_activation(self, source: str, plan: ActivationPlan, before: onnx.NodeProto) -> None:
        """Add ``SOURCE/int8``, its scale and zero point, and the float channels ``SOURCE/outliers``, if any."""
        scale = self.add_constant(f"{source}/scale", np.array(plan.scale, np.float32))
        zero_point = self.add_constant(f"{source}/zero_point", np.array(plan.zero_point, np.uint8))
        nodes = []
        smoothed = source
        if plan.smoothing:
            smoothed = f"{source}/smoothed"
            factors = self.add_constant(f"{source}/factors", plan.factors)
            nodes.append(helper.make_node("Mul", [source, factors], [smoothed]))
        nodes.append(helper.make_node("QuantizeLinear", [smoothed, scale, zero_point], [f"{source}/int8"]))
        if len(plan.outliers):
            indices = self.add_constant(f"{source}/outlier_channels", plan.outliers.astype(np.int64))
            nodes.append(helper.make_node("Gather", [source, indices], [f"{source}/outliers"], axis=-1))
        self.instead[before.output[0]] = nodes

    def replace_linear(
        self, linear: Linear, codes: Array, weight_scale: Array, bias: Array, outlier_weight: Array
    ) -> None:
        """Multiply the quantized activation instead; see :meth:`quantize_activation`."""
        # Named by layer, not by weight: layers that share a weight have their own scales.
        name = linear.matmul.output[0]
        inside = f"{linear.output}/inside" if len(outlier_weight) else linear.output
        inputs = [
            f"{linear.source}/int8",
            self.add_constant(f"{name}/int8", codes),
            f"{linear.source}/scale",
            self.add_constant(f"{name}/scale", weight_scale),
            f"{linear.source}/zero_point",
            "",
            self.add_constant(f"{name}/bias", bias),
        ]
        operator, domain = "MatMulIntegerToFloat", "com.microsoft"
        nodes = [helper.make_node(operator, inputs, [inside], domain=domain, name=f"{linear.matmul.name}/int8")]
        if len(outlier_weight):
            outside = f"{linear.output}/outside"
            rows = self.add_constant(f"{name}/outlier_rows", outlier_weight)
            nodes.append(helper.make_node("MatMul", [f"{linear.source}/outliers", rows], [outside]))
            nodes.append(helper.make_node("Add", [inside, outside], [linear.output]))
        self.instead.setdefault(linear.matmul.output[0], []).extend(nodes)
        if linear.bias_add:
            self.instead[linear.bias_add.output[0]] = []

    def quantize_tables(self) -> list[str]:
        """Store every large table that a ``Gather`` reads as int8 with one scale per row."""
        tables = []
        for node in self.graph.node:
            table = self.constants.get(node.input[0]) if node.op_type == "Gather" else None
            if table is None or len(table.dims) != 2 or np.prod(table.dims) < TABLE_MIN_ELEMENTS:
                continue
            name, ids, output = node.input[0], node.input[1], node.output[0]
            values = self.constant(name)
            scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
            codes = self.add_constant(f"{name}/int8", np.rint(values / scales).astype(np.int8))
            rows = self.add_constant(f"{name}/scale", scales)
            self.instead[output] = [
                helper.make_node("Gather", [codes, ids], [f"{output}/codes"]),
                helper.make_node("Cast", [f"{output}/codes"], [f"{output}/float"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Gather", [rows, ids], [f"{output}/scales"]),
                helper.make_node("Mul", [f"{output}/float", f"{output}/scales"], [output]),
            ]
            tables.append(name)
        return tables

    def finish(self) -> None:
        """Write the collected nodes and the constants still in use into the graph."""
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            nodes.extend(self.instead.get(node.output[0], [node]))
        used = {name for node in nodes for name in node.input}
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.initializer[:]
        self.graph.initializer.extend(constant for name, constant in self.constants.items() if name in used)
