"""The Open Inference Protocol over gRPC: a server in this process, then the real service with Triton's client.

Triton's client runs in a separate process, tests/triton_grpc.py, since its messages have the same names as ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from google.protobuf.any_pb2 import Any as Packed
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from tests import http2
from tests.asgi import ANSWER, FakeRunner, described, fake_application
from tests.grpc_client import MODEL, SERVICE, Served, raw_request, request, with_server
from tests.server import ROOT, Server, environment, free_port, self_signed, serve
from tests.specs import SPECS, some
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
KEYS = ("secret-0123456789", "other-0123456789")
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104  # the default
# A thorough run: MALFORMED_MESSAGES=10000 .venv/bin/pytest tests/textserve/grpc
MALFORMED_MESSAGES = int(os.environ.get("MALFORMED_MESSAGES", "300"))


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as connected:
        yield connected


@pytest.fixture(scope="module")
def triton(server: Server) -> Any:
    """The responses that Triton's client received; see tests/triton_grpc.py."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.triton_grpc", f"127.0.0.1:{server.grpc_port}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def infer(classifier: Classifier, message: ModelInferRequest, **options: Any) -> ModelInferResponse:
    async def use(served: Served) -> ModelInferResponse:
        return await served.infer(message)

    return with_server(classifier, use, **options)


def failed(classifier: Classifier, method: str, body: bytes, metadata: Any = None, **options: Any) -> grpc.RpcError:
    """The error of a call."""

    async def use(served: Served) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as error:
            await served.call(method, body, metadata=metadata)
        return error.value

    return with_server(classifier, use, **options)


def outcomes(served: Served) -> list[str]:
    lines = generate_latest(served.application.metrics_registry).decode().splitlines()
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


# A server in this process.


def test_a_request_with_contents_is_answered_with_contents(classifier: Classifier) -> None:
    answer = infer(classifier, request(["a"], id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == (MODEL, "1", "seven")
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("label", "BYTES", [1]),
        ("score", "FP32", [1]),
        ("probabilities", "FP32", [1, 3]),
        ("tokens", "INT32", [1]),
        ("truncated", "BOOL", [1]),
    ]
    label, score, probabilities, tokens, truncated = (output.contents for output in answer.outputs)
    assert list(label.bytes_contents) == [b"positive"]
    assert list(score.fp32_contents) == pytest.approx([0.7])
    assert list(probabilities.fp32_contents) == pytest.approx([0.1, 0.2, 0.7])
    assert list(tokens.int_contents) == [3]
    assert list(truncated.bool_contents) == [False]
    assert list(answer.raw_output_contents) == []


def test_a_raw_request_is_answered_raw(classifier: Classifier) -> None:
    answer = infer(classifier, raw_request(b"\x01\0\0\0a\x02\0\0\0\xc5\xbc", [2, 1]))
    assert [list(output.shape) for output in answer.outputs] == [[2, 1], [2, 1], [2, 3], [2, 1], [2, 1]]
    assert not any(output.HasField("contents") for output in answer.outputs)
    assert answer.raw_output_contents[0] == b"\x08\0\0\0positive" * 2
    assert answer.raw_output_contents[3] == b"\x03\0\0\0" * 2
    assert answer.raw_output_contents[4] == b"\0\0"


def pair_message(first: list[str], second: list[str], *, raw: bool, **more: Any) -> ModelInferRequest:
    """A request for a model of pairs."""
    columns = [[text.encode() for text in texts] for texts in (second, first)]
    tensors = [
        ModelInferRequest.InferInputTensor(
            name=name,
            datatype="BYTES",
            shape=[len(column), 1],
            contents=None if raw else InferTensorContents(bytes_contents=column),
        )
        for name, column in zip(("text_pair", "text"), columns, strict=True)
    ]
    joined = [b"".join(len(text).to_bytes(4, "little") + text for text in column) for column in columns]
    return ModelInferRequest(
        **{"model_name": "fake", "inputs": tensors, "raw_input_contents": joined if raw else None, **more}
    )


@pytest.mark.parametrize("raw", [False, True])
def test_both_inputs_of_a_pair_are_read(raw: bool) -> None:
    async def use(served: Served) -> tuple[ModelInferResponse, list[Any]]:
        return await served.infer(pair_message(["a", "b"], ["c", "d"], raw=raw)), served.runner.asked

    spec = SPECS["pair several"]
    response, asked = with_server(described(spec), use, some(spec), max_texts=2)
    assert asked == [[("a", "c"), ("b", "d")]]
    assert [output.name for output in response.outputs] == ["labels", "probabilities", "tokens", "truncated"]
    assert list(response.outputs[0].shape) == [2, 1]
    data = response.raw_output_contents[0] if raw else response.outputs[0].contents.bytes_contents[0]
    assert b'["about", "same"]' in data


def test_as_many_pairs_as_allowed_are_within_the_bounds_of_fields() -> None:
    async def use(served: Served) -> list[Any]:
        await served.infer(pair_message(["a"] * 2000, ["b"] * 2000, raw=False))
        return served.runner.asked

    spec = SPECS["pair"]
    assert with_server(described(spec), use, some(spec), max_texts=2000) == [[("a", "b")] * 2000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": []}, "inputs has 0 tensors; send two, named 'text' and 'text_pair'"),
        ({"raw_input_contents": [b"\x01\0\0\0a"]}, "raw_input_contents has 1 elements; send one for each input"),
        ({"raw_input_contents": [b"", b"\x01\0\0\0a"]}, "inputs[0].shape says 1 texts, the data has 0"),
        ({"raw_input_contents": [b"\x01\0\0\0\xff", b"\x01\0\0\0a"]}, "texts[0].text_pair is not UTF-8"),
        ({"raw_input_contents": [b"\x01\0\0\0 ", b"\x01\0\0\0a"]}, "texts[0].text_pair is empty"),
    ],
)
def test_an_invalid_pair_is_rejected(change: dict[str, Any], message: str) -> None:
    spec = SPECS["pair"]
    body = pair_message(["a"], ["b"], raw=True, **change).SerializeToString()
    error = failed(described(spec), "ModelInfer", body, outcome=some(spec))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(message)


