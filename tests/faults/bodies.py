"""The worst bodies that fit into the limit of a body, unpacked: many small things, deep things, and long things.

Each is built from a few bytes and compresses to a few kilobytes.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

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


# By name: the path, and what builds the content.
JSON: Mapping[str, tuple[str, Callable[[], str]]] = {
    "texts that are numbers": ("/classify", lambda: _filled('{"texts":[', "1", "]}")),
    "a million texts": ("/classify", lambda: _filled('{"texts":[', '"a"', "]}")),
    "unknown keys": ("/classify", lambda: _keys('{"texts":["a"],', "}")),
    "lists in lists": ("/classify", _nested),
    "empty lists": ("/classify", lambda: _filled('{"texts":[', "[]", "]}")),
    "a number of 4 MB": ("/classify", lambda: '{"texts":["a"],"x":' + "1" * (LIMIT - 30) + "}"),
    "a text of 4 MB": ("/classify", lambda: '{"texts":["' + "a" * (LIMIT - 20) + '"]}'),
    "a text to explain that is a list": ("/explain", lambda: _filled('{"text":[', "1", "]}")),
    "inputs of Hugging Face": ("/", lambda: _filled('{"inputs":[', "1", "]}")),
    "batches of TEI": ("/predict", lambda: _filled('{"inputs":[', '["a"]', "]}")),
    "empty batches of TEI": ("/predict", lambda: _filled('{"inputs":[', "[]", "]}")),
    "inputs of OIP": (INFER, lambda: _filled('{"inputs":[', "1", "]}")),
    "empty inputs of OIP": (INFER, lambda: _filled('{"inputs":[', "{}", "]}")),
    "data of OIP": (INFER, lambda: _filled('{"inputs":[' + INPUT.removesuffix('"a"]}'), "1", "]}]}")),
    "a shape of OIP": (INFER, lambda: _filled('{"inputs":[' + INPUT.removesuffix('1],"data":["a"]}'), "1", "]}]}")),
    "outputs of OIP": (INFER, lambda: _filled('{"inputs":[' + INPUT + '],"outputs":[', "1", "]}")),
    "empty outputs of OIP": (INFER, lambda: _filled('{"inputs":[' + INPUT + '],"outputs":[', "{}", "]}")),
    "parameters of OIP": (INFER, lambda: _keys('{"inputs":[' + INPUT + '],"parameters":{', "}}")),
}


@cache
def worst_json(name: str) -> Body:
    """A body of ``JSON``, just within the limit."""
    path, content = JSON[name]
    return Body(path, gzip.compress(content().encode(), 6))


def explained_long_words() -> Body:
    """A text to explain whose 200 words of 98 letters make 200 texts of 20,000 characters."""
    return _packed("/explain", {"text": " ".join("xqjk"[number % 4] * 98 for number in range(200))})


def explained_short_words() -> Body:
    """A text to explain with as many words as the limit allows, and short: its cost is the model's."""
    # Without any of them, the text is another one: equal ones would be computed once.
    return _packed(
        "/explain", {"text": " ".join(f"{'abcdefghij'[number % 10]}{number // 10}" for number in range(200))}
    )


def long_texts() -> Body:
    """200 texts of 20,000 characters, of which the model reads the first few hundred."""
    # No two are equal: those would be computed once.
    return _packed("/classify", {"texts": [f"{number:4} {'qjxk ' * (CHARACTERS // 5 - 1)}" for number in range(200)]})


def _packed(path: str, content: object) -> Body:
    return Body(path, gzip.compress(json.dumps(content).encode()))


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


_NAME = _field(1, MODEL.encode())
# A valid input: its name, its datatype, its shape, and contents with one text.
_INPUT = _field(1, b"text") + _field(2, b"BYTES") + _field(3, b"\1")
_WHOLE = _NAME + _field(5, _INPUT + _field(5, _field(8, b"a")))
# Empty elements have two bytes.
_COUNT = (LIMIT - len(_WHOLE) - 100) // 2
# By name, what builds a message of ``ModelInfer``, just within the limit. The numbers are those of inference.proto.
MESSAGES: Mapping[str, Callable[[], bytes]] = {
    "gRPC inputs": lambda: _NAME + _field(5, b"") * _COUNT,
    "gRPC outputs": lambda: _WHOLE + _field(6, b"") * _COUNT,
    "gRPC parameters": lambda: _WHOLE + _field(4, b"") * _COUNT,
    "gRPC raw contents": lambda: _NAME + _field(5, _INPUT) + _field(7, b"") * _COUNT,
    "gRPC bytes_contents": lambda: _NAME + _field(5, _INPUT + _field(5, _field(8, b"") * _COUNT)),
    "gRPC shape": lambda: _NAME + _field(5, _INPUT + _field(3, b"\1" * (2 * _COUNT))),
}


def unfinished_message() -> bytes:
    """A message of nearly 4 MB with its length before it, less its last byte."""
    message = _WHOLE + _field(7, b"a" * (LIMIT - len(_WHOLE) - 100))
    return b"\0" + len(message).to_bytes(4, "big") + message[:-1]
