"""The worst bodies that fit into the limit of a body, unpacked: many small things, deep things, and long things.

Each is built from a few bytes and compresses to a few kilobytes.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from textserve.grpc.inference_pb2 import InferTensorContents, ModelInferRequest

MODEL = "sentiment-pl-en"
INFER = f"/v2/models/{MODEL}/infer"
# The default of TEXTSERVE_MAX_BODY_BYTES.
LIMIT = 4_194_304
# The default of TEXTSERVE_MAX_CHARACTERS.
CHARACTERS = 20_000
INPUT = '{"name":"text","datatype":"BYTES","shape":[1],"data":["a"]}'


@dataclass(frozen=True)
class Body:
    """A body of ``POST path``, in gzip."""

    path: str
    packed: bytes


def _filled(start: str, repeated: str, end: str) -> str:
    """``start``, then ``repeated`` with commas between as often as the limit has room, then ``end``."""
    count = (LIMIT - len(start) - len(end) + 1) // (len(repeated) + 1)
    return start + ",".join(itertools.repeat(repeated, count)) + end


def _keys(start: str, end: str) -> str:
    """An object with half a million keys that nobody knows."""
    count = (LIMIT - len(start) - len(end)) // len('"00000":1,')
    return start + ",".join(f'"{number:05x}":1' for number in range(count)) + end


def _nested() -> str:
    depth = LIMIT // 2 - 10
    return '{"texts":' + "[" * depth + "]" * depth + "}"


def json_bodies() -> Iterator[tuple[str, Body]]:
    """Names and bodies in JSON, each just within the limit."""
    text = '{"texts":["a"],'
    contents = {
        "texts that are numbers": ("/classify", _filled('{"texts":[', "1", "]}")),
        "a million texts": ("/classify", _filled('{"texts":[', '"a"', "]}")),
        "unknown keys": ("/classify", _keys(text, "}")),
        "lists in lists": ("/classify", _nested()),
        "empty lists": ("/classify", _filled('{"texts":[', "[]", "]}")),
        "a number of 4 MB": ("/classify", text + '"x":' + "1" * (LIMIT - 30) + "}"),
        "a text of 4 MB": ("/classify", '{"texts":["' + "a" * (LIMIT - 20) + '"]}'),
        "a text to explain that is a list": ("/explain", _filled('{"text":[', "1", "]}")),
        "inputs of Hugging Face": ("/", _filled('{"inputs":[', "1", "]}")),
        "batches of TEI": ("/predict", _filled('{"inputs":[', '["a"]', "]}")),
        "empty batches of TEI": ("/predict", _filled('{"inputs":[', "[]", "]}")),
        "inputs of OIP": (INFER, _filled('{"inputs":[', "1", "]}")),
        "empty inputs of OIP": (INFER, _filled('{"inputs":[', "{}", "]}")),
        "data of OIP": (INFER, _filled('{"inputs":[' + INPUT[: -len('"a"]}')], "1", "]}]}")),
        "a shape of OIP": (INFER, _filled('{"inputs":[' + INPUT.replace('1],"data":["a"]}', ""), "1", "]}]}")),
        "outputs of OIP": (INFER, _filled('{"inputs":[' + INPUT + '],"outputs":[', "1", "]}")),
        "empty outputs of OIP": (INFER, _filled('{"inputs":[' + INPUT + '],"outputs":[', "{}", "]}")),
        "parameters of OIP": (INFER, _keys('{"inputs":[' + INPUT + '],"parameters":{', "}}")),
    }
    for name, (path, content) in contents.items():
        yield name, Body(path, gzip.compress(content.encode(), 6))


def explained_long_words() -> Body:
    """A text to explain whose 200 words of 98 letters make 200 texts of 20,000 characters."""
    return _packed("/explain", {"text": " ".join("xqjk"[number % 4] * 98 for number in range(200))})


def explained_short_words() -> Body:
    """A text to explain with as many words as the limit allows, and short: its cost is the model's."""
    return _packed("/explain", {"text": " ".join(["no"] * 200)})


def long_texts() -> Body:
    """200 texts of 20,000 characters, of which the model reads the first few hundred."""
    return _packed("/classify", {"texts": ["qjxk " * (CHARACTERS // 5)] * 200})


def _packed(path: str, content: object) -> Body:
    return Body(path, gzip.compress(json.dumps(content).encode()))


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def grpc_messages() -> Iterator[tuple[str, bytes]]:
    """Names and messages of ``ModelInfer``, each just within the limit: two million empty elements, mostly."""
    tensor = ModelInferRequest.InferInputTensor
    named = ModelInferRequest(model_name=MODEL).SerializeToString()
    valid = tensor(
        name="text", datatype="BYTES", shape=[1], contents=InferTensorContents(bytes_contents=[b"a"])
    ).SerializeToString()
    whole = named + _field(5, valid)
    room = LIMIT - len(whole) - 100
    yield "gRPC inputs", named + _field(5, b"") * (room // 2)
    yield "gRPC outputs", whole + _field(6, b"") * (room // 2)
    yield "gRPC parameters", whole + _field(4, b"") * (room // 2)
    yield "gRPC raw contents", named + _field(5, b"") + _field(7, b"") * (room // 2)
    yield "gRPC bytes_contents", named + _field(5, valid + _field(5, _field(8, b"") * (room // 2)))
    yield "gRPC shape", named + _field(5, _field(3, b"\1" * room))


def unfinished_message() -> bytes:
    """Just less than the whole of a message of 4 MB, after its length."""
    message = ModelInferRequest(model_name=MODEL, raw_input_contents=[b"a" * (LIMIT - 1000)]).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message[:-1]


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content
