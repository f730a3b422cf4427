"""The Open Inference Protocol over HTTP: in this process, and on the real service with Triton's clients.

``tritonclient.http`` has no protobuf in it. ``tritonclient.grpc`` must not be imported where our own messages are; see
test_grpc.py.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from tests.asgi import Client, Serve
from tests.server import Server
from tests.specs import SPECS, some
from textserve.http.oip import OIP, OIP_HEALTH

MODEL = "sentiment-pl-en"
INFER = f"/v2/models/{MODEL}/infer"
TEXTS = ["Bardzo polecam ten hotel!", "The worst film I have seen.", "Zebranie jest w czwartek."]
LABELS = ["positive", "negative", "neutral"]
HEADER = "inference-header-content-length"
# MALFORMED_MESSAGES=10000 .venv/bin/pytest tests/textserve/http/test_oip_http.py
MALFORMED_MESSAGES = int(os.environ.get("MALFORMED_MESSAGES", "300"))


@pytest.fixture
def oip(serve: Serve) -> Serve:
    return partial(serve, OIP)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def body(texts: Any = ("a",), shape: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": shape or [len(texts)], "data": texts}
    return {"inputs": [tensor], **more}


def binary(texts: list[str], size: int | None = None, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request with its texts after the JSON, and its header."""
    data = serialize_byte_tensor(np.array([text.encode() for text in texts], dtype=np.object_)).item()
    parameters = {"binary_data_size": len(data) if size is None else size}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + data, {HEADER: str(len(head))}


def error_of(answer: httpx.Response) -> str:
    content = answer.json()
    assert list(content) == ["error"]
    return str(content["error"])


def outputs_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def texts_input(texts: list[str], *, column: bool = False, **options: Any) -> Any:
    array: npt.NDArray[np.object_] = np.array([text.encode() for text in texts], dtype=np.object_)
    array = array.reshape(-1, 1) if column else array
    tensor = triton.InferInput("text", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array, **options)
    return tensor


def labels_of(result: Any) -> list[str]:
    return [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label").flatten()]


# In this process.


def test_an_answer_has_the_documented_shape(oip: Serve) -> None:
    answer = oip().post(INFER, body(id="42"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model_name": MODEL,
        "model_version": "1",
        "id": "42",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["positive"]},
            {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.7]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.2, 0.7]},
            {"name": "tokens", "datatype": "INT32", "shape": [1], "data": [3]},
            {"name": "truncated", "datatype": "BOOL", "shape": [1], "data": [False]},
        ],
    }


@pytest.mark.parametrize(
    ("texts", "shape"), [(["a", "ż"], [2]), (["a", "ż"], [2, 1]), ([["a"], ["ż"]], [2, 1]), ([["a"], ["ż"]], [2])]
)
def test_data_is_flat_or_nested(oip: Serve, texts: Any, shape: list[int]) -> None:
    client = oip()
    assert outputs_of(client.post(INFER, body(texts, shape)))["label"]["shape"] == shape
    assert client.runner.asked == [["a", "ż"]]


def pair_request(first: dict[str, Any], second: dict[str, Any], data: bytes = b"") -> tuple[bytes, dict[str, str]]:
    """A request of two inputs of two texts each, and the bytes after its JSON."""
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [2], **more}
        for name, more in (("text", first), ("text_pair", second))
    ]
    head = json.dumps({"inputs": tensors}).encode()
    return head + data, {HEADER: str(len(head))}


@pytest.mark.parametrize("form", ["json", "binary", "first binary", "second binary"])
def test_each_input_of_a_pair_is_in_the_json_or_after_it(oip: Serve, form: str) -> None:
    raw = [serialize_byte_tensor(np.array(texts, dtype=np.object_)).item() for texts in ([b"a", b"b"], [b"c", b"de"])]
    binary = [form in ("binary", "first binary"), form in ("binary", "second binary")]
    inputs = [
        {"parameters": {"binary_data_size": len(data)}} if after else {"data": texts}
        for data, texts, after in zip(raw, (["a", "b"], ["c", "de"]), binary, strict=True)
    ]
    after = b"".join(data for data, is_after in zip(raw, binary, strict=True) if is_after)
    client = oip(some(SPECS["pair"]), SPECS["pair"])
    answer = client.post("/v2/models/fake/infer", *pair_request(inputs[0], inputs[1], after))
    assert answer.status_code == 200, answer.text
    assert client.runner.asked == [[("a", "c"), ("b", "de")]]


