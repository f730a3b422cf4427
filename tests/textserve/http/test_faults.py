"""Invalid requests and errors, in the format of each protocol over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.asgi import Serve
from textserve import errors, oip
from textserve.errors import EmptyInput, InputTooLong, InvalidRequest, TextserveError, TextTooLong, TooManyTexts
from textserve.http import explain, huggingface, native, tei
from textserve.http import oip as oip_http
from textserve.http.formats import read
from textserve.http.router import HttpProtocol

MODEL = "/v2/models/sentiment-pl-en"
ERRORS = TextserveError.__subclasses__()
# Status and error_type in the OpenAPI document of text-embeddings-inference.
TEI_ERRORS: dict[type[TextserveError], tuple[int, str]] = {
    errors.InvalidRequest: (422, "Validation"),
    errors.TextTooLong: (422, "Validation"),
    errors.InputTooLong: (422, "Validation"),
    errors.RequestTooLarge: (413, "Validation"),
    errors.EmptyInput: (400, "Empty"),
    errors.TooManyTexts: (413, "Validation"),
    errors.BodyTooLarge: (413, "Validation"),
    errors.ReceiveTimeout: (408, "Validation"),
    errors.UrlTooLong: (414, "Validation"),
    errors.HeadTooLarge: (431, "Validation"),
    errors.Overloaded: (429, "Overloaded"),
    errors.Internal: (424, "Backend"),
    errors.DeadlineExceeded: (424, "Backend"),
    errors.NotReady: (503, "Unhealthy"),
    errors.ShuttingDown: (503, "Unhealthy"),
    errors.Unauthorized: (401, "Validation"),
    errors.UnknownModel: (404, "Validation"),
    errors.NotFound: (404, "Validation"),
    errors.MethodNotAllowed: (405, "Validation"),
}


def tensor(texts: Sequence[Any] = ("a",), **changes: Any) -> dict[str, Any]:
    """A request of the Open Inference Protocol; a change to ``None`` removes a key of its input."""
    whole = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts, **changes}
    return {"inputs": [{key: value for key, value in whole.items() if value is not None}]}


def native_error(kind: type[TextserveError], where: str | None, message: str) -> dict[str, Any]:
    located = {} if where is None else {"where": where}
    return {"error": {"type": kind.type, **located, "message": plain(where, message)}}


def plain(where: str | None, message: str) -> str:
    return message if where is None else f"{where} {message}"


def quoted(where: str | None, message: str) -> str:
    return plain(where and f"`{where}`", message)


@dataclass(frozen=True)
class Format:
    """A protocol's path, the body of a request with texts, their name in errors, and the body and status of errors."""

    protocol: HttpProtocol
    path: str
    body: Callable[[Sequence[Any]], object]
    texts: str
    error: Callable[[type[TextserveError], str | None, str], object]
    statuses: Mapping[type[TextserveError], int] = field(default_factory=dict)


FORMATS = {
    "native": Format(native.NATIVE, "/classify", lambda texts: {"texts": texts}, "texts", native_error),
    "explain": Format(explain.EXPLAIN, "/explain", lambda texts: {"text": texts[0]}, "text", native_error),
    "huggingface": Format(
        huggingface.HUGGINGFACE,
        "/",
        lambda texts: {"inputs": texts},
        "inputs",
        lambda kind, where, message: {"error": quoted(where, message)},
    ),
    "tei": Format(
        tei.TEI,
        "/predict",
        lambda texts: {"inputs": [[text] for text in texts]},
        "inputs",
        lambda kind, where, message: {"error": quoted(where, message), "error_type": TEI_ERRORS[kind][1]},
        {kind: status for kind, (status, _) in TEI_ERRORS.items()},
    ),
    "oip": Format(
        oip_http.OIP, f"{MODEL}/infer", tensor, "texts", lambda kind, where, message: {"error": plain(where, message)}
    ),
}
BATCHES = ["native", "huggingface", "tei", "oip"]