def test_trailing_metadata_has_the_request_id_timing_tokens_and_model(classifier: Classifier) -> None:
    async def use(served: Served) -> list[dict[str, str]]:
        trailing = []
        for metadata in ([("x-request-id", "order-7")], [], []):
            call = served.call("ModelInfer", request(["a", "b"]).SerializeToString(), metadata=metadata)
            await call
            trailing.append(dict(await call.trailing_metadata()))
        return trailing

    first, second, third = with_server(classifier, use)
    assert first == {
        "x-request-id": "order-7",
        "server-timing": "tokenization;dur=1.00, queue;dur=2.00, inference;dur=3.00",
        "x-compute-tokens": "6",
        "x-model-version": "tiny:1",
    }
    assert len({"order-7", second["x-request-id"], third["x-request-id"]}) == 3


@pytest.mark.parametrize("kind", TextserveError.__subclasses__())
def test_an_error_has_its_code_message_and_type(classifier: Classifier, kind: type[TextserveError]) -> None:
    error = failed(
        classifier, "ModelInfer", request(["a"]).SerializeToString(), outcome=kind("cannot be done", where="texts[3]")
    )
    assert (error.code(), error.details()) == (CODES[kind], "texts[3] cannot be done")
    metadata = dict(error.trailing_metadata())
    assert metadata["x-error-type"] == kind.type
    assert metadata["x-request-id"]
    assert "grpc-status-details-bin" not in metadata