@pytest.mark.parametrize(
    ("sizes", "data", "where"),
    [
        ((11, 10), 20, "inputs[0].shape"),
        ((21, 0), 20, "inputs[0].parameters.binary_data_size"),
        ((-1, 21), 20, "inputs[0].parameters.binary_data_size"),
        ((10, 9), 20, "inputs[1].parameters.binary_data_size"),
        ((9, 11), 20, "inputs[0]"),
    ],
)
def test_sizes_of_inputs_that_do_not_add_up_are_rejected(
    oip: Serve, sizes: tuple[int, int], data: int, where: str
) -> None:
    element = b"\x01\x00\x00\x00a"
    inputs = [{"parameters": {"binary_data_size": size}} for size in sizes]
    client = oip(some(SPECS["pair"]), SPECS["pair"])
    answer = client.post("/v2/models/fake/infer", *pair_request(inputs[0], inputs[1], (element * 4)[:data]))
    assert answer.status_code == 400
    assert error_of(answer).startswith(f"{where} ")
    assert client.runner.asked == []


def test_optional_keys_may_be_null(oip: Serve) -> None:
    content = body(id=None, parameters=None, outputs=None)
    content["inputs"][0]["parameters"] = None
    assert len(outputs_of(oip().post(INFER, content))) == 5


def test_the_version_may_be_in_the_path(oip: Serve) -> None:
    path = f"/v2/models/{MODEL}/versions/1/infer"
    assert outputs_of(oip().post(path, body()))["label"]["data"] == ["positive"]


def test_headers_have_the_timing_the_tokens_and_the_model(oip: Serve) -> None:
    headers = oip().post(INFER, body()).headers
    assert headers["server-timing"] == "tokenization;dur=1.00, queue;dur=2.00, inference;dur=3.00"
    assert (headers["x-compute-tokens"], headers["x-model-version"]) == ("3", "tiny:1")


def test_binary_texts_are_read(oip: Serve) -> None:
    client = oip()
    content, headers = binary(["a", "", "zażółć"][::2])
    assert outputs_of(client.post(INFER, content, headers))["label"]["shape"] == [2]
    assert client.runner.asked == [["a", "zażółć"]]


def test_only_outputs_requested_as_binary_follow_the_json(oip: Serve) -> None:
    outputs = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "score"}]
    answer = oip().post(INFER, body(outputs=outputs))
    length = int(answer.headers[HEADER])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content[:length])["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 12}},
        {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.7]},
    ]
    assert answer.content[length:] == b"\x08\x00\x00\x00positive"


@pytest.mark.parametrize(
    ("outputs", "sizes"),
    [
        (None, [12, 4, 12, 4, 1]),
        ([{"name": "tokens"}, {"name": "score", "parameters": {"binary_data": False}}], [4, None]),
    ],
)
def test_binary_data_output_is_the_default_of_every_output(
    oip: Serve, outputs: list[Any] | None, sizes: list[int | None]
) -> None:
    more = {} if outputs is None else {"outputs": outputs}
    answer = oip().post(INFER, body(parameters={"binary_data_output": True}, **more))
    length = int(answer.headers[HEADER])
    parsed = json.loads(answer.content[:length])["outputs"]
    assert [output.get("parameters", {}).get("binary_data_size") for output in parsed] == sizes
    assert len(answer.content) == length + sum(size or 0 for size in sizes)