def check_error(name: str, answer: httpx.Response, kind: type[TextserveError], where: str, message: str = "") -> None:
    """``answer`` is an error of this kind in the protocol's format, and its message begins with ``message``."""
    expected = FORMATS[name]
    assert answer.status_code == expected.statuses.get(kind, kind.status), answer.text
    error = answer.json()["error"]
    _, _, found = (error["message"] if isinstance(error, dict) else error).partition(" ")
    assert answer.json() == expected.error(kind, where, found)
    assert found.startswith(message)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_has_the_protocols_status_and_body(serve: Serve, name: str, kind: type[TextserveError]) -> None:
    expected = FORMATS[name]
    for retry_after in (None, 2):
        client = serve(expected.protocol, kind("cannot be done", retry_after=retry_after))
        answer = client.post(expected.path, expected.body(["a"]))
        assert answer.status_code == expected.statuses.get(kind, kind.status)
        assert answer.json() == expected.error(kind, None, "cannot be done")
        assert answer.headers.get("retry-after") == (retry_after and str(retry_after))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "is not valid JSON in UTF-8", id="empty"),
        pytest.param(b"{", "is not valid JSON in UTF-8", id="cut off"),
        pytest.param(b"{}x", "is not valid JSON in UTF-8", id="more than JSON"),
        pytest.param(b"[" * 1000, "is not valid JSON in UTF-8", id="deeply nested"),
        pytest.param('{"text":"ż"}'.encode("iso-8859-2"), "is not valid JSON in UTF-8", id="not UTF-8"),
        pytest.param(b'["a"]', "must be an object", id="a list"),
        pytest.param(b"null", "must be an object", id="null"),
    ],
)
def test_a_body_that_is_not_an_object_in_json_is_rejected(serve: Serve, name: str, body: bytes, message: str) -> None:
    client = serve(FORMATS[name].protocol)
    check_error(name, client.post(FORMATS[name].path, body), InvalidRequest, "body", message)
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("native", b"{}", "texts is missing; send"),
        ("native", b'{"texts":"a"}', "texts must be a list of strings"),
        ("native", b'{"texts":null}', "texts must be a list of strings"),
        ("native", b'{"texts":["a",1]}', "texts[1] must be a string"),
        ("native", b'{"texts":[["a"]]}', "texts[0] must be a string"),
        ("native", rb'{"texts":["a","\ud83d\ude00","\ud800"]}', "texts[2] must be Unicode text"),
        ("native", b'{"texts":["a"],"lang":"pl"}', "lang is not a known key"),
        *(("native", {"texts": ["a"], "truncate": flag}, "truncate must be true or false") for flag in ("no", 0, None)),
        ("explain", b"{}", "text is missing; send"),
        ("explain", b'{"text":["a"]}', "text must be a string"),
        ("explain", b'{"text":1}', "text must be a string"),
        ("explain", rb'{"text":"\ud800"}', "text must be Unicode text"),
        ("explain", b'{"texts":["a"]}', "text is missing; send"),
        ("explain", b'{"text":"a","lang":"pl"}', "lang is not a known key"),
        ("huggingface", b"{}", "inputs is missing; send"),
        ("huggingface", b'{"inputs":null}', "inputs must be a string or a list"),
        ("huggingface", b'{"inputs":{"text":"a"}}', "inputs must be a string or a list"),
        ("huggingface", b'{"inputs":["a",1]}', "inputs[1] must be a string"),
        ("huggingface", b'{"inputs":[["a"]]}', "inputs[0] must be a string"),
        ("huggingface", rb'{"inputs":["a","\ud800"]}', "inputs[1] must be Unicode text"),
        ("huggingface", b'{"inputs":"a","texts":["b"]}', "texts is not a known key"),
        ("huggingface", b'{"inputs":"a","parameters":[]}', "parameters must be an object"),
        *(
            ("huggingface", {"inputs": "a", "parameters": {key: value}}, f"parameters.{key} {message}")
            for key, value, message in [
                ("top_k", 0, "must be at least 1"),
                ("top_k", 1.5, "must be a whole number"),
                ("top_k", "2", "must be a whole number"),
                ("function_to_apply", "relu", "must be softmax, sigmoid or none"),
                ("truncation", "longest_first", "must be true or false"),
                ("topk", 2, "is not a known key"),
            ]
        ),
        ("tei", b"{}", "inputs is missing; send"),
        ("tei", b'{"inputs":null}', "inputs must be a string, or a batch"),
        ("tei", b'{"inputs":7}', "inputs must be a string, or a batch"),
        ("tei", b'{"inputs":["a",7]}', "inputs must be a list with one string"),
        ("tei", b'{"inputs":["a","b","c"]}', "inputs must be a list with one string"),
        ("tei", b'{"inputs":[7]}', "inputs[0] must be a list with one string"),
        ("tei", b'{"inputs":[["a"],"b"]}', "inputs[1] must be a list with one string"),
        ("tei", b'{"inputs":[["a"],[]]}', "inputs[1] must be a list with one string"),
        ("tei", b'{"inputs":[["a",7]]}', "inputs[0] must be a list with one string"),
        ("tei", b'{"inputs":[[["a"]]]}', "inputs[0] must be a list with one string"),
        ("tei", b'{"inputs":["a","b"]}', "inputs is a pair, and this model takes single texts; send"),
        ("tei", b'{"inputs":[["a","b"]]}', "inputs[0] is a pair, and this model takes single texts; send"),
        ("tei", b'{"inputs":[["a"],["b","c"]]}', "inputs[1] is a pair, and this model takes single texts; send"),
        ("tei", b'{"inputs":"a","truncate":"yes"}', "truncate must be true or false"),
        ("tei", b'{"inputs":"a","truncation_direction":"up"}', "truncation_direction must be Left or Right"),
        ("tei", b'{"inputs":"a","raw_scores":1}', "raw_scores must be true or false"),
        ("oip", {}, "inputs is missing"),
        ("oip", {"inputs": {}}, "inputs must be a list"),
        ("oip", {"inputs": []}, "inputs has 0 tensors; send one, named 'text'"),
        ("oip", {"inputs": tensor()["inputs"] * 2}, "inputs has 2 tensors; send one, named 'text'"),
        ("oip", {"inputs": [1]}, "inputs[0] must be an object"),
        ("oip", {"inputs": [{}]}, "inputs[0].name is missing"),
        *(("oip", tensor(shape=[size]), "inputs[0].shape[0] must be a whole number") for size in (1.5, "1", True)),
        ("oip", b'{"inputs":[{"name":"text","shape":[1e400]}]}', "inputs[0].shape[0] must be a whole number"),
        ("oip", b'{"inputs":[{"shape":[%s]}]}' % (b"9" * 5000), "body is not valid JSON in UTF-8"),
        ("oip", tensor(shape=[2]), "inputs[0].shape says 2 texts, the data has 1"),
        ("oip", tensor(data=None), "inputs[0].data is missing; send the texts, or binary_data_size"),
        ("oip", tensor(data="a"), "inputs[0].data must be a list"),
        ("oip", tensor(["a", 1]), "inputs[0].data[1] must be a string, or a list of one"),
        ("oip", tensor([["a", "b"]]), "inputs[0].data[0] must be a string, or a list of one"),
        ("oip", tensor([[["a"]]]), "inputs[0].data[0] must be a string, or a list of one"),
        ("oip", {**tensor(), "id": 5}, "id must be a string"),
        ("oip", {**tensor(), "parameters": []}, "parameters must be an object"),
        *(
            ("oip", {**tensor(), "parameters": {name: "no"}}, f"parameters.{name} must be true or false")
            for name in ("truncate", "binary_data_output")
        ),
        (
            "oip",
            {**tensor(), "outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
            "outputs[0].parameters.binary_data must be true or false",
        ),
    ],
)
def test_a_body_of_another_form_is_rejected_with_its_location(
    serve: Serve, name: str, body: object, message: str
) -> None:
    client = serve(FORMATS[name].protocol)
    where, _, message = message.partition(" ")
    check_error(name, client.post(FORMATS[name].path, body), InvalidRequest, where, message)
    assert client.runner.asked == []


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize(
    ("texts", "kind", "where"),
    [
        ([], EmptyInput, "texts"),
        (["a", " \n"], EmptyInput, "texts[1]"),
        (["a", "b", "c"], TooManyTexts, "texts"),
        (["a", "a" * 6], TextTooLong, "texts[1]"),
    ],
)
def test_texts_beyond_the_limits_are_rejected_with_their_location(
    serve: Serve, name: str, texts: list[str], kind: type[TextserveError], where: str
) -> None:
    expected = FORMATS[name]
    client = serve(expected.protocol, max_texts=2, max_characters=5)
    # The Open Inference Protocol's shape is checked before its data.
    located = "inputs[0].shape" if (name, kind) == ("oip", TooManyTexts) else where.replace("texts", expected.texts)
    check_error(name, client.post(expected.path, expected.body(texts)), kind, located)
    assert client.runner.asked == []


