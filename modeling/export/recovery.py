"""Reads the weights of a quantized graph back into a float checkpoint, to train a model further without its source.

Codes times scales are the weights of an INT8 layer, up to half a rounding step; smoothing factors and the rows of the
outlier channels are folded back in. Corrections of the biases by the quantization stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from transformers import AutoModelForSequenceClassification

from modeling.errors import ModelingError
from modeling.export.loading import load_config, load_tokenizer

Array = npt.NDArray[Any]


def recover(model_file: Path, like: Path, output: Path) -> None:
    """Write a checkpoint with the weights of ``model_file``, and the configuration and tokenizer of ``like``.

    Raises :class:`ModelingError` if ``model_file`` is not a quantized graph of the network of ``like``.
    """
    try:
        found = weights_of(onnx.load(model_file))
    except (KeyError, IndexError, OSError, DecodeError) as error:
        raise ModelingError(f"{model_file}: is not a quantized graph of scripts/export.py: {error}") from error
    weights = {name: torch.from_numpy(np.array(value)) for name, value in found.items()}
    try:
        config = load_config(like, num_labels=len(weights["classifier.bias"]))
        network = AutoModelForSequenceClassification.from_config(config)
        network.load_state_dict(weights)
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise ModelingError(f"{model_file}: its weights do not fit the network of {like}: {error}") from error
    network.save_pretrained(output)
    load_tokenizer(like).save_pretrained(output)


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    """The parameters of a graph that the export wrote, by their names in the checkpoint."""
    graph = _Graph(model.graph)
    found = {name: value for name, value in graph.constants.items() if "/" not in name and value.dtype == np.float32}
    for node in model.graph.node:
        if node.op_type == "MatMulIntegerToFloat":
            for output, weight, bias in _layers(graph, node):
                layer = output.removesuffix("/Add_output_0").strip("/").replace("/", ".")
                found |= {f"{layer}.weight": weight.T, f"{layer}.bias": bias}
        elif node.op_type in ("LayerNormalization", "Gemm"):
            # Layers with equal constants share them under the name of one layer.
            layer = node.output[0].rpartition("/")[0].strip("/").replace("/", ".") or node.input[1].rpartition(".")[0]
            found |= {
                f"{layer}.weight": graph.constants[node.input[1]],
                f"{layer}.bias": graph.constants[node.input[2]],
            }
        elif node.op_type == "Gather" and node.input[0].endswith("/int8") and node.input[0] in graph.constants:
            table = node.input[0].removesuffix("/int8")
            found[table] = graph.constants[node.input[0]].astype(np.float32) * graph.constants[f"{table}/scale"]
    return found


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants: dict[str, Array] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.readers = {name: node for node in graph.node for name in node.input}

    def activation(self, name: str) -> onnx.NodeProto:
        """The node that produces ``name``, before the choice of the pooled token."""
        node = self.producers[name]
        return self.activation(node.input[0]) if name.endswith("/pooled") else node


def _layers(graph: _Graph, product: onnx.NodeProto) -> Iterator[tuple[str, Array, Array]]:
    """The layers of an INT8 product: their outputs, weights ``[K, N]`` and biases ``[N]``, in float32."""
    constants = graph.constants
    weight = constants[product.input[1]].astype(np.float32) * constants[product.input[3]]
    quantize = graph.activation(product.input[0])
    smooth = graph.producers.get(quantize.input[0])
    if smooth is not None and smooth.op_type == "Mul" and smooth.input[1] in constants:
        weight = weight * constants[smooth.input[1]][:, None]
    output = product.output[0]
    if output.endswith("/inside"):
        total = graph.readers[output]
        output, outside = total.output[0], graph.producers[total.input[1]]
        chosen = graph.activation(outside.input[0])
        weight[constants[chosen.input[1]]] = constants[outside.input[1]]
    bias = constants[product.input[6]]
    split = graph.readers.get(output)
    if split is None or split.op_type != "Split":
        yield output, weight, bias
        return
    start = 0
    for name, width in zip(split.output, constants[split.input[1]].tolist(), strict=True):
        yield name, weight[:, start : start + width], bias[start : start + width]
        start += width
