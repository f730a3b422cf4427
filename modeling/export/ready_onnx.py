"""A ready ONNX file: the upgrade to the opset that quantization needs, and its reference answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import version_converter
from tqdm import tqdm

from modeling.errors import ModelingError
from modeling.spec import ModelSpec
from textserve.classifier import batch_feeds, open_session, softmax


def upgrade(spec: ModelSpec, file: Path, to: Path) -> None:
    """Write the graph of ``file`` to ``to`` at the opset of the spec, or at its own if that is higher.

    Raises:
        ModelingError: if it is not an ONNX graph, or an operator cannot be converted.
    """
    try:
        model = onnx.load(file)
        (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        if opset < spec.export.opset:
            model = version_converter.convert_version(model, spec.export.opset)
        onnx.save(model, to)
    except Exception as error:  # protobuf and the converter raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelingError(
            f"{file}: cannot be converted to opset {spec.export.opset}: {reason}; lower export.opset in the spec "
            "(quantization needs at least 10)"
        ) from error


def token_rows(spec: ModelSpec, file: Path) -> int | None:
    """Rows of the token embedding table; None if the graph does not look it up with ``Gather``."""
    graph = onnx.load(file).graph
    shapes = {constant.name: constant.dims for constant in graph.initializer}
    ids = {spec.graph.input_ids}
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in ids:
            ids.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in ids and node.input[0] in shapes:
            return int(shapes[node.input[0]][0])
    return None


def probabilities(spec: ModelSpec, file: Path, ids: list[list[int]]) -> npt.NDArray[np.float32]:
    """Probabilities by the unconverted file, one text at a time, shape ``[len(ids), labels]``.

    Raises:
        ModelingError: if ONNX Runtime cannot load it, or its inputs and outputs are not those of the spec.
    """
    try:
        session = open_session(file)
        rows = [
            session.run([spec.graph.logits], batch_feeds(spec, [text]))[0]
            for text in tqdm(ids, desc="source", unit="text")
        ]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelingError(f"{file}: does not run with the names of the spec's graph section: {error}") from error
    return softmax(np.concatenate(rows))
