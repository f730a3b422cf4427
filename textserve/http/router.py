"""What the protocols over HTTP share: an ASGI middleware in front of BentoML's own routes.

It asks for the API key, reads the body within its limit, gives up a request whose client has gone, turns every outcome
into a response and counts it. A protocol is a table of routes and the way it writes an error; what a request means is
in its own module.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic_core import to_json

from textserve.application import Application
from textserve.errors import BodyTooLarge, InvalidRequest, MethodNotAllowed, TextserveError, Unauthorized
from textserve.metrics import exposition
from textserve.runner import Classified
from textserve.telemetry import request_id, server_timing, unexpected

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = TypeVar("Answer")

JSON = b"application/json"
# By its first bytes zlib tells gzip from deflate when it is asked to.
DETECT_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
# BentoML's own paths that are answered without an API key; /metrics, which is ours, is another.
OPEN_PATHS = ("/livez", "/readyz", "/healthz")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: header names in lower case, and the whole body, decompressed."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered; ``classified`` if texts were, for the headers that say what it took.

    ``counted`` is whether the metrics count it: not, for what is asked about the service itself.
    """

    content: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    classified: Classified | None = None
    counted: bool = True


Handler = Callable[[Application, Request], Awaitable[Response]]


def _own_status(error: TextserveError) -> int:
    return error.status


@dataclass(frozen=True)
class Description:
    """A part of the OpenAPI document: path items by path, and the schemas that they refer to, by name."""

    paths: Mapping[str, Mapping[str, Any]]
    schemas: Mapping[str, Any]


@dataclass(frozen=True)
class HttpProtocol:
    """One protocol.

    Attributes:
        name: for the metrics.
        routes: handlers by method and path.
        refuse: how the protocol writes an error; status, ``Retry-After`` and such are added for it.
        below: a path, and the handler of everything below it that is not among the routes.
        status: the HTTP status of an error, where the protocol's documentation asks for one of its own.
        open: whether it answers without an API key.
        describe: its part of the OpenAPI document; see :mod:`textserve.http.openapi`.
    """

    name: str
    routes: Mapping[tuple[str, str], Handler]
    refuse: Callable[[TextserveError], bytes]
    below: tuple[str, Handler] | None = None
    status: Callable[[TextserveError], int] = _own_status
    open: bool = False
    describe: Callable[[Application], Description] | None = None


class HttpProtocols:
    """ASGI middleware that answers for the protocols and ``GET /metrics``, and passes on everything else."""

    def __init__(self, app: App, application: Callable[[], Application], protocols: Sequence[HttpProtocol]) -> None:
        """Wrap ``app``; ``application()`` is asked for once there are requests.

        The first of the protocols writes the errors of paths that belong to none of them.
        """
        self._app = app
        self._application = application
        self._first = protocols[0]
        metrics = HttpProtocol("operations", {("GET", "/metrics"): _metrics}, self._first.refuse, open=True)
        all_protocols = [*protocols, metrics]
        self._routes = {route: (one, handler) for one in all_protocols for route, handler in one.routes.items()}
        self._methods: dict[str, list[str]] = {}
        for method, path in list(self._routes):
            self._methods.setdefault(path, []).append(method)
            if method == "GET":
                self._methods[path].append("HEAD")
                self._routes["HEAD", path] = self._routes[method, path]
        self._below = [(one, *one.below) for one in protocols if one.below]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif found := self._find(scope["method"], scope["path"]):
            await self._answer(*found, scope, receive, send)
        elif scope["path"] in OPEN_PATHS or not self._application().keys:
            await self._app(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have BentoML answer, if the API key is one of this service's."""
        try:
            _check_key(self._application(), dict(scope["headers"]))
        except Unauthorized:
            await self._answer(self._first, _unreachable, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find(self, method: str, path: str) -> tuple[HttpProtocol, Handler] | None:
        if found := self._routes.get((method, path)):
            return found
        if methods := self._methods.get(path):
            return self._routes[methods[0], path][0], _method_not_allowed
        for protocol, prefix, handler in self._below:
            if path == prefix or path.startswith(f"{prefix}/"):
                return protocol, handler
        return None

    async def _answer(
        self, protocol: HttpProtocol, handler: Handler, scope: Scope, receive: Receive, send: Send
    ) -> None:
        application, started = self._application(), time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, outcome, content_type, counted = 200, "ok", JSON, True
        added: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id(headers.get(b"x-request-id", b"")))]
        try:
            if not protocol.open:
                _check_key(application, headers)
                if scope["method"] == "POST":
                    # Before anything is spent on it: what a refusal costs is taken from those that are answered.
                    application.runner.refuse_when_full()
            body = await _read(headers, receive, application.settings.max_body_bytes)
            request = Request(scope["method"], scope["path"], headers, body)
            response = await _unless_gone(receive, handler(application, request))
            if response is None:
                application.requests.observe(protocol.name, "cancelled", time.perf_counter() - started)
                return
            content, status, content_type = response.content, response.status, response.content_type
            added += response.headers
            counted = response.counted
            if response.classified is not None:
                added += _measured(application, response.classified)
        except Exception as error:
            refusal = error if isinstance(error, TextserveError) else unexpected(error, scope["path"])
            content, status, outcome = protocol.refuse(refusal), protocol.status(refusal), refusal.type
            if refusal.retry_after is not None:
                added.append((b"retry-after", str(max(1, math.ceil(refusal.retry_after))).encode()))
            if isinstance(refusal, MethodNotAllowed) and (methods := self._methods.get(scope["path"])):
                added.append((b"allow", ", ".join(methods).encode()))
            if isinstance(refusal, Unauthorized):
                added.append((b"www-authenticate", b"Bearer"))
            if isinstance(refusal, BodyTooLarge | Unauthorized):
                # Its body has not been read, and may be long.
                added.append((b"connection", b"close"))
        if counted:
            application.requests.observe(protocol.name, outcome, time.perf_counter() - started)
        await _send(send, status, content, [(b"content-type", content_type), *added])


async def _metrics(application: Application, request: Request) -> Response:
    content_type = b"text/plain; version=0.0.4; charset=utf-8"
    return Response(exposition(application.registry), content_type=content_type, counted=False)


async def _method_not_allowed(application: Application, request: Request) -> Response:
    raise MethodNotAllowed(f"{request.path} is not asked with this method; the header Allow names those it is")


async def _unreachable(application: Application, request: Request) -> Response:
    raise AssertionError("the API key of this request was not accepted")


def _check_key(application: Application, headers: Mapping[bytes, bytes]) -> None:
    authorization = headers.get(b"authorization")
    application.keys.check(None if authorization is None else authorization.decode("utf-8", "replace"))


def dump(content: Any) -> bytes:
    """JSON in UTF-8 with no spaces."""
    return to_json(content)


def _measured(application: Application, classified: Classified) -> list[tuple[bytes, bytes]]:
    """Where the time went, what was read, and by which model."""
    return [
        (b"server-timing", server_timing(classified).encode()),
        (b"x-compute-tokens", str(classified.tokens).encode()),
        (b"x-model-version", application.tag.encode()),
    ]


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
    # A 304 has no body, and the length of another would be wrong (RFC 9110, 8.6).
    length = [] if status == 304 else [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": content})
