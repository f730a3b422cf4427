"""The Open Inference Protocol over gRPC: in this process, and the real service asked by Triton's own client.

The latter is a process of its own, tests/triton_grpc.py: its messages and ours have the same names, and protobuf takes
them only once into a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from google.protobuf.any_pb2 import Any as Packed
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from tests.asgi import ANSWER, FakeRunner, fake_application
from tests.grpc_client import MODEL, SERVICE, Served, raw_request, request, with_server
from tests.server import ROOT, Server, environment, free_port, self_signed, serve
from textserve.classifier import Classifier
from textserve.errors import Overloaded, TextserveError
from textserve.grpc.inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from textserve.grpc.server import GrpcServer, check_port
from textserve.grpc.status_pb2 import RetryInfo, Status
from textserve.grpc.statuses import CODES
from textserve.ports import PortError
from textserve.settings import Settings

NAME = "inference.GRPCInferenceService"
TEXTS = ["Bardzo polecam ten hotel!", "The worst film I have seen.", "Zebranie jest w czwartek."]
LABELS = ["positive", "negative", "neutral"]
ANYWHERE = "0.0.0.0"  # noqa: S104  # where a server listens by default
# The issue asks for 10,000: MALFORMED_MESSAGES=10000 .venv/bin/pytest tests/textserve/http/test_grpc.py
MALFORMED_MESSAGES = int(os.environ.get("MALFORMED_MESSAGES", "300"))


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as one:
        yield one


@pytest.fixture(scope="module")
def triton(server: Server) -> Any:
    """What Triton's client was answered; see tests/triton_grpc.py."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton_grpc", f"127.0.0.1:{server.grpc_port}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def infer(classifier: Classifier, message: ModelInferRequest, **options: Any) -> ModelInferResponse:
    async def use(served: Served) -> ModelInferResponse:
        return await served.infer(message)

    return with_server(classifier, use, **options)


def refused(classifier: Classifier, method: str, body: bytes, metadata: Any = None, **options: Any) -> grpc.RpcError:
    """The error that a call ends with."""

    async def use(served: Served) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            await served.call(method, body, metadata=metadata)
        return caught.value

    return with_server(classifier, use, **options)


def outcomes(served: Served) -> list[str]:
    lines = generate_latest(served.application.registry).decode().splitlines()
    return [line.removeprefix("textserve_requests_total") for line in lines if line.startswith("textserve_requests_t")]


