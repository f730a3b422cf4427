"""The spans that the real service sends to a collector."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc import StatusCode
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.collector import Collector, attributes, collect
from tests.grpc_client import MODEL, SERVICE, request
from tests.server import ROOT, Server, environment, free_port, serve
from textserve.grpc.inference_pb2 import ModelReadyRequest
from textserve.tracing import is_configured

TEXT = "Tajemnica: it was great, really"
STAGES = ["tokenization", "queue", "inference"]
INPUTS = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(scope="module")
def collected() -> Iterator[tuple[Collector, str]]:
    with collect() as collected:
        yield collected


@pytest.fixture(scope="module")
def server(store: Path, collected: tuple[Collector, str]) -> Iterator[Server]:
    with serve(store, OTEL_EXPORTER_OTLP_ENDPOINT=collected[1], OTEL_BSP_SCHEDULE_DELAY="100") as running:
        yield running


@pytest.fixture
def collector(collected: tuple[Collector, str]) -> Collector:
    return collected[0]


class Caller:
    """A client's span, and the header with its context."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.header = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}"}


@pytest.fixture
def caller() -> Caller:
    return Caller()


def check_stages(spans: list[Span], texts: int) -> None:
    """The first span is the request's; its stages follow each other within its time."""
    first, *stages = spans
    assert [stage.name for stage in stages] == STAGES
    assert {stage.parent_span_id for stage in stages} == {first.span_id}
    ends = [first.start_time_unix_nano]
    for stage in stages:
        assert stage.start_time_unix_nano >= ends[-1]
        ends.append(stage.end_time_unix_nano)
    assert ends == sorted(ends)
    assert ends[-1] <= first.end_time_unix_nano + 1_000_000  # two clocks
    assert stages[2].end_time_unix_nano - stages[2].start_time_unix_nano > 100_000
    assert attributes(first)["textserve.texts"] == texts
    assert attributes(first)["textserve.tokens"] >= 5 * texts


@pytest.mark.parametrize(
    ("path", "content", "route", "texts"),
    [
        ("/classify", {"texts": [TEXT] * 3}, "/classify", 3),
        ("/explain", {"text": TEXT}, "/explain", 6),
        ("/", {"inputs": TEXT}, "/", 1),
        ("/predict", {"inputs": TEXT}, "/predict", 1),
        (f"/v2/models/{MODEL}/infer", INPUTS, "/v2/models/{model}/infer", 1),
    ],
)
def test_a_request_over_http_is_a_child_of_the_clients_span(
    server: Server, collector: Collector, caller: Caller, path: str, content: object, route: str, texts: int
) -> None:
    answer = httpx.post(server.url + path, json=content, headers=caller.header, timeout=30)
    assert answer.status_code == 200
    spans = collector.wait(caller.trace_id, 4)
    assert (spans[0].name, spans[0].kind) == (f"POST {route}", Span.SPAN_KIND_SERVER)
    assert spans[0].parent_span_id.hex() == caller.span_id
    assert spans[0].status.code == Status.STATUS_CODE_UNSET
    found = attributes(spans[0])
    assert (found["http.request.method"], found["http.route"], found["url.scheme"]) == ("POST", route, "http")
    assert found["http.response.status_code"] == 200
    check_stages(spans, texts)


def call(server: Server, method: str, body: bytes, caller: Caller) -> StatusCode:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            channel.unary_unary(SERVICE + method)(body, metadata=list(caller.header.items()), timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return StatusCode.OK


def test_a_call_over_grpc_is_a_child_of_the_clients_span(server: Server, collector: Collector, caller: Caller) -> None:
    assert call(server, "ModelInfer", request([TEXT] * 2).SerializeToString(), caller) == StatusCode.OK
    spans = collector.wait(caller.trace_id, 4)
    assert spans[0].name == "inference.GRPCInferenceService/ModelInfer"
    assert (spans[0].kind, spans[0].parent_span_id.hex()) == (Span.SPAN_KIND_SERVER, caller.span_id)
    found = attributes(spans[0])
    assert {key: value for key, value in found.items() if key.startswith("rpc.")} == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "rpc.grpc.status_code": 0,
    }
    check_stages(spans, 2)


def late() -> bytes:
    """A request that cannot be answered before its deadline."""
    message = request(["dość długi tekst o niczym " * 50] * 50, parameters={})
    message.parameters["timeout"].int64_param = 1000
    serialized: bytes = message.SerializeToString()
    return serialized


@pytest.mark.parametrize(
    ("method", "body", "code", "error"),
    [
        pytest.param("ModelInfer", request([" "]).SerializeToString(), StatusCode.INVALID_ARGUMENT, False, id="empty"),
        pytest.param("ModelInfer", b"\xff", StatusCode.INVALID_ARGUMENT, False, id="invalid"),
        pytest.param(
            "ModelReady",
            ModelReadyRequest(name="other").SerializeToString(),
            StatusCode.NOT_FOUND,
            False,
            id="another model",
        ),
        pytest.param("ServerReady", b"", StatusCode.OK, False, id="ready"),
        pytest.param("ModelInfer", late(), StatusCode.DEADLINE_EXCEEDED, True, id="late"),
    ],
)
def test_a_call_has_its_code_and_only_an_error_of_the_server_is_one_of_the_span(
    server: Server, collector: Collector, caller: Caller, method: str, body: bytes, code: StatusCode, error: bool
) -> None:
    assert call(server, method, body, caller) == code
    (span,) = collector.wait(caller.trace_id, 1)
    assert attributes(span)["rpc.grpc.status_code"] == code.value[0]
    assert span.status.code == (Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET)