@pytest.mark.parametrize(("encoding", "decompress"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_long_answer_is_compressed_if_the_client_accepts_it(oip: Serve, encoding: str, decompress: Any) -> None:
    client = oip()
    plain = client.post(INFER, body(["a"] * 100), {"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    answer = _raw(client, body(["a"] * 100), f"br, {encoding};q=0.5")
    assert (answer[b"content-encoding"], answer[b"vary"]) == (encoding.encode(), b"accept-encoding")
    assert int(answer[b"content-length"]) == len(answer[b"body"]) < len(plain.content) / 2
    assert decompress(answer[b"body"]) == plain.content


@pytest.mark.parametrize(
    ("texts", "accepted"), [(1, "gzip"), *((100, none) for none in ("", "identity", "br", "gzip;q=0", "gzip; q=0.000"))]
)
def test_a_short_answer_or_one_without_an_accepted_encoding_is_not_compressed(
    oip: Serve, texts: int, accepted: str
) -> None:
    assert b"content-encoding" not in _raw(oip(), body(["a"] * texts), accepted)


def _raw(client: Client, content: dict[str, Any], accepted: str) -> dict[bytes, bytes]:
    """The headers of the answer and its body, as they were sent."""
    message = {"type": "http.request", "body": json.dumps(content).encode()}
    sent, _ = client.raw(INFER, [(b"accept-encoding", accepted.encode())], [message])
    return {**dict(sent[0]["headers"]), b"body": sent[1]["body"]}


def test_unknown_keys_and_parameters_are_ignored(oip: Serve) -> None:
    unknown = {"priority": 1, "x": {"y": [None]}}
    content = body(parameters=unknown, outputs=[{"name": "label", "parameters": unknown}], unknown=[1])
    content["inputs"][0]["parameters"] = unknown
    assert outputs_of(oip().post(INFER, content)).keys() == {"label"}


@pytest.mark.parametrize("more", [{}, {"id": ""}, {"id": "ąę 😍"}, {"id": "x" * 100_000}])
def test_the_id_of_a_request_is_returned(oip: Serve, more: dict[str, Any]) -> None:
    answer = oip().post(INFER, body(**more)).json()
    assert {key: answer[key] for key in answer.keys() & {"id"}} == more


@pytest.mark.parametrize("length", ["", "x", "-1", "100000", "9" * 5000, "1.5"])
def test_an_invalid_length_of_the_json_is_rejected(oip: Serve, length: str) -> None:
    content, _ = binary(["a"])
    answer = oip().post(INFER, content, {HEADER: length})
    assert answer.status_code == 400
    assert error_of(answer).startswith("Inference-Header-Content-Length must be ")


@pytest.mark.parametrize("size", [0, 1, 6, -5, 2**70, 5.0, "5", True])
def test_an_invalid_size_of_the_binary_data_is_rejected(oip: Serve, size: Any) -> None:
    answer = oip().post(INFER, *binary(["a"], size=size))
    assert answer.status_code == 400
    assert error_of(answer).startswith("inputs[0].parameters.binary_data_size must be ")


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ({}, b"more", "body has 4 bytes after the JSON, and no input has binary_data_size"),
        ({"binary_data_size": 0}, b"", "inputs[0].data must be left out, since binary_data_size is given"),
    ],
)
def test_data_in_and_after_the_json_is_rejected(
    oip: Serve, parameters: dict[str, int], more: bytes, message: str
) -> None:
    content = body()
    content["inputs"][0]["parameters"] = parameters
    head = json.dumps(content).encode()
    answer = oip().post(INFER, head + more, {HEADER: str(len(head))})
    assert (answer.status_code, error_of(answer)) == (400, message)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v2/models/other/infer", f"model is not served here; {MODEL} is"),
        (f"/v2/models/{MODEL}/versions/2/infer", f"version of {MODEL} is not served here; 1 is"),
    ],
)
def test_another_model_is_not_found(oip: Serve, path: str, message: str) -> None:
    answer = oip().post(path, body())
    assert (answer.status_code, error_of(answer)) == (404, message)


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/health/dead", f"{INFER}/more", f"/v2/models/{MODEL}/versions//infer", "/v2/models//infer"]
)
def test_an_unknown_path_is_not_found_in_the_protocols_format(oip: Serve, path: str) -> None:
    for method in ("GET", "POST"):
        answer = oip().request(method, path)
        assert (answer.status_code, error_of(answer)) == (404, "path does not exist; see GET /docs.json for every path")