def retry_seconds(error: grpc.RpcError) -> float:
    """The delay of the ``google.rpc.RetryInfo`` in an error's details."""
    (details,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status: Any = Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    detail: Packed = status.details[0]
    assert detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"
    delay: Any = RetryInfo.FromString(detail.value).retry_delay
    return float(delay.seconds + delay.nanos / 1e9)


# In this process.


def test_an_answer_is_in_the_contents_where_the_request_was(classifier: Classifier) -> None:
    answer = infer(classifier, request(["a"], id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == (MODEL, "1", "seven")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("label", "BYTES", [1]),
        ("score", "FP32", [1]),
        ("probabilities", "FP32", [1, 3]),
        ("tokens", "INT32", [1]),
        ("truncated", "BOOL", [1]),
    ]
    label, score, probabilities, tokens, truncated = (one.contents for one in answer.outputs)
    assert list(label.bytes_contents) == [b"positive"]
    assert list(score.fp32_contents) == pytest.approx([0.7])
    assert list(probabilities.fp32_contents) == pytest.approx([0.1, 0.2, 0.7])
    assert list(tokens.int_contents) == [3]
    assert list(truncated.bool_contents) == [False]
    assert list(answer.raw_output_contents) == []


def test_an_answer_is_raw_where_the_request_was(classifier: Classifier) -> None:
    answer = infer(classifier, raw_request(b"\x01\0\0\0a\x02\0\0\0\xc5\xbc", [2, 1]))
    assert [list(one.shape) for one in answer.outputs] == [[2, 1], [2, 1], [2, 3], [2, 1], [2, 1]]
    assert not any(one.HasField("contents") for one in answer.outputs)
    assert answer.raw_output_contents[0] == b"\x08\0\0\0positive" * 2
    assert answer.raw_output_contents[3] == b"\x03\0\0\0" * 2
    assert answer.raw_output_contents[4] == b"\0\0"


def test_an_answer_says_what_it_took_and_which_model_gave_it(classifier: Classifier) -> None:
    async def use(served: Served) -> dict[str, str]:
        call = served.call(
            "ModelInfer", request(["a", "b"]).SerializeToString(), metadata=[("x-request-id", "order-7")]
        )
        await call
        return dict(await call.trailing_metadata())

    assert with_server(classifier, use) == {
        "x-request-id": "order-7",
        "server-timing": "tokenization;dur=1.00, queue;dur=2.00, inference;dur=3.00",
        "x-compute-tokens": "6",
        "x-model-version": "tiny:1",
    }


def test_a_request_without_an_id_of_its_own_gets_one(classifier: Classifier) -> None:
    async def use(served: Served) -> set[str]:
        ids = set()
        for _ in range(3):
            call = served.call("ModelInfer", request(["a"]).SerializeToString())
            await call
            ids.add(dict(await call.trailing_metadata())["x-request-id"])
        return ids

    assert len(with_server(classifier, use)) == 3


@pytest.mark.parametrize("kind", TextserveError.__subclasses__())
def test_an_error_has_its_own_code_and_one_message(classifier: Classifier, kind: type[TextserveError]) -> None:
    error = refused(
        classifier, "ModelInfer", request(["a"]).SerializeToString(), outcome=kind("cannot be done", where="texts[3]")
    )
    assert (error.code(), error.details()) == (CODES[kind], "texts[3] cannot be done")
    metadata = dict(error.trailing_metadata())
    assert metadata["x-error-type"] == kind.type
    assert metadata["x-request-id"]
    assert "grpc-status-details-bin" not in metadata


@pytest.mark.parametrize("seconds", [0.25, 3.0, 61.5])
def test_an_overloaded_service_says_when_to_come_back(classifier: Classifier, seconds: float) -> None:
    outcome = Overloaded("come back later", retry_after=seconds)
    error = refused(classifier, "ModelInfer", request(["a"]).SerializeToString(), outcome=outcome)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_seconds(error) == pytest.approx(seconds)


def both(raw: bytes) -> ModelInferRequest:
    message = request(["a"])
    message.raw_input_contents.append(raw)
    return message


def typed(**contents: Any) -> ModelInferRequest:
    message = request([])
    message.inputs[0].contents.CopyFrom(InferTensorContents(**contents))
    message.inputs[0].shape[:] = [1]
    return message


def shared(message: ModelInferRequest) -> ModelInferRequest:
    message.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    return message


OUTPUT = ModelInferRequest.InferRequestedOutputTensor


@pytest.mark.parametrize(
    ("message", "details"),
    [
        (ModelInferRequest(model_name=MODEL), "inputs has 0 tensors; send one, named 'text'"),
        (request(["a"], inputs=list(request(["a"]).inputs) * 2), "inputs has 2 tensors; send one, named 'text'"),
        (request(["a"], [2]), "inputs[0].shape says 2 texts, the data has 1"),
        (request(["a"], []), "inputs[0].shape must be [N] or [N, 1], for N texts"),
        (request(["a"], [-1]), "inputs[0].shape must be [N] or [N, 1], for N texts"),
        (request(["a"], [1, 2**40]), "inputs[0].shape must be [N] or [N, 1], for N texts"),
        (request(["a"], [2**63 - 1]), f"inputs[0].shape has {2**63 - 1} texts; send at most 1000 in one request"),
        (
            raw_request(b"\0\0\0\0" * 10**6, [10**6]),
            "inputs[0].shape has 1000000 texts; send at most 1000 in one request",
        ),
        (raw_request(b"\0\0\0\0" * 10**6, [1]), "inputs[0].shape says 1 texts, the data has more"),
        (raw_request(b"", [1]), "inputs[0].shape says 1 texts, the data has 0"),
        (raw_request(b"", [0]), "texts is empty; send at least one text"),
        (request([]), "texts is empty; send at least one text"),
        (request(["ok", "\n"]), "texts[1] is empty or only white space"),
        (request([b"tajemnica \xff"]), "texts[0] is not UTF-8"),
        (typed(fp32_contents=[1.0]), "inputs[0].contents has fp32_contents; texts are bytes_contents"),
        (
            typed(bytes_contents=[b"a"], int_contents=[1]),
            "inputs[0].contents has int_contents; texts are bytes_contents",
        ),
        (typed(), "inputs[0].shape says 1 texts, the data has 0"),
        (both(b"\x01\0\0\0a"), "inputs[0].contents must not be there beside raw_input_contents"),
        (
            raw_request(b"", [1], raw_input_contents=[b"\x01\0\0\0a"] * 2),
            "raw_input_contents has 2 elements; send one for each input",
        ),
        (
            raw_request(b"\x05\0\0\0a", [1]),
            "inputs[0] ends within element 0; each has its length before it, 4 bytes, little-endian",
        ),
        (shared(request(["a"])), "inputs[0].parameters is not supported; send the data with the request"),
        (
            request(["a"], outputs=[OUTPUT(name="logits")]),
            "outputs[0] is not an output of this model; there are label, score, probabilities, tokens, truncated",
        ),
        (
            request(["a"], outputs=[OUTPUT(name="probabilities", parameters={"classification": InferParameter()})]),
            None,
        ),
        (
            request(
                ["a"],
                outputs=[OUTPUT(name="probabilities", parameters={"classification": InferParameter(int64_param=-1)})],
            ),
            "outputs[0].parameters.classification must be a whole number, at least 1",
        ),
        (
            request(["a"], parameters={"truncate": InferParameter(string_param="no")}),
            "parameters.truncate must be true or false",
        ),
        (
            request(["a"], parameters={"timeout": InferParameter(double_param=float("nan"))}),
            "parameters.timeout must be a whole number of microseconds, at least 0",
        ),
    ],
)
def test_a_request_that_is_not_as_documented_is_refused_with_what_is_wrong(
    classifier: Classifier, message: ModelInferRequest, details: str | None
) -> None:
    async def use(served: Served) -> tuple[Any, list[list[str]]]:
        try:
            await served.infer(message)
        except grpc.RpcError as error:
            return (error.code(), error.details()), served.runner.asked
        return None, served.runner.asked

    answer, asked = with_server(classifier, use)
    if details is None:
        assert answer is None
    else:
        assert answer == (grpc.StatusCode.INVALID_ARGUMENT, details)
        assert asked == []


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelInfer"])
@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
def test_bytes_that_are_no_message_are_refused_and_not_logged(
    classifier: Classifier, caplog: pytest.LogCaptureFixture, method: str, body: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    error = refused(classifier, method, body)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == f"message is not an inference.{method}Request as inference.proto has it"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_unexpected_error_is_answered_and_logged_without_the_text(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = RuntimeError("cannot read 'tajemnica'")
    error = refused(classifier, "ModelInfer", request(["tajemnica"]).SerializeToString(), outcome=outcome)
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "tajemnica" not in error.details() + caplog.text
    assert "unexpected RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ModelInfer", request(["a"], model_name="other")),
        ("ModelInfer", request(["a"], model_version="2")),
        ("ModelReady", ModelReadyRequest(name="other")),
        ("ModelMetadata", ModelMetadataRequest(name=MODEL, version="2")),
    ],
)
def test_another_model_is_not_found(classifier: Classifier, method: str, message: Any) -> None:
    error = refused(classifier, method, message.SerializeToString())
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "is not served here" in error.details()


def test_a_method_that_does_not_exist_is_unimplemented(classifier: Classifier) -> None:
    assert refused(classifier, "ModelTrain", b"").code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("metadata", [[], [("authorization", "Bearer wrong")], [("authorization", "secret")]])
def test_a_key_is_asked_for_where_one_is_set(classifier: Classifier, metadata: list[tuple[str, str]]) -> None:
    for method in ("ModelInfer", "ModelMetadata", "ServerMetadata", "ModelReady"):
        error = refused(classifier, method, b"", metadata, api_keys="secret,other")
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED


def test_each_key_is_accepted_and_health_needs_none(classifier: Classifier) -> None:
    async def use(served: Served) -> Any:
        for key in ("secret", "other"):
            await served.infer(request(["a"]), metadata=[("authorization", f"Bearer {key}")])
        await served.call("ServerLive", b"")
        await served.call("ServerReady", b"")
        return await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())

    assert with_server(classifier, use, api_keys="secret,other").status == health_pb2.HealthCheckResponse.SERVING


