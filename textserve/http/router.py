"""Routes HTTP requests to the protocols: an ASGI middleware in front of BentoML's own routes.

A protocol declares its routes and the format of its errors. One table of all routes serves routing, 405 and HEAD,
the names of spans, and the OpenAPI document. The middleware checks the API key, reads the body within its limit,
cancels a request whose client disconnected, turns every outcome into a response, and counts it.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.routing import compile_path

from textserve.application import Application
from textserve.errors import BodyTooLarge, MethodNotAllowed, NotFound, ReceiveTimeout, TextserveError, Unauthorized
from textserve.http.body import Receive, read_body
from textserve.http.memory import BodyMemory, BodyShare
from textserve.http.structure import has_key
from textserve.prediction import Classified
from textserve.telemetry import expected, measurements, request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Result = TypeVar("Result")

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its id, header names in lower case, the whole body, decompressed, and path parameters by name."""

    id: str
    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A response. ``classified`` adds the headers about texts; ``counted`` is whether the metrics count it."""

    content: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()
    classified: Classified | None = None
    counted: bool = True


Handler = Callable[[Application, Request], Awaitable[Response]]
Describe = Callable[[Application], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path.

    Attributes:
        method: GET answers HEAD too.
        path: literal, or a template as Starlette writes it, such as ``/v2/models/{model}``.
        handler: ``None`` passes the request on to BentoML.
        describe: the operation in the OpenAPI document; ``None``, or an empty one, leaves the route out of it.
        key: among routes of the same method and path, this route is for bodies with this key; ``None`` is for others.
    """

    method: str
    path: str
    handler: Handler | None
    describe: Describe | None = None
    key: str | None = None


@dataclass(frozen=True)
class HttpProtocol:
    """A protocol over HTTP.

    Attributes:
        name: the label of its metrics.
        routes: what it serves.
        error_body: the body of an error in its format.
        status: the HTTP status of an error, by default that of its class; some protocols document other statuses.
        open: whether it needs no API key.
        prefix: unknown paths below it get this protocol's 404.
        schemas: the schemas that its operations refer to, by name.
        title: the heading of its operations in the API docs.
    """

    name: str
    routes: Sequence[Route]
    error_body: Callable[[TextserveError], bytes]
    status: Callable[[TextserveError], int] = attrgetter("status")
    open: bool = False
    prefix: str | None = None
    schemas: Callable[[Application], Mapping[str, Any]] = lambda application: {}
    title: str = ""


# A route and its protocol.
Served = tuple[HttpProtocol, Route]
# The routes of one path by method: several if a key of the body tells them apart, the route without a key first.
Methods = dict[str, list[Served]]


class PathTable:
    """Every path of ``protocols``. Literal paths are found before templates."""

    def __init__(self, protocols: Sequence[HttpProtocol]) -> None:
        paths: dict[str, Methods] = {}
        for protocol in protocols:
            for route in protocol.routes:
                for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                    paths.setdefault(route.path, {}).setdefault(method, []).append((protocol, route))
        for methods in paths.values():
            for served in methods.values():
                served.sort(key=lambda found: found[1].key is not None)
        self._literal = {path: methods for path, methods in paths.items() if "{" not in path}
        self._templates: list[tuple[re.Pattern[str], Methods]] = [
            (compile_path(path)[0], methods) for path, methods in paths.items() if "{" in path
        ]

    def find(self, path: str) -> tuple[Methods, dict[str, str]]:
        """The routes of a requested path by method, empty if the path is unknown, and its path parameters."""
        if methods := self._literal.get(path):
            return methods, {}
        for pattern, methods in self._templates:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return {}, {}


def _by_key(served: Sequence[Served], body: bytes) -> Served:
    """The route whose key the body has, else the first route."""
    for protocol, route in served:
        if route.key and has_key(body, route.key):
            return protocol, route
    return served[0]


# How long a request may take before its connection is watched: a client that has left meanwhile is noticed then.
WATCH_SECONDS = 0.2
CLOSING = BodyTooLarge | Unauthorized | ReceiveTimeout