def test_it_is_ready_until_it_is_stopped(serve: Serve) -> None:
    for protocol, path in [(OIP_HEALTH, "/v2/health/ready"), (OIP, f"/v2/models/{MODEL}/ready")]:
        client = serve(protocol)
        for status, ready in ((200, True), (503, False)):
            answer = client.request("GET", path)
            assert (answer.status_code, answer.json()["ready"]) == (status, ready)
            client.application.leave()


def test_only_health_needs_no_key(serve: Serve) -> None:
    assert serve(OIP_HEALTH, api_keys="secret-0123456789").request("GET", "/v2/health/ready").status_code == 200
    client = serve(OIP, api_keys="secret-0123456789")
    assert client.post(INFER, body()).status_code == 401
    assert client.post(INFER, body(), {"authorization": "Bearer secret-0123456789"}).status_code == 200


def test_the_metrics_count_only_inferences_and_errors(oip: Serve) -> None:
    client = oip()
    for content in (body(), body(), {}):
        client.post(INFER, content)
    client.request("GET", "/v2")
    client.request("GET", f"/v2/models/{MODEL}/ready")
    client.request("GET", INFER)
    assert client.outcomes() == {"ok": 2, "invalid_request": 1, "method_not_allowed": 1}


# The real service.


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("to_server", [True, False])
@pytest.mark.parametrize("to_client", [True, False])
def test_tritons_client_reads_every_output(client: Any, column: bool, to_server: bool, to_client: bool) -> None:
    names = ["label", "score", "probabilities", "tokens", "truncated"]
    outputs = [triton.InferRequestedOutput(name, binary_data=to_client) for name in names]
    inputs = [texts_input(TEXTS, column=column, binary_data=to_server)]
    result = client.infer(MODEL, inputs, outputs=outputs, request_id="seven")
    assert labels_of(result) == LABELS
    assert result.get_response()["id"] == "seven"
    shape = (3, 1) if column else (3,)
    tokens = result.as_numpy("tokens")
    assert (result.as_numpy("label").shape, tokens.shape, tokens.dtype) == (shape, shape, np.int32)
    probabilities = result.as_numpy("probabilities")
    assert (probabilities.shape, probabilities.dtype) == ((3, 3), np.float32)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert result.as_numpy("score").flatten() == pytest.approx(probabilities.max(axis=1), abs=1e-6)
    assert result.as_numpy("truncated").flatten().tolist() == [False] * 3


@pytest.mark.parametrize(("to_server", "to_client"), [("gzip", "deflate"), ("deflate", "gzip")])
def test_tritons_client_compresses(client: Any, to_server: str, to_client: str) -> None:
    algorithms = {"request_compression_algorithm": to_server, "response_compression_algorithm": to_client}
    result = client.infer(MODEL, [texts_input(TEXTS * 50)], **algorithms)
    assert labels_of(result) == LABELS * 50


def test_tritons_client_requests_classes(client: Any) -> None:
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    classes = client.infer(MODEL, [texts_input(TEXTS)], outputs=outputs).as_numpy("probabilities")
    assert classes.shape == (3, 2)
    for row, label in zip(classes.tolist(), LABELS, strict=True):
        (first, _, name), (second, _, _) = (element.decode().split(":") for element in row)
        assert name == label
        assert float(first) > float(second)