def test_a_message_of_the_largest_size_is_read_and_one_byte_more_is_not(classifier: Classifier) -> None:
    size = len(request(["a" * 1000]).SerializeToString())

    async def use(served: Served) -> grpc.StatusCode:
        await served.infer(request(["a" * 1000]))
        with pytest.raises(grpc.RpcError) as caught:
            await served.infer(request(["a" * 1001]))
        assert served.runner.asked == [["a" * 1000]]
        return caught.value.code()

    assert with_server(classifier, use, max_body_bytes=size) == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_is_read_and_what_it_becomes_is_limited(classifier: Classifier, compression: Any) -> None:
    async def use(served: Served) -> grpc.StatusCode:
        await served.infer(request(["a"] * 100), compression=compression)
        with pytest.raises(grpc.RpcError) as caught:
            await served.infer(request(["a" * 100_000]), compression=compression)
        assert served.runner.asked == [["a"] * 100]
        return caught.value.code()

    assert with_server(classifier, use, max_body_bytes=10_000) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_clients_deadline_is_the_requests(classifier: Classifier) -> None:
    async def use(served: Served) -> list[float]:
        await served.infer(request(["a"]), timeout=5.0)
        await served.infer(request(["a"]))
        await served.infer(request(["a"], parameters={"timeout": InferParameter(int64_param=1_000_000)}), timeout=5.0)
        return served.runner.seconds

    with_deadline, without, with_both = with_server(classifier, use, request_seconds=30)
    assert 4 < with_deadline <= 5.1  # gRPC keeps the deadline by a clock of its own
    assert (without, with_both) == (30, 1)