class HttpProtocols:
    """ASGI middleware that serves ``protocols``; the first protocol answers unknown paths."""

    def __init__(self, app: App, application: Callable[[], Application], protocols: Sequence[HttpProtocol]) -> None:
        """Wrap ``app``; ``application()`` is called per request, since the application is loaded later."""
        self._app = app
        self._application = application
        self._protocols = protocols
        self._paths = PathTable(protocols)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        served, parameters = self._find(scope["method"], scope["path"])
        protocol, route = served[0]
        if route.handler is None and (protocol.open or self._has_key(scope)):
            await self._app(scope, receive, send)
            return
        await self._answer(served, parameters, scope, receive, send)

    @cached_property
    def _body_memory(self) -> BodyMemory:
        return BodyMemory(self._application().settings.max_receiving_bytes)

    def _find(self, method: str, path: str) -> tuple[list[Served], dict[str, str]]:
        methods, parameters = self._paths.find(path)
        if method in methods:
            return methods[method], parameters
        if methods:
            protocol, _ = next(iter(methods.values()))[0]
            return [(protocol, Route(method, path, _method_not_allowed))], parameters
        owners = (owner for owner in self._protocols if owner.prefix and path.startswith(f"{owner.prefix}/"))
        return [(next(owners, self._protocols[0]), Route(method, path, _not_found))], {}

    def _has_key(self, scope: Scope) -> bool:
        try:
            self._application().keys.check(authorization_of(dict(scope["headers"])))
        except Unauthorized:
            return False
        return True

    async def _answer(
        self,
        served: Sequence[Served],
        parameters: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        application = self._application()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        outcome, body, started, posted = "ok", None, 0.0, scope["method"] == "POST"
        share = BodyShare(self._body_memory)
        identity = request_id(headers.get(b"x-request-id", b""))
        protocol, route = served[0]
        try:
            if not protocol.open:
                await application.keys.authorize(authorization_of(headers), (scope.get("client") or ("",))[0])
                if posted:
                    # Reject early: each rejection delays the requests that are answered.
                    application.runner.reject_if_overloaded()
            body = await read_body(headers, receive, application.settings.max_body_bytes, share)
            # The time of the service does not include the client's upload, nor the delay after a wrong key.
            started = time.perf_counter()
            if posted:
                application.requests.in_flight += 1
            protocol, route = _by_key(served, body)
            request = Request(identity.decode(), scope["method"], scope["path"], headers, body, parameters)
            response = await _unless_disconnected(receive, (route.handler or _not_found)(application, request))
            if response is None:
                application.requests.observe(protocol.name, "cancelled", time.perf_counter() - started)
                return
        except Exception as error:
            problem = expected(error, scope["path"], identity.decode())
            outcome = problem.type
            # The rest of the body may be long; a client that awaits 100 Continue may never send it.
            close = body is None and (b"expect" in headers or isinstance(error, CLOSING) or problem.where == "body")
            allowed = self._paths.find(scope["path"])[0] if isinstance(problem, MethodNotAllowed) else ()
            response = error_response(protocol, problem, allowed, close=close)
        finally:
            share.release()
            if started and posted:
                application.requests.in_flight -= 1
        if response.counted:
            seconds = time.perf_counter() - started if started else 0.0
            application.requests.observe(protocol.name, outcome, seconds)
        measured = measurements(application.tag, response.classified) if response.classified else {}
        added = [(name.encode(), value.encode()) for name, value in measured.items()]
        await _send(send, response, [(b"x-request-id", identity), *added])


def error_response(
    protocol: HttpProtocol, error: TextserveError, allowed: Collection[str] = (), *, close: bool = False
) -> Response:
    """The response to a request that failed; ``allowed`` has the methods of the path if it lacks the requested one."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if allowed:
        headers.append((b"allow", ", ".join(allowed).encode()))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if close:
        headers.append((b"connection", b"close"))
    return Response(protocol.error_body(error), protocol.status(error), headers=headers)


async def _not_found(application: Application, request: Request) -> Response:
    raise NotFound("does not exist; see GET /docs.json for every path", where="path")


async def _method_not_allowed(application: Application, request: Request) -> Response:
    raise MethodNotAllowed("is not allowed on this path; see the header Allow", where="method")


def authorization_of(headers: Mapping[bytes, bytes]) -> str:
    """The value of the header ``Authorization``, empty if it is missing."""
    return headers.get(b"authorization", b"").decode("utf-8", "replace")


def dump(content: Any) -> bytes:
    """JSON in UTF-8 without spaces."""
    return to_json(content)


async def _unless_disconnected(receive: Receive, result: Awaitable[Result]) -> Result | None:
    """Await ``result``; cancel it and return ``None`` once the client has disconnected.

    That is noticed after ``WATCH_SECONDS`` at the earliest.
    """
    task: Any = asyncio.current_task()
    disconnected: asyncio.Future[Message] | None = None

    def watch() -> None:
        nonlocal disconnected
        # After the whole body was read, the only message left is the disconnect.
        disconnected = asyncio.ensure_future(receive())
        disconnected.add_done_callback(lambda done: None if done.cancelled() else task.cancel())

    # Most requests are answered earlier, and need no such task.
    timer = task.get_loop().call_later(WATCH_SECONDS, watch)
    try:
        return await result
    except asyncio.CancelledError:
        if disconnected is not None and disconnected.done() and task.uncancel() == 0:
            return None
        raise
    finally:
        timer.cancel()
        if disconnected is not None:
            disconnected.cancel()


def head_of(response: Response, headers: Headers) -> Headers:
    """All headers of a response: length and type of its content, the given ``headers``, and its own."""
    if response.status == 304:  # has no content; its length would have to be that of the 200 (RFC 9110, section 8.6)
        return [*headers, *response.headers]
    length = str(len(response.content)).encode()
    return [(b"content-length", length), (b"content-type", response.content_type), *headers, *response.headers]


async def _send(send: Send, response: Response, headers: Headers) -> None:
    start = {"type": "http.response.start", "status": response.status, "headers": head_of(response, headers)}
    await send(start)
    await send({"type": "http.response.body", "body": response.content})
