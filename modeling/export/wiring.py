"""Which nodes of an ONNX graph read which tensors, and the values of each tensor on two small batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

Array = npt.NDArray[Any]
Message = TypeVar("Message", onnx.NodeProto, onnx.TensorProto)

# Numbers of texts and tokens of the two batches, all different, so that shapes tell the axes apart.
BATCHES = ((2, 5), (3, 7))
# In every vocabulary, and in most not the padding token, from which RoBERTa would derive positions.
TOKEN_ID = 2


class Wiring:
    """An index of a graph for code that rewrites it; after each rewrite, make a new index.

    Nodes are known by their first output: protobuf gives no node an identity.
    """

    def __init__(self, model: onnx.ModelProto, mask: str | None) -> None:
        """Index ``model`` and compute its tensors on two batches, in which ``mask`` hides the end of the last text."""
        self.graph = model.graph
        self.mask = mask
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, index))
        self.constants = {constant.name: constant for constant in self.graph.initializer}
        self.feeds = [self._feeds(texts, tokens) for texts, tokens in BATCHES]
        self._values = self._compute(model)

    def _feeds(self, texts: int, tokens: int) -> dict[str, Array]:
        feeds = {declared.name: np.zeros((texts, tokens), np.int64) for declared in self.graph.input}
        feeds[self.graph.input[0].name] += TOKEN_ID
        if self.mask in feeds:
            feeds[self.mask] += 1
            feeds[self.mask][-1, tokens // 2 :] = 0
        return feeds

    def _compute(self, model: onnx.ModelProto) -> list[dict[str, Array]]:
        observed = onnx.ModelProto()
        observed.CopyFrom(model)
        del observed.graph.output[:]
        names = [name for name in self.producers if name]
        observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        constants = {name: numpy_helper.to_array(constant) for name, constant in self.constants.items()}
        return [constants | feeds | dict(zip(names, session.run(names, feeds), strict=True)) for feeds in self.feeds]

    def values(self, name: str) -> list[Array]:
        """The values of the tensor on both batches."""
        return [values[name] for values in self._values]

    def constant(self, name: str) -> Array | None:
        """The value of a constant of the graph, or ``None``."""
        node = self.producers.get(name)
        fixed = name in self.constants or (node is not None and node.op_type == "Constant")
        return self.values(name)[0] if fixed else None

    def produced(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node with this output, if it is an ``operator``."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == operator else None

    def uses(self, name: str) -> list[tuple[str, int]]:
        """The readers of the tensor: each node's first output and input index, ``("", 0)`` for a graph output."""
        found = [(node.output[0], index) for node, index in self.readers.get(name, [])]
        return found + [("", 0) for output in self.graph.output if output.name == name]

    def only_reader(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that alone reads the tensor as its first input, if it is an ``operator``."""
        uses = self.uses(name)
        return self.produced(uses[0][0], operator) if len(uses) == 1 and uses[0][1] == 0 else None

    def is_per_token(self, name: str, *, broadcast: bool = False) -> bool:
        """Whether the tensor is ``[texts, tokens, channels]``, or with ``broadcast`` 1 instead of the first two."""
        for (texts, tokens), value in zip(BATCHES, self.values(name), strict=True):
            expected = ({1, texts}, {1, tokens}) if broadcast else ({texts}, {tokens})
            if value.ndim != 3 or value.shape[0] not in expected[0] or value.shape[1] not in expected[1]:
                return False
        return True


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute of ``node``."""
    found = (onnx.helper.get_attribute_value(given) for given in node.attribute if given.name == name)
    return next(found, default)


def rewrite(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], constants: dict[str, Array]) -> None:
    """Replace the nodes with the same outputs by ``nodes``, drop nodes that lead to no output, and sort the nodes."""
    replaced = {name for node in nodes for name in node.output}
    kept = [node for node in graph.node if replaced.isdisjoint(node.output)]
    producers = {name: node for node in [*kept, *nodes] for name in node.output if name}
    ordered: list[onnx.NodeProto] = []
    seen: set[str] = set()
    # Depth first, without recursion: a path through the graph is longer than Python's stack.
    waiting = [(output.name, False) for output in reversed(graph.output)]
    while waiting:
        name, ready = waiting.pop()
        if name not in producers:
            continue
        node = producers[name]
        if ready:
            ordered.append(node)
        elif node.output[0] not in seen:
            seen.add(node.output[0])
            waiting.append((name, True))
            waiting.extend((source, False) for source in reversed(node.input))
    ordered = [copied(node) for node in ordered]
    used = {name for node in ordered for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    initializers = [copied(constant) for constant in graph.initializer if constant.name in used]
    del graph.node[:]
    graph.node.extend(ordered)
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    del graph.value_info[:]


def copied(message: Message) -> Message:
    """A copy of a node or constant, which stays valid when the graph is emptied."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
