"""HTTP connections: uvicorn's protocol, with limits while a request is received, and without protocol upgrades."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import httptools
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from textserve.application import Application
from textserve.bento.open_connections import OpenConnections
from textserve.descriptors import max_connections
from textserve.errors import HeadTooLarge, InvalidRequest, Overloaded, ReceiveTimeout, TextserveError, UrlTooLong
from textserve.http.native import NATIVE
from textserve.http.refusals import Refusals
from textserve.http.router import App, Response, error_response, head_of
from textserve.metrics import ConnectionMetrics
from textserve.telemetry import request_id

# nginx's default for a head (4 buffers of 8 KiB); a URL may take half of it.
MAX_HEAD_BYTES = 32_768
MAX_URL_BYTES = 16_384
HEADER_BYTES = 4  # of a header besides name and value: colon, space, CR and LF
# A request that arrives at this rate may take longer than the time limit.
MIN_BYTES_PER_SECOND = 1000
# Maximum bytes of framing for each byte of a chunked body: a chunk of one byte has five.
MAX_OVERHEAD = 8
# Maximum seconds to read on after an error.
LINGER_SECONDS = 1.0
# How often to check whether a client that shut down its sending side is still there, in seconds.
HALF_CLOSED_SECONDS = 0.25
RECEIVE_BUFFER_BYTES = 131_072
TCP_CLOSE = 7  # <linux/tcp_states.h>


def serve_http(
    application: Callable[[], Application], answer: Callable[[App], App], refusals: Refusals | None = None
) -> None:
    """Make uvicorn serve HTTP by :class:`Connection`, and requests by ``answer(app)``, where ``app`` is BentoML's.

    So BentoML's middleware, all of which is off, costs no time on requests that ``answer`` does not pass on.
    ``application()`` is called once requests arrive. Checked with uvicorn 0.54 and BentoML 1.4.39, which passes no HTTP
    protocol class to uvicorn.
    """
    connections = cache(lambda: open_connections(application()))

    @cache
    def answer_first(config: uvicorn.Config) -> None:
        # Behind uvicorn's own middleware, which knows the client of a request that a proxy has passed on.
        proxied: Any = config.loaded_app
        proxied.app = answer(proxied.app)

    def protocol(config: uvicorn.Config, **options: Any) -> Connection:
        answer_first(config)
        return Connection(application, connections, refusals, config, **options)

    uvicorn.config.HTTP_PROTOCOLS["auto"] = protocol  # type: ignore[assignment]  # not a name


def open_connections(application: Application) -> OpenConnections:
    """The open connections of ``application``, with the limit and certificate of its settings."""
    limit = max_connections(application.settings.max_connections)
    return OpenConnections(limit, ConnectionMetrics(application.metrics_registry), application.certificate)


class Connection(HttpToolsProtocol):
    """A connection whose requests are limited in size and in the time that they take to arrive.

    It ignores requests to upgrade to another protocol (RFC 9110, 7.8), where uvicorn 0.54 loses the request's body
    (uvicorn#2722), and answers a client that has shut down its sending side.
    """

    def __init__(
        self,
        application: Callable[[], Application],
        connections: Callable[[], OpenConnections],
        refusals: Refusals | None,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        # uvicorn would format a line for its access log, which is off, for every request.
        self.access_log = False
        self._application = application
        self._open = connections()
        self._refusals = refusals
        # The response to the request that is being received, if the queue has no room for it.
        self._refusal: Response | None = None
        if self._open.certificate is not None and self._open.certificate.renewed() and self.config.ssl is not None:
            # uvicorn's context, which this connection uses too: its handshake comes later.
            self._open.certificate.load(self.config.ssl)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the time limit of the first request, unless too many connections are open."""
        super().connection_made(transport)
        # The kernel would buffer up to 6 MiB of each connection, which count as memory of the container.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._idle_since = self.loop.time()
        self._received = self._received_before = self._body_bytes = self._head_bytes = 0
        self._in_head = True
        # Whether all that still arrives is discarded.
        self._lingers = False
        # The last request that has arrived whole.
        self._whole: Any = None
        self._incomplete = True
        self._problem: TextserveError | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        if self._open.add(self, self._idle_since):
            self._restart_limit()
        elif self._open.crowded:
            transport.abort()
        else:
            self._reject(Overloaded("has too many connections; retry later", where="service", retry_after=1))

    @property
    def idle_since(self) -> float | None:
        """When its last request was answered, or the connection made; ``None`` while there is a request."""
        return None if self._received or not self._answered() else self._idle_since

    def close_idle(self) -> None:
        """Close this idle connection, to make room for another."""
        self.transport.close()

    def on_response_complete(self) -> None:
        """Serve the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._open.remove(self)
        self._stop_limit()
        if self._poll is not None:
            self._poll.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a part of a request."""
        if self._lingers:
            return
        self._unset_keepalive_if_required()
        self._received += len(data)
        self._began = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._problem = self._problem or InvalidRequest("is not HTTP/1.1", where="request")
        if self._in_head and not self._began:
            self._head_bytes += len(data)
            self._check_head(self._head_bytes)
        elif self._incomplete:
            # Bytes beside the body: sizes and extensions of its chunks, and trailers.
            self._check_head(self._received - MAX_OVERHEAD * self._body_bytes - MAX_HEAD_BYTES)
        if self._problem is not None:
            self._reject(self._problem)
        elif self._incomplete:
            if self._limit is None:
                self._restart_limit()
        elif self._answered() and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            # What arrived was no request, or the rest of a request that was already answered.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _answered(self) -> bool:
        """Whether every request that has arrived whole is answered."""
        return self._whole is None or self._whole.response_complete

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._problem is not None:
                    return
                # The parser has stopped after the head. A new parser reads the same request without the upgrade.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                value = b", ".join(option for option in options if option.lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's always closes the connection
        """Keep the connection of a client that still reads: it has sent a whole request that is not answered yet."""
        cycle = self.cycle
        if self.scheme == "https" or self._incomplete or cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        if cycle.scope["http_version"] == "1.1" and not cycle.response_started and not self.pipeline:
            # A client that is gone, and not only done with sending, answers this with a reset.
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._poll = self.loop.call_later(HALF_CLOSED_SECONDS, self._check_half_closed)
        return True

    def _check_half_closed(self) -> None:
        # The transport no longer reads, so it does not notice the reset.
        state = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        if struct.unpack("B", state)[0] == TCP_CLOSE:
            self.transport.abort()
        else:
            self._poll = self.loop.call_later(HALF_CLOSED_SECONDS, self._check_half_closed)

    def on_message_begin(self) -> None:
        """Reset the limits for another request."""
        self._began = self._in_head = self._incomplete = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Append to the URL."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._problem = UrlTooLong(f"has more than {MAX_URL_BYTES} bytes", where="url")

    def on_headers_complete(self) -> None:
        """Start the request, unless it exceeds a limit or asks for an upgrade."""
        self._in_head = False
        self._problem = self._problem or self._head_problem()
        if self._problem is None and not self.parser.should_upgrade():
            self._refusal = self._refuse()
            if self._refusal is None:
                super().on_headers_complete()
            # The request has the headers. What follows are trailers (RFC 9110, 6.5.1), which nothing here reads.
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """Append to the body."""
        self._body_bytes += len(body)
        if self._problem is None and self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's time limit."""
        if self._problem is None and not self.parser.should_upgrade():
            self._incomplete = False
            self._received = self._received_before = self._body_bytes = 0
            self._stop_limit()
            if self._refusal is not None:
                self._write(self._refusal.status, self._refusal.headers, self._refusal.content)
                self._refusal = None
                self.on_response_complete()
            else:
                self._whole = self.cycle
                super().on_message_complete()

    def _refuse(self) -> Response | None:
        """The response to a request whose head has arrived, if the request is refused and its turn has come."""
        if self._refusals is None or self.pipeline or not self._answered() or not self.parser.should_keep_alive():
            return None
        return self._refusals.find(self.parser.get_method(), self.url, self.headers)

    def _write(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))

    def _head_problem(self) -> TextserveError | None:
        """The error of a head that exceeds a limit, or that RFC 9112 forbids and a proxy may read differently."""
        size = hosts = 0
        encodings = []
        for name, value in self.headers:
            size += len(name) + len(value) + HEADER_BYTES
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                encodings.append(value.strip().lower())
        version = self.parser.get_http_version()
        if size > MAX_HEAD_BYTES:
            return _too_large()
        if version not in ("1.0", "1.1"):
            return InvalidRequest("is not HTTP/1.1", where="request")
        if self.parser.get_method() == b"CONNECT":
            return InvalidRequest("CONNECT is for proxies", where="method")
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return InvalidRequest(f"have {hosts} Host headers; send one", where="headers")
        if encodings not in ([], [b"chunked"]):
            return InvalidRequest("must be chunked", where="Transfer-Encoding")
        return None

    def _check_head(self, size: int) -> None:
        if self._problem is None and size > MAX_HEAD_BYTES:
            self._problem = _too_large()

    def _restart_limit(self) -> None:
        self._received_before = self._received
        self._limit = self.loop.call_later(self._application().settings.receive_seconds, self._check_limit)

    def _stop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _check_limit(self) -> None:
        seconds = self._application().settings.receive_seconds
        enough = self._received - self._received_before >= MIN_BYTES_PER_SECOND * seconds
        if enough or not self._answered():
            # Until earlier requests are answered, uvicorn reads no further request.
            self._restart_limit()
        elif self._received and (self._in_head or self._refusal is not None or not self._answered_early()):
            slow = f"did not arrive within {seconds:g} s, nor {MIN_BYTES_PER_SECOND} bytes of it a second"
            self._reject(ReceiveTimeout(slow, where="request"))
        else:
            self.transport.close()

    def _answered_early(self) -> bool:
        """Whether the request that is being received has its response, so that the rest of its body is discarded."""
        return self.cycle is not None and self.cycle.response_complete

    def _reject(self, error: TextserveError) -> None:
        """Answer an invalid or incomplete request with an error, then close; uvicorn would answer in plain text."""
        self._stop_limit()
        if self.transport.is_closing() or self._lingers:
            return
        if not self._answered():
            # The answers to earlier requests come first; the last of them closes the connection.
            self._whole.keep_alive = False
            self.flow.pause_reading()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Its handler waits for the rest of the body.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._application().requests.observe("http", error.type, 0)
        response = error_response(NATIVE, error, close=True)
        headers = head_of(response, [(b"x-request-id", request_id(b""))])
        self._write(response.status, headers, response.content)
        if self.transport.can_write_eof():
            # If closed at once, with unread input, the kernel would reset the connection, and the answer be lost.
            self.transport.write_eof()
            self._lingers = True
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"have more than {MAX_HEAD_BYTES} bytes", where="headers")