def test_tritons_client_reads_metadata_and_readiness(server: Server, client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata() == {
        "name": "textserve",
        "version": "0.1.0",
        "extensions": ["binary_tensor_data", "classification"],
    }
    metadata = client.get_model_metadata(MODEL)
    (version,) = metadata["versions"]
    assert client.is_model_ready(MODEL, version)
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(MODEL, "0")
    assert client.get_model_metadata(MODEL, version) == metadata
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["text"]
    assert metadata["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}


def test_tritons_client_reads_the_message_of_an_error(client: Any) -> None:
    with pytest.raises(InferenceServerException) as unknown:
        client.infer("other", [texts_input(TEXTS)])
    assert (unknown.value.status(), unknown.value.message()) == ("404", f"model is not served here; {MODEL} is")
    with pytest.raises(InferenceServerException) as empty:
        client.infer(MODEL, [texts_input(["ok", " "])])
    assert (empty.value.status(), empty.value.message()) == ("400", "texts[1] is empty or only white space")


def test_tritons_client_disables_truncation(client: Any) -> None:
    long = ["bardzo dobry film " * 400]
    assert client.infer(MODEL, [texts_input(long)]).as_numpy("truncated").tolist() == [True]
    with pytest.raises(InferenceServerException) as error:
        client.infer(MODEL, [texts_input(long)], parameters={"truncate": False})
    assert error.value.status() == "413"
    assert error.value.message().startswith("texts[0] has more than 512 tokens")


def test_tritons_client_sets_a_deadline(client: Any) -> None:
    with pytest.raises(InferenceServerException) as late:
        client.infer(MODEL, [texts_input(["długi tekst " * 300] * 20)], timeout=1000)
    assert late.value.status() == "504"
    assert labels_of(client.infer(MODEL, [texts_input(TEXTS)], timeout=30_000_000)) == LABELS


def test_tritons_asynchronous_client_infers(server: Server) -> None:
    async def run() -> list[str]:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            binary = await client.infer(MODEL, [texts_input(TEXTS)], response_compression_algorithm="gzip")
            plain = await client.infer(MODEL, [texts_input(TEXTS, binary_data=False)], request_id="x")
            return labels_of(binary) + labels_of(plain)

    assert asyncio.run(run()) == LABELS * 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=10), values, max_size=4),
    max_leaves=6,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "classification", "timeout", "truncate"]),
    JSON_VALUES,
    max_size=3,
)


def spoiled(valid: Any) -> st.SearchStrategy[Any]:
    """``valid``, or anything."""
    return st.just(valid) | JSON_VALUES


INPUTS = st.fixed_dictionaries(
    {"name": spoiled("text"), "datatype": spoiled("BYTES"), "shape": spoiled([1]) | st.lists(st.integers())},
    optional={"data": spoiled(["a"]) | st.lists(st.text(max_size=5)), "parameters": spoiled({}) | PARAMETERS},
)
OUTPUTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["label", "probabilities", "x"]) | JSON_VALUES}, optional={"parameters": PARAMETERS}
)
BODIES = JSON_VALUES | st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=2) | JSON_VALUES},
    optional={"outputs": st.lists(OUTPUTS, max_size=3), "parameters": PARAMETERS, "id": JSON_VALUES},
)


@settings(max_examples=MALFORMED_MESSAGES, suppress_health_check=list(HealthCheck))
@given(
    head=BODIES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50),
    tail=st.binary(max_size=20) | st.just(b"\x01\x00\x00\x00a"),
    length=st.none() | st.text(alphabet="0123456789", max_size=12) | st.just("right"),
    encoding=st.sampled_from([None, None, None, "gzip", "deflate", "br"]),
)
@pytest.mark.timeout(1800)
def test_any_body_is_answered_or_rejected(
    connection: httpx.Client, head: bytes, tail: bytes, length: str | None, encoding: str | None
) -> None:
    headers = {} if encoding is None else {"content-encoding": encoding}
    content = head + tail
    if encoding == "gzip":
        content = gzip.compress(content)
    if length is not None:
        headers[HEADER] = str(len(head)) if length == "right" else length
    answer = connection.post(INFER, content=content, headers=headers)
    assert answer.status_code in (200, 400, 413, 504)
    if answer.status_code == 504:
        assert b"timeout" in head
    if answer.status_code != 200:
        assert error_of(answer)


def test_after_malformed_bodies_the_service_answers_and_logs_nothing_unexpected(server: Server, client: Any) -> None:
    assert labels_of(client.infer(MODEL, [texts_input(TEXTS)])) == LABELS
    assert 'outcome="internal"' not in httpx.get(f"{server.url}/metrics").text
    assert "unexpected" not in server.log()
    assert "Traceback" not in server.log()