@pytest.mark.parametrize("seconds", [0.25, 3.0, 61.5])
def test_an_overloaded_service_returns_when_to_retry(classifier: Classifier, seconds: float) -> None:
    outcome = Overloaded("retry later", retry_after=seconds)
    error = failed(classifier, "ModelInfer", request(["a"]).SerializeToString(), outcome=outcome)
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
        (both(b"\x01\0\0\0a"), "inputs[0].contents cannot be combined with raw_input_contents"),
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
            "outputs[0] is not an output of this model; its outputs are label, score, probabilities, tokens, truncated",
        ),
        (
            request(
                ["a"],
                outputs=[OUTPUT(name="probabilities", parameters={"classification": InferParameter(int64_param=-1)})],
            ),
            "outputs[0].parameters.classification must be a whole number, at least 1",
        ),
        (
            request([], inputs=[ModelInferRequest.InferInputTensor()] * 17),
            "inputs has 17 tensors; no model has more than 16",
        ),
        (
            request(["a"], outputs=[ModelInferRequest.InferRequestedOutputTensor()] * 17),
            "outputs has 17 tensors; no model has more than 16",
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
def test_an_invalid_request_is_rejected_with_the_reason_and_not_computed(
    classifier: Classifier, message: ModelInferRequest, details: str
) -> None:
    async def use(served: Served) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as error:
            await served.infer(message)
        assert served.runner.asked == []
        return error.value

    error = with_server(classifier, use)
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, details)


def test_a_parameter_without_a_value_is_ignored(classifier: Classifier) -> None:
    output = OUTPUT(name="probabilities", parameters={"classification": InferParameter()})
    assert infer(classifier, request(["a"], outputs=[output])).outputs[0].datatype == "FP32"


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelInfer"])
@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
def test_an_invalid_message_is_rejected_and_not_logged(
    classifier: Classifier, caplog: pytest.LogCaptureFixture, method: str, body: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    error = failed(classifier, method, body)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == f"message is not a valid inference.{method}Request; see inference.proto"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_unexpected_error_is_returned_and_logged_without_the_text(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = RuntimeError("cannot read 'tajemnica'")
    error = failed(classifier, "ModelInfer", request(["tajemnica"]).SerializeToString(), outcome=outcome)
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
    error = failed(classifier, method, message.SerializeToString())
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "is not served here" in error.details()


def test_a_method_that_does_not_exist_is_unimplemented(classifier: Classifier) -> None:
    assert failed(classifier, "ModelTrain", b"").code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_key_is_required_if_configured_but_not_for_health(classifier: Classifier) -> None:
    async def use(served: Served) -> Any:
        for method in ("ModelInfer", "ModelMetadata", "ServerMetadata", "ModelReady"):
            for metadata in ([], [("authorization", "Bearer wrong")], [("authorization", KEYS[0])]):
                with pytest.raises(grpc.RpcError) as error:
                    await served.call(method, b"", metadata=metadata)
                assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        for key in KEYS:
            await served.infer(request(["a"]), metadata=[("authorization", f"Bearer {key}")])
        await served.call("ServerLive", b"")
        await served.call("ServerReady", b"")
        return await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())

    health = with_server(classifier, use, api_keys=",".join(KEYS))
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_requires_a_key_too(classifier: Classifier) -> None:
    listing = reflection_pb2.ServerReflectionRequest(list_services="")

    async def use(served: Served) -> list[str]:
        reflection = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        with pytest.raises(grpc.RpcError) as error:
            await reflection.ServerReflectionInfo(iter([listing])).read()
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        call = reflection.ServerReflectionInfo(iter([listing]), metadata=[("authorization", f"Bearer {KEYS[0]}")])
        return [service.name for service in (await call.read()).list_services_response.service]

    assert NAME in with_server(classifier, use, api_keys=KEYS[0])


def test_a_port_that_no_longer_listens_is_a_problem_of_the_service(classifier: Classifier) -> None:
    async def use(served: Served) -> str:
        (check,) = served.application.watchdog.checks
        assert await check() is None
        for connection in psutil.Process().net_connections("inet"):
            if connection.laddr.port == served.application.settings.grpc_port and connection.status == "LISTEN":
                with socket.socket(fileno=os.dup(connection.fd)) as listening:
                    listening.shutdown(socket.SHUT_RDWR)
        return str(await check())

    assert "gRPC no longer listens on" in with_server(classifier, use)


def test_a_message_of_the_maximum_size_is_accepted_and_a_larger_one_is_not(classifier: Classifier) -> None:
    size = len(request(["a" * 1000]).SerializeToString())

    async def use(served: Served) -> grpc.StatusCode:
        await served.infer(request(["a" * 1000]))
        with pytest.raises(grpc.RpcError) as error:
            await served.infer(request(["a" * 1001]))
        assert served.runner.asked == [["a" * 1000]]
        return error.value.code()

    assert with_server(classifier, use, max_body_bytes=size) == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_is_limited_by_its_decompressed_size(classifier: Classifier, compression: Any) -> None:
    async def use(served: Served) -> grpc.StatusCode:
        await served.infer(request(["a"] * 100), compression=compression)
        with pytest.raises(grpc.RpcError) as error:
            await served.infer(request(["a" * 100_000]), compression=compression)
        assert served.runner.asked == [["a"] * 100]
        return error.value.code()

    assert with_server(classifier, use, max_body_bytes=10_000) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_clients_deadline_is_the_requests(classifier: Classifier) -> None:
    async def use(served: Served) -> list[float]:
        await served.infer(request(["a"]), timeout=300.0)
        await served.infer(request(["a"]))
        await served.infer(request(["a"], parameters={"timeout": InferParameter(int64_param=1_000_000)}), timeout=300.0)
        return served.runner.seconds

    with_deadline, without, with_both = with_server(classifier, use, request_seconds=600)
    assert 200 < with_deadline <= 301  # gRPC measures the deadline by its own clock
    assert (without, with_both) == (600, 1)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.005)


