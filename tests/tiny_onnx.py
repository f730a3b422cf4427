"""Tiny models whose answers are known, without torch or onnx: a logit is a sum of the weights of words.

    BENTOML_HOME=… python -m tests.tiny_onnx FOLDER …

saves the models of the folders in the model store. A graph is written as protobuf's wire format has it, with the field
numbers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from textserve.bento.store import create_model
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE
from textserve.spec import SPEC_FILE, STORED_FOLDER, ModelSpec

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
FLOAT, INT64, INT = 1, 7, 2
GRAPH = {"token_type_ids": "token_type_ids"}
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def write(folder: Path, spec: ModelSpec, bias: Sequence[float], *weights: Mapping[str, Sequence[float]]) -> None:
    """Write a model into ``folder``: logits are the sum of ``bias`` and of the ``weights`` of all words of a text.

    ``weights`` has the words of the first text, and those of the second text of a pair, with a weight for each label.
    """
    words = sorted({word for part in weights for word in part})
    vocabulary = [*SPECIAL, *words]
    table = np.zeros((2, len(vocabulary), len(spec.labels)), dtype=np.float32)
    for part, of_words in enumerate(weights):
        for word, of_labels in of_words.items():
            table[part, vocabulary.index(word)] = of_labels
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(_model(table, np.array(bias, dtype=np.float32)))
    _tokenizer(vocabulary).save(str(folder / TOKENIZER_FILE))
    content = spec.model_dump(mode="json", exclude_none=True)
    (folder / SPEC_FILE).write_text(yaml.safe_dump(content), encoding="utf-8")


def _tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _model(table: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> bytes:
    """An ONNX model that sums the rows of ``table``, ``[2, words, labels]``, by type id and token id."""
    _, words, labels = table.shape
    constants: dict[str, npt.NDArray[Any]] = {
        "table": table.reshape(-1, labels),
        "bias": bias,
        "words": np.array(words, dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
    }
    nodes = [
        _node("Mul", ["token_type_ids", "words"], "offsets"),
        _node("Add", ["input_ids", "offsets"], "indices"),
        _node("Gather", ["table", "indices"], "rows"),
        _node("Cast", ["attention_mask"], "mask", to=FLOAT),
        _node("Unsqueeze", ["mask", "last"], "column"),
        _node("Mul", ["rows", "column"], "weights"),
        _node("ReduceSum", ["weights", "tokens"], "sum", keepdims=0),
        _node("Add", ["sum", "bias"], "logits"),
    ]
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"tiny"),
            *(_field(5, _tensor(name, value)) for name, value in constants.items()),
            *(_field(11, _value(name, INT64, ["batch", "length"])) for name in INPUTS),
            _field(12, _value("logits", FLOAT, ["batch", labels])),
        ]
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    found = (_field(1, name.encode()) + _field(3, value) + _field(20, INT) for name, value in attributes.items())
    return names + _field(2, output.encode()) + _field(4, kind.encode()) + b"".join(_field(5, each) for each in found)


def _tensor(name: str, value: npt.NDArray[Any]) -> bytes:
    dimensions = b"".join(_field(1, size) for size in value.shape)
    kind = FLOAT if value.dtype == np.float32 else INT64
    return dimensions + _field(2, kind) + _field(8, name.encode()) + _field(9, value.tobytes())


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = (_field(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in shape)
    tensor = _field(1, kind) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        with create_model(f"{ModelSpec.load(folder).name}:1", labels={}, metadata={}) as model:
            shutil.copytree(folder, model / STORED_FOLDER)
