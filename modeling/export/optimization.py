"""A faster graph with the same answers, after :mod:`modeling.export.quantization`.

Four passes, each of which changes only what matches its pattern:

1. **Attention** (:func:`fuse_attention`): the heads of an encoder, with their transposes and masked softmax, become one
   ``MultiHeadAttention`` that reads the attention mask itself. Not applied where positions are relative or rotary,
   where heads share keys, or where more than the padding is masked (causal, or a window).
2. **Smoothing of the context** (:func:`fold_smoothing`): the factors by which the quantizer multiplies the result of an
   attention go into the projection of its values, since each channel of the result is a mean of the same
   channel of the values. Answers change only by rounding.
3. **The pooled token** (:func:`pool_early`): where only the first or last token of the last layer is read, everything
   after the last keys and values is computed for that token alone. Not applied where the mean is read, or a token
   whose index depends on the text.
4. **Query, key and value** (:func:`merge_projections`): all projections of one tensor that a fused attention reads
   become one INT8 product, and one product of the outlier channels.

The result uses ONNX Runtime's operators of the domain ``com.microsoft``, as the quantized graph does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from modeling.export.attention import fuse_attention
from modeling.export.wiring import Array, Wiring, attribute, copied, rewrite

# Each row of the result depends on the same row of the inputs alone.
ELEMENTWISE = frozenset(
    ("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Relu", "Gelu", "Sigmoid", "Sqrt", "Neg", "Cast", "Identity")
)
MICROSOFT = "com.microsoft"


def optimize(model: onnx.ModelProto, attention_mask: str | None) -> tuple[onnx.ModelProto, dict[str, int]]:
    """A copy of the quantized ``model`` after every pass that applies, and how much each changed.

    The counts are the ``attentions`` fused, ``folded_factors`` of attentions, ``pooled_nodes`` computed for one token,
    and ``merged_linears``: all 0 if no pass applies.

    Args:
        model: a graph of int64 inputs ``[texts, tokens]``, the first of which are token ids.
        attention_mask: the name of its attention mask, if it has one.
    """
    optimized = onnx.ModelProto()
    optimized.CopyFrom(model)
    passes = {
        "attentions": fuse_attention,
        "folded_factors": fold_smoothing,
        "pooled_nodes": pool_early,
        "merged_linears": merge_projections,
    }
    if not _can_rewrite(model.graph):
        return optimized, dict.fromkeys(passes, 0)
    changed = {name: apply(optimized, attention_mask) for name, apply in passes.items()}
    if any(changed.values()) and not any(opset.domain == MICROSOFT for opset in optimized.opset_import):
        optimized.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    onnx.checker.check_model(optimized)
    return optimized, changed


def _can_rewrite(graph: onnx.GraphProto) -> bool:
    """Whether all inputs are int64 ``[texts, tokens]`` of free sizes, and no node has a subgraph."""
    types = [declared.type.tensor_type for declared in graph.input]
    free = all(
        kind.elem_type == onnx.TensorProto.INT64
        and len(kind.shape.dim) == 2
        and not any(dim.HasField("dim_value") for dim in kind.shape.dim)
        for kind in types
    )
    nested = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return free and not any(given.type in nested for node in graph.node for given in node.attribute)


def fold_smoothing(model: onnx.ModelProto, mask: str | None) -> int:
    """Multiply the values of an attention by the factors of its result; returns the number of attentions changed."""
    wiring = Wiring(model, mask)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    folded = 0
    for node in model.graph.node:
        smoothed = wiring.only_reader(node.output[0], "Mul") if node.op_type == "MultiHeadAttention" else None
        factors = wiring.constant(smoothed.input[1]) if smoothed else None
        value = _projection(wiring, node.input[2]) if smoothed else None
        if smoothed is None or factors is None or value is None:
            continue
        if factors.shape != wiring.values(value.product.input[3])[0].shape:
            continue
        nodes.append(_multiplied(wiring, value.product, (3, 6), factors, constants))
        if value.outside:
            nodes.append(_multiplied(wiring, value.outside, (1,), factors, constants))
        attention = copied(node)
        attention.output[0] = smoothed.output[0]
        nodes.append(attention)
        folded += 1
    if folded:
        rewrite(model.graph, nodes, constants)
    return folded


def _multiplied(
    wiring: Wiring, node: onnx.NodeProto, inputs: tuple[int, ...], factors: Array, constants: dict[str, Array]
) -> onnx.NodeProto:
    """A copy of ``node`` whose constant ``inputs`` are multiplied by ``factors``, one per column."""
    node = copied(node)
    for index in inputs:
        name = f"{node.input[index]}/smoothed"
        constants[name] = wiring.values(node.input[index])[0] * factors
        node.input[index] = name
    return node


def pool_early(model: onnx.ModelProto, mask: str | None) -> int:
    """Compute the nodes that lead only to the pooled token for that token alone; returns their number."""
    wiring = Wiring(model, mask)
    tokens = {node.output[0]: token for node in model.graph.node if (token := _pooled_token(wiring, node)) is not None}
    if len(set(tokens.values())) != 1:
        return 0
    (token,) = set(tokens.values())
    # By a node's first output: the inputs of which it reads one row. The nodes that pick the token find only that row.
    narrowed = {output: [0] for output in tokens}
    for node in reversed(model.graph.node):
        rows = _rows(wiring, node)
        uses = [use for name in node.output for use in wiring.uses(name)]
        if rows and uses and all(index in narrowed.get(reader, []) for reader, index in uses):
            narrowed[node.output[0]] = rows
    if len(narrowed) == len(tokens):
        return 0
    nodes: dict[str, onnx.NodeProto] = {}
    for output, rows in narrowed.items():
        node = copied(wiring.producers[output])
        for index in rows:
            name = node.input[index]
            if name in wiring.producers and wiring.producers[name].output[0] in narrowed:
                continue
            node.input[index] = f"{name}/pooled"
            nodes[f"{name}/pooled"] = helper.make_node("Gather", [name, "pooled_token"], [f"{name}/pooled"], axis=1)
        nodes[output] = node
    rewrite(model.graph, list(nodes.values()), {"pooled_token": np.array([token], np.int64)})
    return len(narrowed) - len(tokens)


def _pooled_token(wiring: Wiring, node: onnx.NodeProto) -> int | None:
    """0 or -1 if ``node`` picks the first or last token of every text; of a single token, both pick it."""
    if node.op_type != "Gather" or attribute(node, "axis", 0) != 1 or node.input[0] in wiring.constants:
        return None
    index = wiring.constant(node.input[1])
    if index is None or index.ndim or int(index) not in (0, -1) or not wiring.is_per_token(node.input[0]):
        return None
    return int(index)


def _rows(wiring: Wiring, node: onnx.NodeProto) -> list[int]:
    """Indices of the inputs that ``node`` reads token by token; none if a row of its result depends on other rows."""
    if not wiring.is_per_token(node.output[0]):
        return []
    ranks = [wiring.values(name)[0].ndim if name else 0 for name in node.input]
    operator = node.op_type
    if operator in ELEMENTWISE:
        rows = [index for index, rank in enumerate(ranks) if rank > 1]
    elif operator == "LayerNormalization":
        rows = [0] if attribute(node, "axis", -1) in (-1, 2) and len(node.output) == 1 else []
    elif operator == "QuantizeLinear":
        rows = [0] if wiring.values(node.input[1])[0].size == 1 else []
    elif operator in ("MatMul", "MatMulIntegerToFloat"):
        rows = [0] if node.input[1] in wiring.constants and ranks[1] == 2 else []
    elif operator == "Gather":
        rows = [0] if attribute(node, "axis", 0) in (-1, 2) and ranks[1] == 1 else []
    elif operator == "MultiHeadAttention":
        # Each query has a result of its own; a bias, the sixth input, would have a row for each query.
        rows = [0] if len(node.input) <= 5 and len(node.output) == 1 else []
    else:
        rows = []
    return rows if all(wiring.is_per_token(node.input[index], broadcast=True) for index in rows) else []


@dataclass(frozen=True)
class _Projection:
    """A quantized linear layer whose ``output`` an attention reads."""

    product: onnx.NodeProto
    outside: onnx.NodeProto | None
    output: str


def merge_projections(model: onnx.ModelProto, mask: str | None) -> int:
    """Merge the projections of one tensor that one attention reads into one product; returns the number merged."""
    wiring = Wiring(model, mask)
    merged = 0
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    for node in model.graph.node:
        if node.op_type != "MultiHeadAttention":
            continue
        groups: dict[tuple[str, ...], list[_Projection]] = {}
        for name in dict.fromkeys(node.input[:3]):
            if found := _projection(wiring, name):
                shared = [*found.product.input[:1], found.product.input[2], found.product.input[4]]
                shared.append(found.outside.input[0] if found.outside else "")
                groups.setdefault(tuple(shared), []).append(found)
        for group in groups.values():
            if len(group) > 1:
                nodes.extend(_merge(wiring, group, constants))
                merged += len(group)
    if merged:
        rewrite(model.graph, nodes, constants)
    return merged


def _projection(wiring: Wiring, name: str) -> _Projection | None:
    outside = None
    inside = name
    if total := wiring.produced(name, "Add"):
        inside, other = total.input
        outside = wiring.produced(other, "MatMul")
        if outside is None or outside.input[1] not in wiring.constants:
            return None
    product = wiring.produced(inside, "MatMulIntegerToFloat")
    uses = [*wiring.uses(name), *(wiring.uses(inside) if outside else [])]
    constant = [1, 2, 3, 4, 6]
    if product is None or len(product.input) != 7 or product.input[5] or len(uses) != (2 if outside else 1):
        return None
    known = all(product.input[index] in wiring.constants for index in constant)
    return _Projection(product, outside, name) if known else None


def _merge(wiring: Wiring, group: list[_Projection], constants: dict[str, Array]) -> list[onnx.NodeProto]:
    name = f"{group[0].output}/merged"

    def columns(kind: str, names: list[str]) -> str:
        constants[f"{name}/{kind}"] = np.concatenate([wiring.values(part)[0] for part in names], axis=-1)
        return f"{name}/{kind}"

    first, outsides = group[0].product, [member.outside for member in group if member.outside]
    inputs = [
        first.input[0],
        columns("weight", [member.product.input[1] for member in group]),
        first.input[2],
        columns("weight_scale", [member.product.input[3] for member in group]),
        first.input[4],
        "",
        columns("bias", [member.product.input[6] for member in group]),
    ]
    inside = f"{name}/inside" if outsides else name
    nodes = [helper.make_node("MatMulIntegerToFloat", inputs, [inside], domain=MICROSOFT, name=f"{name}/int8")]
    if outsides:
        rows = columns("outlier_rows", [outside.input[1] for outside in outsides])
        nodes.append(helper.make_node("MatMul", [outsides[0].input[0], rows], [f"{name}/outside"]))
        nodes.append(helper.make_node("Add", [inside, f"{name}/outside"], [name]))
    widths = [wiring.values(member.product.input[1])[0].shape[1] for member in group]
    constants[f"{name}/widths"] = np.array(widths, np.int64)
    outputs = [member.output for member in group]
    nodes.append(helper.make_node("Split", [name, f"{name}/widths"], outputs, axis=-1))
    return nodes
