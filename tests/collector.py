"""A local OpenTelemetry collector that stores the spans it receives over OTLP/HTTP."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """The received requests and their spans."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self._received = threading.Condition()

    def add(self, path: str, body: bytes) -> None:
        """Store a request."""
        with self._received:
            self.paths.add(path)
            self.bodies.append(body)
            self._received.notify_all()

    def resources(self) -> list[dict[str, Any]]:
        """The attributes of every resource that sent spans."""
        return [attributes(sent.resource) for sent in self._resource_spans()]

    def spans(self) -> list[Span]:
        """All received spans."""
        return [span for sent in self._resource_spans() for scope in sent.scope_spans for span in scope.spans]

    def _resource_spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [sent for request in requests for sent in request.resource_spans]

    def wait(self, trace_id: str, count: int, seconds: float = 100.0) -> list[Span]:
        """The spans of a trace in order of their starts, after at least ``count`` of them were received."""
        found: list[Span] = []

        def complete() -> bool:
            found[:] = [span for span in self.spans() if span.trace_id.hex() == trace_id]
            return len(found) >= count

        with self._received:
            if not self._received.wait_for(complete, seconds):
                raise AssertionError(
                    f"{len(found)} of {count} spans after {seconds} s: {[span.name for span in found]}"
                )
        return sorted(found, key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano))


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in holder.attributes}


@contextlib.contextmanager
def collect() -> Iterator[tuple[Collector, str]]:
    """A running collector and its endpoint."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.add(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