async def _until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_client_that_has_gone_has_its_request_dropped(classifier: Classifier) -> None:
    async def use(served: Served) -> list[str]:
        call = served.call("ModelInfer", request(["a"]).SerializeToString())
        await _until(lambda: served.runner.asked)
        call.cancel()
        await _until(lambda: served.runner.cancelled)
        await _until(lambda: outcomes(served))
        return outcomes(served)

    assert with_server(classifier, use, outcome=None) == ['{outcome="cancelled",protocol="grpc"} 1.0']


def test_a_request_whose_time_is_up_is_dropped(classifier: Classifier) -> None:
    async def use(served: Served) -> list[str]:
        with pytest.raises(grpc.RpcError) as caught:
            await served.infer(request(["a"]), timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await _until(lambda: served.runner.cancelled)
        await _until(lambda: outcomes(served))
        return outcomes(served)

    assert with_server(classifier, use, outcome=None) == ['{outcome="deadline_exceeded",protocol="grpc"} 1.0']


def test_the_metrics_count_inferences_and_nothing_else(classifier: Classifier) -> None:
    async def use(served: Served) -> list[str]:
        await served.infer(request(["a"]))
        await served.infer(request(["a"]))
        for method, body in [("ModelInfer", b"\xff"), ("ModelReady", b"\xff"), ("ServerLive", b"")]:
            with contextlib.suppress(grpc.RpcError):
                await served.call(method, body)
        return outcomes(served)

    assert with_server(classifier, use) == [
        '{outcome="ok",protocol="grpc"} 2.0',
        '{outcome="invalid_request",protocol="grpc"} 1.0',
    ]


def health_of(served: Served, name: str) -> Any:
    return health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(service=name))


