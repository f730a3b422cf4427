"""A collector of OpenTelemetry spans on this machine: takes them over OTLP/HTTP, and remembers them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What has been received: the bodies of the requests, and the spans in them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self._lock = threading.Lock()

    def add(self, path: str, body: bytes) -> None:
        """Remember a request."""
        with self._lock:
            self.paths.add(path)
            self.bodies.append(body)

    def resources(self) -> list[dict[str, Any]]:
        """The attributes of those who have sent."""
        with self._lock:
            requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [attributes(one.resource) for request in requests for one in request.resource_spans]

    def spans(self) -> list[Span]:
        """All spans so far."""
        with self._lock:
            requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait(self, trace_id: str, count: int, seconds: float = 10.0) -> list[Span]:
        """The spans of a trace, in the order of their starts, once there are ``count`` of them."""
        deadline = time.monotonic() + seconds
        while True:
            found = [span for span in self.spans() if span.trace_id.hex() == trace_id]
            if len(found) >= count:
                return sorted(found, key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano))
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} spans of {count} after {seconds} s: {[one.name for one in found]}")
            time.sleep(0.05)


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span or a resource, as plain values."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in holder.attributes}


@contextlib.contextmanager
def collect() -> Iterator[tuple[Collector, str]]:
    """A collector, and the endpoint to configure, until the block ends."""
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