@pytest.mark.parametrize(("name", "where"), [("explain", "text"), ("huggingface", "inputs"), ("tei", "inputs")])
@pytest.mark.parametrize(
    ("text", "kind"), [("", EmptyInput), (" \n", EmptyInput), ("a" * 6, TextTooLong), ("a b c", TextTooLong)]
)
def test_a_single_text_beyond_the_limits_is_rejected_with_its_location(
    serve: Serve, name: str, where: str, text: str, kind: type[TextserveError]
) -> None:
    client = serve(FORMATS[name].protocol, max_characters=4, max_explained_tokens=8)
    check_error(name, client.post(FORMATS[name].path, {where: text}), kind, where)
    assert client.runner.asked == []


@pytest.mark.parametrize("name", BATCHES)
def test_a_text_that_may_not_be_truncated_is_rejected_with_its_location(serve: Serve, name: str) -> None:
    expected = FORMATS[name]
    client = serve(expected.protocol, InputTooLong("has more than 512 tokens", where="texts[1]"))
    answer = client.post(expected.path, expected.body(["a", "b"]))
    check_error(name, answer, InputTooLong, f"{expected.texts}[1]", "has more than 512 tokens")


@pytest.mark.parametrize("name", FORMATS)
def test_a_rejected_text_is_neither_returned_nor_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    expected = FORMATS[name]
    cut_off = json.dumps(expected.body(["tajemnica"]))[:-1].encode()
    for body in (cut_off, expected.body([["tajemnica", 7]]), expected.body(["tajemnica" * 10])):
        answer = serve(expected.protocol, max_characters=20).post(expected.path, body)
        assert answer.status_code in (400, 413, 422)
        assert "tajemnica" not in answer.text
    assert "tajemnica" not in caplog.text