def test_its_health_is_known_by_its_name_and_by_none(classifier: Classifier) -> None:
    async def use(served: Served) -> list[int]:
        return [(await health_of(served, name)).status for name in ("", NAME)]

    assert with_server(classifier, use) == [health_pb2.HealthCheckResponse.SERVING] * 2


def test_told_to_stop_it_is_not_healthy_then_accepts_nothing_and_answers_what_it_has(classifier: Classifier) -> None:
    async def use(served: Served) -> None:
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        pending = asyncio.ensure_future(served.infer(request(["a"])))
        await _until(lambda: served.runner.asked)
        served.application.leave()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ready = ServerReadyResponse.FromString(await served.call("ServerReady", b""))
        model = ModelReadyRequest(name=MODEL).SerializeToString()
        model_ready = ModelReadyResponse.FromString(await served.call("ModelReady", model))
        assert (ready.ready, model_ready.ready) == (False, False)
        await asyncio.sleep(0.6)
        with pytest.raises(grpc.RpcError) as caught:
            await served.infer(request(["b"]))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert not pending.done()
        served.runner.finished.set()
        assert (await pending).model_name == MODEL
        async with asyncio.timeout(5):  # and not the 30 seconds for which it would wait for the watch
            await served.server.stop()

    with_server(classifier, use, outcome=None, stop_delay_seconds=0.4, drain_seconds=30)


def test_what_is_not_answered_within_the_limit_is_given_up(classifier: Classifier) -> None:
    async def use(served: Served) -> grpc.StatusCode:
        pending = asyncio.ensure_future(served.infer(request(["a"])))
        await _until(lambda: served.runner.asked)
        await served.server.stop()
        with pytest.raises(grpc.RpcError) as caught:
            await pending
        assert served.runner.cancelled == 1
        return caught.value.code()

    code = with_server(classifier, use, outcome=None, drain_seconds=0.2)
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("taken_on", ["127.0.0.1", ANYWHERE])
def test_a_taken_port_is_an_error_that_names_it(classifier: Classifier, reuse: bool, taken_on: str) -> None:
    with socket.socket() as taken:
        if reuse:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((taken_on, 0))
        taken.listen()
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", ANYWHERE):
            with pytest.raises(
                PortError, match=f"port {port} of {host}: Address already in use; set TEXTSERVE_GRPC_PO"
            ):
                check_port(Settings(grpc_host=host, grpc_port=port))


def test_two_servers_do_not_share_a_port(classifier: Classifier) -> None:
    async def use(served: Served) -> None:
        with pytest.raises(PortError, match=f"port {served.application.settings.grpc_port} "):
            await GrpcServer(served.application).start()
        await served.infer(request(["a"]))

    with_server(classifier, use)


def test_with_port_0_there_is_no_grpc(classifier: Classifier) -> None:
    before = len(psutil.Process().net_connections("inet"))

    async def use() -> int:
        server = GrpcServer(fake_application(classifier, FakeRunner(ANSWER), {"grpc_port": 0}))
        await server.start()
        during = len(psutil.Process().net_connections("inet"))
        await server.stop()
        return during

    assert asyncio.run(use()) == before
    check_port(Settings(grpc_port=0))