async def cancel(served: Served) -> int:
    call = served.call("ModelInfer", request(["a"]).SerializeToString())
    await until(lambda: served.runner.asked)
    call.cancel()
    return int((await call.code()).value[0])


async def exceed_the_deadline(served: Served) -> int:
    # A client library would cancel at the deadline too, and which is first depends on the machine.
    port, message = served.application.settings.grpc_port, request(["a"]).SerializeToString()
    return await asyncio.to_thread(http2.call, port, SERVICE + "ModelInfer", message, timeout="2S")


@pytest.mark.parametrize(
    ("end", "code", "outcome"),
    [
        (cancel, grpc.StatusCode.CANCELLED, "cancelled"),
        (exceed_the_deadline, grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded"),
    ],
)
def test_a_request_cancelled_by_its_client_or_its_deadline_is_dropped(
    classifier: Classifier, end: Callable[[Served], Awaitable[int]], code: grpc.StatusCode, outcome: str
) -> None:
    async def use(served: Served) -> list[str]:
        assert await end(served) == code.value[0]
        await until(lambda: served.runner.cancelled and outcomes(served))
        return outcomes(served)

    assert with_server(classifier, use, outcome=None) == [f'{{outcome="{outcome}",protocol="grpc"}} 1.0']


def test_the_metrics_count_only_inferences(classifier: Classifier) -> None:
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


def test_stopping_it_is_unhealthy_then_rejects_new_requests_and_answers_accepted_ones(classifier: Classifier) -> None:
    async def use(served: Served) -> None:
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        pending = asyncio.ensure_future(served.infer(request(["a"])))
        await until(lambda: served.runner.asked)
        served.application.leave()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ready = ServerReadyResponse.FromString(await served.call("ServerReady", b""))
        model = ModelReadyRequest(name=MODEL).SerializeToString()
        model_ready = ModelReadyResponse.FromString(await served.call("ModelReady", model))
        assert (ready.ready, model_ready.ready) == (False, False)
        # stop() skips the rest of the delay and, once the inference is answered, does not wait for the health watch.
        stopping = asyncio.ensure_future(served.server.stop())
        async with asyncio.timeout(100):
            code = None
            while code != grpc.StatusCode.UNAVAILABLE:  # a call that the closing of the port interrupts is CANCELLED
                code = await served.call("ServerLive", b"").code()
            assert not pending.done()
            served.runner.finished.set()
            assert (await pending).model_name == MODEL
            await stopping

    with_server(classifier, use, outcome=None, stop_delay_seconds=600, drain_seconds=600)


def test_an_inference_beyond_the_drain_limit_is_cancelled(classifier: Classifier) -> None:
    async def use(served: Served) -> grpc.StatusCode:
        pending = asyncio.ensure_future(served.infer(request(["a"])))
        await until(lambda: served.runner.asked)
        await served.server.stop()
        with pytest.raises(grpc.RpcError) as error:
            await pending
        assert served.runner.cancelled == 1
        return error.value.code()

    code = with_server(classifier, use, outcome=None, drain_seconds=0.2)
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1", ALL_ADDRESSES])
def test_a_port_in_use_is_an_error_that_names_it_and_the_setting(reuse: bool, address: str) -> None:
    with socket.socket() as used:
        if reuse:
            used.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        used.bind((address, 0))
        used.listen()
        port = used.getsockname()[1]
        for host in ("127.0.0.1", ALL_ADDRESSES):
            with pytest.raises(PortError, match=f"port {port} of {host}: Address already .* TEXTSERVE_GRPC_PORT"):
                check_port(Settings(grpc_host=host, grpc_port=port))


def test_two_servers_do_not_share_a_port(classifier: Classifier) -> None:
    async def use(served: Served) -> None:
        with pytest.raises(PortError, match=f"port {served.application.settings.grpc_port} "):
            await GrpcServer(served.application).start()
        await served.infer(request(["a"]))

    with_server(classifier, use)


def test_port_0_disables_grpc(classifier: Classifier) -> None:
    before = len(psutil.Process().net_connections("inet"))

    async def use() -> int:
        server = GrpcServer(fake_application(classifier, FakeRunner(ANSWER), {"grpc_port": 0}))
        await server.start()
        during = len(psutil.Process().net_connections("inet"))
        await server.stop()
        return during

    assert asyncio.run(use()) == before
    check_port(Settings(grpc_port=0))


def test_with_a_certificate_only_tls_is_served(
    classifier: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = self_signed(tmp_path)

    async def use(served: Served) -> str:
        with pytest.raises(grpc.RpcError) as error:
            await served.call("ServerMetadata", b"", timeout=60)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        address = f"127.0.0.1:{served.application.settings.grpc_port}"
        async with grpc.aio.secure_channel(address, credentials) as secure:
            answer: Any = await secure.unary_unary(SERVICE + "ServerMetadata")(b"", timeout=60)
        return str(ServerMetadataResponse.FromString(answer).name)

    assert with_server(classifier, use, tls_certificate=certificate, tls_key=key) == "textserve"


# The real service.


def test_tritons_client_receives_predictions(triton: Any) -> None:
    for name, shape in [("row", [3]), ("column", [3, 1]), ("version", [3])]:
        answer = triton[name]
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
    classes = triton["classes"]["probabilities"]
    assert (classes["shape"], classes["dtype"]) == ([3, 2], "object")
    assert [element.split(":")[2] for element in classes["data"][::2]] == LABELS
    for algorithm in ("gzip", "deflate"):
        assert triton[algorithm]["label"]["data"] == LABELS * 50


def test_its_predictions_are_those_of_classify(server: Server, triton: Any) -> None:
    native = httpx.post(f"{server.url}/classify", json={"texts": TEXTS}, timeout=300).json()["results"]
    expected = [score for result in native for score in result["scores"].values()]
    assert triton["row"]["probabilities"]["data"] == pytest.approx(expected, abs=1e-4)


def test_tritons_client_receives_server_and_model_metadata(triton: Any) -> None:
    assert (triton["live"], triton["ready"]) == ([True, True], [True, True])
    assert triton["server"]["extensions"] == ["binary_tensor_data", "classification"]
    assert triton["model"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert triton["model"]["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]}


def test_tritons_client_receives_the_code_and_message_of_an_error(triton: Any) -> None:
    errors = triton["errors"]
    assert errors["model"] == ["StatusCode.NOT_FOUND", f"model is not served here; {MODEL} is"]
    assert errors["version"][0] == "StatusCode.NOT_FOUND"
    assert errors["empty"] == ["StatusCode.INVALID_ARGUMENT", "texts[1] is empty or only white space"]
    assert errors["truncate"][0] == "StatusCode.INVALID_ARGUMENT"
    assert errors["truncate"][1].startswith("texts[0] has more than 512 tokens")
    assert errors["timeout"][0] == errors["client timeout"][0] == "StatusCode.DEADLINE_EXCEEDED"
    assert (triton["truncated"]["truncated"]["data"], triton["truncated"]["tokens"]["data"]) == ([True], [512])


def test_health_and_reflection_are_served(channel: Any) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    for name in ("", NAME):
        assert check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        check(health_pb2.HealthCheckRequest(service="other"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        NAME,
    ]
    described = database.FindFileContainingSymbol(NAME)
    assert [method.name for method in described.service[0].method][-1] == "ModelInfer"


def test_accepted_requests_are_answered_when_the_service_stops(home: Path) -> None:
    # Equal texts would be computed once.
    messages = [
        request([f"{client}, {number}: {'dość długi tekst o niczym ' * 20}" for number in range(5)])
        for client in range(16)
    ]
    patient = ("TEXTSERVE_REQUEST_SECONDS", "TEXTSERVE_DRAIN_SECONDS", "TEXTSERVE_MAX_QUEUE_SECONDS")
    settings: Any = dict.fromkeys(patient, "600")
    with (
        serve(home, **settings) as stopping,
        grpc.insecure_channel(f"127.0.0.1:{stopping.grpc_port}") as stopping_channel,
        ThreadPoolExecutor(16) as pool,
    ):
        call = stopping_channel.unary_unary(SERVICE + "ModelInfer")
        pending = [pool.submit(call, message.SerializeToString(), timeout=600) for message in messages]
        while "textserve_requests_in_flight 16.0" not in httpx.get(f"{stopping.url}/metrics", timeout=60).text:
            pass
        assert stopping.stop(seconds=600) == 0
        answers = [ModelInferResponse.FromString(response.result()) for response in pending]
        assert [list(answer.outputs[0].shape) for answer in answers] == [[5]] * 16


def test_the_service_does_not_start_if_the_port_is_in_use(home: Path, server: Server) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("bentoml"), "serve", "service:TextClassifier", "--port", str(free_port())],
        cwd=ROOT,
        env=environment(home, TEXTSERVE_GRPC_PORT=str(server.grpc_port)),
        capture_output=True,
        text=True,
        timeout=600,
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
def corrupted(draw: st.DrawFn) -> bytes:
    """A message, complete or truncated, with some bytes changed."""
    body = bytearray(draw(MESSAGES).SerializeToString())
    for _ in range(draw(st.integers(0, 3)) if body else 0):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.just(len(body)) | st.integers(0, len(body)))])


@settings(max_examples=MALFORMED_MESSAGES, suppress_health_check=list(HealthCheck))
@given(
    body=corrupted() | st.binary(max_size=60),
    method=st.sampled_from(["ModelInfer"] * 4 + ["ModelReady", "ModelMetadata"]),
)
@pytest.mark.timeout(1800)
def test_any_message_is_answered_or_rejected(channel: Any, body: bytes, method: str) -> None:
    try:
        channel.unary_unary(SERVICE + method)(body, timeout=300)
    except grpc.RpcError as error:
        assert error.code() in EXPECTED  # noqa: PT017  # other errors must be seen
        assert error.details()  # noqa: PT017


def test_after_malformed_messages_the_service_answers_and_logs_nothing_unexpected(server: Server, channel: Any) -> None:
    body = channel.unary_unary(SERVICE + "ModelInfer")(request(TEXTS).SerializeToString(), timeout=300)
    answer: Any = ModelInferResponse.FromString(body)
    assert [label.decode() for label in answer.outputs[0].contents.bytes_contents] == LABELS
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'outcome="internal"' not in metrics
    assert "unexpected" not in server.log()
    assert "Traceback" not in server.log()