@pytest.mark.parametrize(
    ("name", "method", "path", "allowed"),
    [
        *((name, "GET", expected.path, "POST") for name, expected in FORMATS.items()),
        ("tei", "POST", "/info", "GET, HEAD"),
        ("oip", "PUT", f"{MODEL}/infer", "POST"),
        ("oip", "POST", MODEL, "GET, HEAD"),
        ("oip", "DELETE", f"{MODEL}/ready", "GET, HEAD"),
        ("oip", "POST", "/v2", "GET, HEAD"),
    ],
)
def test_another_method_is_rejected_with_those_allowed(
    serve: Serve, name: str, method: str, path: str, allowed: str
) -> None:
    client = serve(FORMATS[name].protocol)
    answer = client.request(method, path)
    check_error(name, answer, errors.MethodNotAllowed, "method", "is not allowed on this path")
    assert answer.headers["allow"] == allowed


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)
BODIES = JSON_VALUES | st.dictionaries(st.sampled_from(["texts", "text", "inputs", "parameters"]), JSON_VALUES)


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        (native.ClassifyRequest, native.PROBLEMS),
        (explain.ExplainRequest, explain.PROBLEMS),
        (huggingface.InferenceRequest, huggingface.PROBLEMS),
        (tei.PredictRequest, tei.PROBLEMS),
        (oip.InferRequest, oip_http.PROBLEMS),
    ],
)
@given(body=st.binary(max_size=40) | BODIES.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_rejected_with_its_location(
    model: type[BaseModel], messages: Mapping[str, str], body: bytes
) -> None:
    where: str | None = "no error"
    try:
        read(model, body, messages, 1000)
    except InvalidRequest as error:
        where = error.where
    assert where