def test_with_a_certificate_it_talks_tls_and_nothing_else(
    classifier: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = self_signed(tmp_path)

    async def use(served: Served) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            await served.call("ServerMetadata", b"", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        address = f"127.0.0.1:{served.application.settings.grpc_port}"
        async with grpc.aio.secure_channel(address, credentials) as secure:
            answer: Any = await secure.unary_unary(SERVICE + "ServerMetadata")(b"", timeout=5)
        return str(ServerMetadataResponse.FromString(answer).name)

    assert with_server(classifier, use, tls_certificate=certificate, tls_key=key) == "textserve"


# The real service.


def test_tritons_client_is_answered(triton: Any) -> None:
    for asked, shape in [("row", [3]), ("column", [3, 1]), ("version", [3])]:
        answer = triton[asked]
        assert answer["label"] == {"shape": shape, "dtype": "object", "data": LABELS}
        assert (answer["probabilities"]["shape"], answer["probabilities"]["dtype"]) == ([3, 3], "float32")
        assert (answer["tokens"]["shape"], answer["tokens"]["dtype"]) == (shape, "int32")
        assert (answer["score"]["shape"], answer["score"]["dtype"]) == (shape, "float32")
        assert answer["truncated"] == {"shape": shape, "dtype": "bool", "data": [False] * 3}
    assert triton["names"] == ["score", "label"]
    assert triton["two outputs"]["label"]["data"] == LABELS
    assert triton["id"] == "seven"
    assert triton["later"]["label"]["data"] == LABELS
    assert triton["asynchronous"] == [[label] for label in LABELS]


def test_its_answers_are_those_of_classify(server: Server, triton: Any) -> None:
    native = httpx.post(f"{server.url}/classify", json={"texts": TEXTS}, timeout=30).json()["results"]
    expected = [score for result in native for score in result["scores"].values()]
    assert triton["row"]["probabilities"]["data"] == pytest.approx(expected, abs=1e-4)


def test_tritons_client_asks_for_classes(triton: Any) -> None:
    classes = triton["classes"]["probabilities"]
    assert (classes["shape"], classes["dtype"]) == ([3, 2], "object")
    assert [element.split(":")[2] for element in classes["data"][::2]] == LABELS


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritons_client_may_compress(triton: Any, algorithm: str) -> None:
    assert triton[algorithm]["label"]["data"] == LABELS * 50


def test_tritons_client_asks_about_the_server_and_the_model(triton: Any) -> None:
    assert (triton["live"], triton["ready"]) == ([True, True], [True, True])
    assert triton["server"]["extensions"] == ["binary_tensor_data", "classification"]
    assert triton["model"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert triton["model"]["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]}


def test_tritons_client_reads_the_code_and_message_of_an_error(triton: Any) -> None:
    refusals = triton["refusals"]
    assert refusals["model"] == ["StatusCode.NOT_FOUND", f"model is not served here; {MODEL} is"]
    assert refusals["version"][0] == "StatusCode.NOT_FOUND"
    assert refusals["empty"] == ["StatusCode.INVALID_ARGUMENT", "texts[1] is empty or only white space"]
    assert refusals["truncate"][0] == "StatusCode.INVALID_ARGUMENT"
    assert refusals["truncate"][1].startswith("texts[0] has more than 512 tokens")
    assert refusals["timeout"][0] == refusals["client timeout"][0] == "StatusCode.DEADLINE_EXCEEDED"
    assert (triton["truncated"]["truncated"]["data"], triton["truncated"]["tokens"]["data"]) == ([True], [512])


def test_it_is_healthy_and_described(channel: Any) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    for name in ("", NAME):
        assert check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        NAME,
    ]
    described = database.FindFileContainingSymbol(NAME)
    assert [method.name for method in described.service[0].method][-1] == "ModelInfer"


def test_work_in_flight_is_answered_when_it_is_told_to_stop(tmp_path: Path, server: Server) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    message = request(["dość długi tekst o niczym " * 20] * 5).SerializeToString()
    with (
        serve(tmp_path, TEXTSERVE_MAX_QUEUE_SECONDS="60") as stopping,
        grpc.insecure_channel(f"127.0.0.1:{stopping.grpc_port}") as stopping_channel,
        ThreadPoolExecutor(64) as pool,
    ):
        call = stopping_channel.unary_unary(SERVICE + "ModelInfer")
        pending = [pool.submit(call, message, timeout=60) for _ in range(64)]
        while "textserve_waiting_tokens 0.0" in httpx.get(f"{stopping.url}/metrics").text:
            pass
        processes = stopping.processes()
        assert stopping.stop() == 0
        answers = [ModelInferResponse.FromString(one.result()) for one in pending]
        assert [list(answer.outputs[0].shape) for answer in answers] == [[5]] * 64
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert alive == []


def test_a_taken_port_ends_the_start(tmp_path: Path, server: Server) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    done = subprocess.run(
        [Path(sys.executable).with_name("bentoml"), "serve", "service:TextClassifier", "--port", str(free_port())],
        cwd=ROOT,
        env=environment(tmp_path, TEXTSERVE_GRPC_PORT=str(server.grpc_port)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"gRPC cannot listen on port {server.grpc_port}" in done.stderr + done.stdout


PARAMETERS = st.dictionaries(
    st.sampled_from(["timeout", "truncate", "classification", "shared_memory_region", "x"]),
    st.builds(InferParameter)
    | st.builds(InferParameter, bool_param=st.booleans())
    | st.builds(InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.builds(InferParameter, string_param=st.text(max_size=5))
    | st.builds(InferParameter, double_param=st.floats())
    | st.builds(InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
    max_size=2,
)
INPUTS = st.builds(
    ModelInferRequest.InferInputTensor,
    name=st.just("text") | st.text(max_size=5),
    datatype=st.sampled_from(["BYTES", "BYTES", "FP32", ""]),
    shape=st.just([1]) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    parameters=PARAMETERS,
    contents=st.none()
    | st.builds(InferTensorContents, bytes_contents=st.lists(st.just(b"a") | st.binary(max_size=5), max_size=3)),
)
MESSAGES = st.builds(
    ModelInferRequest,
    model_name=st.just(MODEL) | st.text(max_size=5),
    model_version=st.just("") | st.text(max_size=5),
    id=st.text(max_size=5),
    parameters=PARAMETERS,
    inputs=st.lists(INPUTS, min_size=1, max_size=1) | st.lists(INPUTS, max_size=3),
    outputs=st.lists(
        st.builds(OUTPUT, name=st.sampled_from(["label", "probabilities", "x"]), parameters=PARAMETERS), max_size=3
    ),
    raw_input_contents=st.just([]) | st.lists(st.binary(max_size=12) | st.just(b"\x01\0\0\0a"), max_size=2),
)
EXPECTED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A message as it is, cut off, or with some of its bytes changed."""
    body = bytearray(draw(MESSAGES).SerializeToString())
    for _ in range(draw(st.integers(0, 3)) if body else 0):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.just(len(body)) | st.integers(0, len(body)))])


@settings(max_examples=MALFORMED_MESSAGES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=spoiled() | st.binary(max_size=60),
    method=st.sampled_from(["ModelInfer"] * 4 + ["ModelReady", "ModelMetadata"]),
)
@pytest.mark.timeout(1800)
def test_any_message_is_answered_or_refused(channel: Any, body: bytes, method: str) -> None:
    try:
        channel.unary_unary(SERVICE + method)(body, timeout=30)
    except grpc.RpcError as error:
        assert error.code() in EXPECTED  # noqa: PT017  # any other error must be seen as it is
        assert error.details()  # noqa: PT017


def test_after_all_that_it_answers_rightly_and_nothing_unexpected_is_in_the_log(server: Server, channel: Any) -> None:
    body = channel.unary_unary(SERVICE + "ModelInfer")(request(TEXTS).SerializeToString(), timeout=30)
    answer: Any = ModelInferResponse.FromString(body)
    assert [label.decode() for label in answer.outputs[0].contents.bytes_contents] == LABELS
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'outcome="internal"' not in metrics
    assert "unexpected" not in server.log()
    assert "Traceback" not in server.log()