@pytest.mark.parametrize(
    ("method", "path", "name", "route", "status"),
    [
        ("POST", "/classify", "POST /classify", "/classify", 400),
        ("GET", "/classify", "GET /classify", "/classify", 405),
        ("GET", "/docs.json", "GET /docs.json", "/docs.json", 200),
        ("GET", "/ui", "GET /ui", "/ui", 200),
        ("GET", "/v2/models/tajemnica/versions/Tajemnica", "GET", "/v2/models/{model}/versions/{version}", 404),
        ("GET", "/tajemnica", "GET", None, 404),
        ("PROPFIND", "/classify", "HTTP /classify", "/classify", 405),
    ],
)
def test_a_request_has_its_route_and_status_and_never_its_path(
    server: Server,
    collector: Collector,
    caller: Caller,
    method: str,
    path: str,
    name: str,
    route: str | None,
    status: int,
) -> None:
    answer = httpx.request(method, server.url + path, headers=caller.header)
    assert answer.status_code == status
    (span,) = collector.wait(caller.trace_id, 1)
    assert span.name == (f"GET {route}" if name == "GET" and route else name)
    found = attributes(span)
    assert found.get("http.route") == route
    assert found["http.response.status_code"] == status
    assert found["http.request.method"] == ("_OTHER" if method == "PROPFIND" else method)
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_no_span_contains_text_headers_or_query_of_a_request(
    server: Server, collector: Collector, caller: Caller
) -> None:
    headers = {**caller.header, "baggage": "key=tajemnica", "x-request-id": "tajemnica"}
    httpx.post(f"{server.url}/classify", json={"texts": [TEXT, 1]}, headers=headers)
    httpx.post(f"{server.url}/classify?tajemnica=1", json={"texts": [TEXT]}, headers=headers)
    collector.wait(caller.trace_id, 5)
    assert b"tajemnica" not in b"".join(collector.bodies).lower()


def test_health_and_metrics_have_no_spans(server: Server, collector: Collector, caller: Caller) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert httpx.get(server.url + path, headers=caller.header).status_code == 200
    httpx.get(f"{server.url}/info", headers=caller.header)
    assert [span.name for span in collector.wait(caller.trace_id, 1)] == ["GET /info"]


def test_a_request_that_the_client_does_not_sample_is_not_sent(server: Server, collector: Collector) -> None:
    not_sampled, sampled = Caller(flags="00"), Caller()
    for caller in (not_sampled, sampled):
        httpx.post(f"{server.url}/classify", json={"texts": [TEXT]}, headers=caller.header)
    collector.wait(sampled.trace_id, 4)
    assert [span for span in collector.spans() if span.trace_id.hex() == not_sampled.trace_id] == []


def test_spans_have_the_service_and_the_model(server: Server, collector: Collector, caller: Caller) -> None:
    model = httpx.post(f"{server.url}/classify", json={"texts": [TEXT]}, headers=caller.header).json()["model"]
    collector.wait(caller.trace_id, 4)
    assert collector.paths == {"/v1/traces"}
    for resource in collector.resources():
        assert (resource["service.name"], resource["textserve.model"]) == ("textserve", model)


def test_the_last_spans_are_sent_on_stopping(home: Path, caller: Caller) -> None:
    with collect() as (collector, endpoint):
        variables: dict[str, Any] = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/here",
            "OTEL_SERVICE_NAME": "mine",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        with serve(home, **variables) as server:
            httpx.post(f"{server.url}/classify", json={"texts": [TEXT]}, headers=caller.header)
            assert collector.bodies == []
            assert server.stop() == 0
        assert [span.name for span in collector.wait(caller.trace_id, 4)] == ["POST /classify", *STAGES]
        assert collector.paths == {"/here"}
        assert {resource["service.name"] for resource in collector.resources()} == {"mine"}


@pytest.mark.parametrize("listening", [False, True])
def test_an_unavailable_collector_delays_neither_requests_nor_stopping(home: Path, listening: bool) -> None:
    with ExitStack() as stack:
        port = free_port()
        if listening:
            # Accepts connections and never answers.
            silent = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            port = silent.getsockname()[1]
        variables: dict[str, Any] = {
            ENDPOINT: f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600",  # seconds: longer than the test waits
            "TEXTSERVE_STOP_DELAY_SECONDS": "0",
        }
        server = stack.enter_context(serve(home, **variables))
        for _ in range(5):
            answer = httpx.post(f"{server.url}/classify", json={"texts": [TEXT]}, timeout=60)
            assert answer.status_code == 200
        assert server.stop() == 0
        assert "Tajemnica" not in server.log()
        assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("variables", "configured"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, False),
    ],
)
def test_tracing_is_configured_by_the_variables_of_opentelemetry(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], configured: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_configured() is configured


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:1"])
def test_the_sdk_is_loaded_only_with_a_collector(home: Path, endpoint: str) -> None:
    script = (
        "import sys, service\n"
        "served = service.TextClassifier.inner()\n"
        "print(type(service.answer(None)).__name__, type(served.application.runner).__name__,"
        " 'opentelemetry.sdk.trace' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(home, **{ENDPOINT: endpoint}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    traced, plain = ["TracedHttp", "TracedRunner", "True"], ["HttpProtocols", "Runner", "False"]
    assert done.stdout.split() == (traced if endpoint else plain)
