"""The attention of an encoder as one node, ``MultiHeadAttention`` of ONNX Runtime, with the mask as its own input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from modeling.export.wiring import BATCHES, Wiring, attribute, rewrite

MASKED = -10_000.0
# Operators that may compute the sizes of a Reshape, from shapes of tensors and constants. With comparisons or divisions
# among them, the layout could be another for longer texts.
SIZES = frozenset(["Concat", "Unsqueeze", "Squeeze", "Gather", "Slice", "Cast", "Identity"])
# Operators that may turn the padding mask into the mask of the scores, and how many of their inputs are values rather
# than shapes or axes. A sliding window or a causal mask would need operators for positions.
MASKING = {
    "Unsqueeze": 1,
    "Cast": 1,
    "Reshape": 1,
    "Expand": 1,
    "Identity": 1,
    "Sub": 2,
    "Mul": 2,
    "Equal": 2,
    "Not": 1,
}


@dataclass(frozen=True)
class _Attention:
    """The names of the inputs and the output of one attention, ``[texts, tokens, channels]`` each."""

    query: str
    key: str
    value: str
    output: str
    heads: int
    scale: float


def fuse_attention(model: onnx.ModelProto, mask: str | None) -> int:
    """Replace every attention that masks only the padding; returns the number of attentions replaced."""
    if mask is None:
        return 0
    wiring = Wiring(model, mask)
    found = [match for node in model.graph.node if (match := _match(wiring, node))]
    if not found:
        return 0
    nodes = [helper.make_node("Cast", [mask], [f"{mask}/int32"], to=onnx.TensorProto.INT32)]
    for match in found:
        nodes.append(
            helper.make_node(
                "MultiHeadAttention",
                [match.query, match.key, match.value, "", f"{mask}/int32"],
                [match.output],
                name=f"{match.output}/attention",
                domain="com.microsoft",
                num_heads=match.heads,
                scale=match.scale,
                mask_filter_value=MASKED,
            )
        )
    rewrite(model.graph, nodes, {})
    return len(found)


def _match(wiring: Wiring, softmax: onnx.NodeProto) -> _Attention | None:
    """The attention around a softmax, if it masks only the padding and its heads are parts of the channels."""
    if softmax.op_type != "Softmax" or attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    scores = _masked_scores(wiring, softmax.input[0])
    if scores is None:
        return None
    scores, scale = _scaled(wiring, scores)
    product = wiring.produced(scores, "MatMul")
    mix = wiring.only_reader(softmax.output[0], "MatMul")
    if product is None or mix is None:
        return None
    first, by_query = _scaled(wiring, product.input[0])
    second, by_key = _scaled(wiring, product.input[1])
    query = _heads(wiring, first, [0, 2, 1, 3])
    key = _heads(wiring, second, [0, 2, 3, 1])
    value = _heads(wiring, mix.input[1], [0, 2, 1, 3])
    back = wiring.only_reader(mix.output[0], "Transpose")
    output = _joined(wiring, back)
    if query is None or key is None or value is None or output is None:
        return None
    heads = {wiring.values(name)[0].shape[1] for name in (first, second, mix.input[1])}
    if len(heads) != 1:
        return None
    return _Attention(query, key, value, output, heads.pop(), scale * by_query * by_key)


def _scaled(wiring: Wiring, name: str) -> tuple[str, float]:
    """The tensor before it was multiplied or divided by a constant, and the factor: 1.0 without such a constant."""
    for operator in ("Mul", "Div"):
        if node := wiring.produced(name, operator):
            number = wiring.constant(node.input[1])
            if number is not None and number.size == 1:
                return node.input[0], float(number.item()) if operator == "Mul" else 1 / float(number.item())
    return name, 1.0


def _masked_scores(wiring: Wiring, name: str) -> str | None:
    """The scores before a padding mask was added to them, or replaced some of them."""
    if node := wiring.produced(name, "Add"):
        for scores, added in (tuple(node.input), tuple(reversed(node.input))):
            if _hides_padding(wiring, added, 0.0):
                return str(scores)
    if node := wiring.produced(name, "Where"):
        condition, low, scores = node.input
        number = wiring.constant(low)
        if number is not None and number.size == 1 and number.item() <= MASKED and _hides_padding(wiring, condition, 0):
            return str(scores)
    return None


def _hides_padding(wiring: Wiring, name: str, kept: float) -> bool:
    """Whether a tensor is ``kept`` at the tokens of the text, and true, or at most MASKED, at the padding."""
    if not _only_from_mask(wiring, name):
        return False
    for feeds, value in zip(wiring.feeds, wiring.values(name), strict=True):
        tokens = feeds[wiring.mask or ""].astype(bool)[:, None, None, :]
        if value.ndim != 4 or value.shape[0] != tokens.shape[0] or value.shape[3] != tokens.shape[3]:
            return False
        hidden = value if value.dtype == bool else value <= MASKED
        if not np.array_equal(np.broadcast_to(~tokens, value.shape), hidden):
            return False
        if not np.all(value[~hidden] == kept):
            return False
    return True


def _only_from_mask(wiring: Wiring, name: str) -> bool:
    """Whether a tensor is computed from the attention mask and constants alone."""
    waiting, masked = [name], False
    while waiting:
        name = waiting.pop()
        if name == wiring.mask:
            masked = True
        elif wiring.constant(name) is None:
            node = wiring.producers.get(name)
            if node is None or node.op_type not in MASKING:
                return False
            waiting.extend(node.input[: MASKING[node.op_type]])
    return masked


def _heads(wiring: Wiring, name: str, order: list[int]) -> str | None:
    """The tensor ``[texts, tokens, channels]`` whose heads ``name`` has, transposed to ``order``."""
    found = list(range(4))
    while node := wiring.produced(name, "Transpose"):
        found = [attribute(node, "perm")[axis] for axis in found]
        name = node.input[0]
    reshape = wiring.produced(name, "Reshape")
    if reshape is None or found != order or not _is_plain(wiring, reshape.input[1]):
        return None
    source = str(reshape.input[0])
    if not wiring.is_per_token(source):
        return None
    for (texts, tokens), value in zip(BATCHES, wiring.values(name), strict=True):
        if value.ndim != 4 or value.shape[:2] != (texts, tokens):
            return None
    return source


def _joined(wiring: Wiring, transpose: onnx.NodeProto | None) -> str | None:
    """The tensor ``[texts, tokens, channels]`` with the results of all heads side by side."""
    if transpose is None or list(attribute(transpose, "perm")) != [0, 2, 1, 3]:
        return None
    reshapes = [wiring.produced(reader, "Reshape") for reader, index in wiring.uses(transpose.output[0]) if index == 0]
    found = [node for node in reshapes if node is not None]
    if len(found) != 1 or not _is_plain(wiring, found[0].input[1]) or not wiring.is_per_token(found[0].output[0]):
        return None
    return str(found[0].output[0])


def _is_plain(wiring: Wiring, sizes: str) -> bool:
    """Whether the sizes of a Reshape come only from constants and the shapes of other tensors."""
    waiting = [sizes]
    while waiting:
        name = waiting.pop()
        if wiring.constant(name) is None:
            node = wiring.producers.get(name)
            if node is None or node.op_type not in SIZES | {"Shape"}:
                return False
            if node.op_type != "Shape":
                waiting.extend(node.input)
    return True
