"""The linear layers of an ONNX graph, and their replacement by 8-bit layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from modeling.export.rounding import ActivationPlan

Array = npt.NDArray[Any]

TABLE_MIN_ELEMENTS = 100_000


@dataclass(frozen=True)
class Linear:
    """A linear layer of the graph: a ``MatMul`` node and, if it has a bias, the ``Add``; or a ``Gemm`` node."""

    matmul: onnx.NodeProto
    bias_add: onnx.NodeProto | None
    bias_name: str | None
    transposed: bool = False

    @property
    def source(self) -> str:
        """Name of the input tensor; layers with the same input share its quantization."""
        return str(self.matmul.input[0])

    @property
    def output(self) -> str:
        """Name of the output tensor, after the bias."""
        return str((self.bias_add or self.matmul).output[0])


def share_constants(graph: onnx.GraphProto) -> None:
    """Let layers that share a constant read it directly: the export gives all but the first an ``Identity`` of it."""
    constants = {constant.name for constant in graph.initializer}
    names = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in constants
    }
    kept = [node for node in graph.node if node.output[0] not in names]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)


def find_linears(graph: onnx.GraphProto) -> list[Linear]:
    """The linear layers of ``graph`` in order: each product of an activation and a constant matrix, with its bias.

    Left out are the last layer, if its output is one row per text, since it decides the answer and costs little even
    where it is computed for every token (as in GPT-2), and products that do not depend on the text (the positions of
    DeBERTa), which ONNX Runtime computes once, when it loads the graph.
    """
    constants = {constant.name: constant for constant in graph.initializer}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    depending = {declared.name for declared in graph.input}
    linears = []
    for node in graph.node:
        if not depending.isdisjoint(node.input):
            depending.update(node.output)
            if linear := _linear(node, constants, consumers.get(node.output[0], [])):
                linears.append(linear)
    answers = _answers(graph, {linear.output for linear in linears})
    return [linear for linear in linears if linear.output not in answers]


def _linear(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], readers: list[onnx.NodeProto]
) -> Linear | None:
    weight = constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
    if weight is None or not _is_matrix(weight):
        return None
    if node.op_type == "MatMul":
        bias_add, bias_name = None, None
        if len(readers) == 1 and readers[0].op_type == "Add":
            names = [name for name in readers[0].input if name in constants and len(constants[name].dims) == 1]
            bias_add, bias_name = (readers[0], names[0]) if names else (None, None)
        return Linear(node, bias_add, bias_name)
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA", 0) or (settings.get("alpha", 1.0), settings.get("beta", 1.0)) != (1.0, 1.0):
        return None
    bias_name = node.input[2] if len(node.input) > 2 else None
    transposed = bool(settings.get("transB", 0))
    outputs = weight.dims[0 if transposed else 1]
    if bias_name and list(constants.get(bias_name, onnx.TensorProto()).dims) != [outputs]:
        return None
    return Linear(node, None, bias_name, transposed)


def _is_matrix(constant: onnx.TensorProto) -> bool:
    return bool(constant.data_type == onnx.TensorProto.FLOAT and len(constant.dims) == 2)


def _answers(graph: onnx.GraphProto, linears: Iterable[str]) -> set[str]:
    """The outputs of the last ``linears`` before the answer, if the answer is one row per text: ``[texts, labels]``."""
    (answer,) = graph.output
    if len(answer.type.tensor_type.shape.dim) != 2:
        return set()
    producers = {output: node for node in graph.node for output in node.output}
    known, found, seen, waiting = set(linears), set(), set(), [answer.name]
    while waiting:
        name = waiting.pop()
        if name in known:
            found.add(name)
        elif name in producers and name not in seen:
            seen.add(name)
            waiting.extend(producers[name].input)
    return found


class GraphEditor:
    """Collects replacements of nodes and constants; :meth:`finish` applies them to the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.instead: dict[str, list[onnx.NodeProto]] = {}

    def constant(self, name: str) -> Array:
        """The value of the constant ``name``."""
        value: Array = numpy_helper.to_array(self.constants[name])
        return value

    def weight(self, linear: Linear) -> Array:
        """The matrix of a layer, float32 ``[K, N]``: from K channels to N outputs."""
        weight = self.constant(linear.matmul.input[1])
        return weight.T if linear.transposed else weight

    def add_constant(self, name: str, value: Array) -> str:
        """Add ``value`` as a constant, and return its name."""
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
        """Replace a layer by the product of its quantized activation; see :meth:`quantize_activation`."""
        # Named by layer, not by weight: layers that share a weight have their own scales.
        name = linear.matmul.output[0]
        inside = f"{linear.output}/inside" if len(outlier_weight) else linear.output
        inputs = [
            f"{linear.source}/int8",
            self.add_constant(f"{name}/weight/int8", codes),
            f"{linear.source}/scale",
            self.add_constant(f"{name}/weight/scale", weight_scale),
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
            if table is None or not _is_matrix(table) or np.prod(table.dims) < TABLE_MIN_ELEMENTS:
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
