"""What the protocols over HTTP share: an ASGI middleware in front of BentoML's own routes.

It reads the body within its limit, gives up a request whose client has gone, turns every outcome into a response and
counts it. A protocol is a table of routes and the way it writes an error; what a request means is in its own module.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sentiment.application import Application
from sentiment.errors import BodyTooLarge, Internal, InvalidRequest, SentimentError
from sentiment.metrics import exposition
from sentiment.runner import Classified

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = TypeVar("Answer")

JSON = b"application/json"
# A request id is given back and may be logged: no more than this of it, and printable ASCII only.
REQUEST_ID_BYTES = 128
# By its first bytes zlib tells gzip from deflate when it is asked to.
DETECT_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: header names in lower case, and the whole body, decompressed."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered; ``classified`` if texts were, for the headers that say what it took."""

    content: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    classified: Classified | None = None


Handler = Callable[[Application, Request], Awaitable[Response]]


@dataclass(frozen=True)
class HttpProtocol:
    """One protocol.

    Attributes:
        name: for the metrics.
        routes: handlers by method and path.
        refuse: how the protocol writes an error; status, ``Retry-After`` and such are added for it.
        below: a path, and the handler of everything below it that is not among the routes.
    """

    name: str
    routes: Mapping[tuple[str, str], Handler]
    refuse: Callable[[SentimentError], bytes]
    below: tuple[str, Handler] | None = None


class HttpProtocols:
    """ASGI middleware that answers for the protocols and ``GET /metrics``, and passes on everything else."""

    def __init__(self, app: App, application: Callable[[], Application], protocols: Sequence[HttpProtocol]) -> None:
        """Wrap ``app``; ``application()`` is asked for once there are requests."""
        self._app = app
        self._application = application
        self._routes = {route: (one, handler) for one in protocols for route, handler in one.routes.items()}
        self._below = [(one, *one.below) for one in protocols if one.below]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif found := self._find(scope["method"], scope["path"]):
            await self._answer(*found, scope, receive, send)
        elif (scope["method"], scope["path"]) == ("GET", "/metrics"):
            content = exposition(self._application().registry)
            await _send(send, 200, content, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])
        else:
            await self._app(scope, receive, send)

    def _find(self, method: str, path: str) -> tuple[HttpProtocol, Handler] | None:
        if found := self._routes.get((method, path)):
            return found
        for protocol, prefix, handler in self._below:
            if path == prefix or path.startswith(f"{prefix}/"):
                return protocol, handler
        return None

    async def _answer(
        self, protocol: HttpProtocol, handler: Handler, scope: Scope, receive: Receive, send: Send
    ) -> None:
        application, started = self._application(), time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, outcome, content_type = 200, "ok", JSON
        added: list[tuple[bytes, bytes]] = [(b"x-request-id", _request_id(headers))]
        try:
            body = await _read(headers, receive, application.settings.max_body_bytes)
            request = Request(scope["method"], scope["path"], headers, body)
            response = await _unless_gone(receive, handler(application, request))
            if response is None:
                application.requests.observe(protocol.name, "cancelled", time.perf_counter() - started)
                return
            content, status, content_type = response.content, response.status, response.content_type
            added += response.headers
            if response.classified is not None:
                added += _measured(application, response.classified)
        except Exception as error:
            refusal = error if isinstance(error, SentimentError) else _unexpected(error, scope["path"])
            content, status, outcome = protocol.refuse(refusal), refusal.status, refusal.type
            if refusal.retry_after is not None:
                added.append((b"retry-after", str(max(1, math.ceil(refusal.retry_after))).encode()))
            if isinstance(refusal, BodyTooLarge):
                added.append((b"connection", b"close"))
        application.requests.observe(protocol.name, outcome, time.perf_counter() - started)
        await _send(send, status, content, [(b"content-type", content_type), *added])


def dump(content: Any) -> bytes:
    """JSON in UTF-8 with no spaces."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _measured(application: Application, classified: Classified) -> list[tuple[bytes, bytes]]:
    """Where the time went, in milliseconds (W3C Server Timing), what was read, and by which model."""
    timing = (
        f"tokenization;dur={classified.tokenization_seconds * 1000:.2f}, "
        f"queue;dur={classified.queue_seconds * 1000:.2f}, "
        f"inference;dur={classified.inference_seconds * 1000:.2f}"
    )
    return [
        (b"server-timing", timing.encode()),
        (b"x-compute-tokens", str(classified.tokens).encode()),
        (b"x-model-version", application.tag.encode()),
    ]


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The request's own id, or a new one."""
    given = headers.get(b"x-request-id", b"")
    if 0 < len(given) <= REQUEST_ID_BYTES and all(32 < byte < 127 for byte in given):
        return given
    return uuid.uuid4().hex.encode()


def _unexpected(error: Exception, path: str) -> Internal:
    # The message may quote the request; where it happened does not.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    line = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
    logger.error("unexpected %s at %s while answering %s", type(error).__name__, line, path)
    return Internal("something went wrong in the service; its log says where")


async def _read(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body, refused as soon as it is known to be larger than ``limit`` bytes, decompressed or not."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    received = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("ended before all of it had arrived", where="body")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        received += len(chunk)
        more = message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
    body = b"".join(chunks)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    return body if encoding == b"identity" else _decompressed(body, encoding, limit)


def _decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding not in (b"gzip", b"deflate"):
        raise InvalidRequest("must be gzip, deflate or identity", where="content-encoding")
    decompressor = zlib.decompressobj(DETECT_GZIP_OR_ZLIB)
    try:
        # One byte more than allowed is enough to know; what a bomb would become is never held.
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"is not valid {encoding.decode()}", where="body") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise InvalidRequest(f"ends before the {encoding.decode()} data does", where="body")
    return content


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"has more than {limit} bytes; send fewer texts in one request", where="body")


async def _unless_gone(receive: Receive, answer: Awaitable[Answer]) -> Answer | None:
    """Await ``answer``; cancel it and return ``None`` once the client has closed its connection."""
    task = cast(asyncio.Task[None], asyncio.current_task())
    # After the whole body has been read, the one message that can come is the disconnect.
    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(lambda one: None if one.cancelled() else task.cancel())
    try:
        return await answer
    except asyncio.CancelledError:
        if gone.done() and task.uncancel() == 0:
            return None
        raise
    finally:
        gone.cancel()


async def _send(send: Send, status: int, content: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": content})
