"""Refuses requests while the queue is full, at little cost: a refusal takes time from the requests in the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textserve.application import Application
from textserve.errors import Overloaded, TextserveError, Unauthorized
from textserve.http.router import Headers, HttpProtocol, PathTable, Response, authorization_of, error_response, head_of
from textserve.telemetry import expected, request_id

# Requests with one of these headers need more than the usual response: an interim one, or headers for a browser.
UNUSUAL = frozenset((b"expect", b"origin", b"transfer-encoding"))


class Refusals:
    """Finds the response to a request for which the queue has no room, from the head of the request alone.

    :class:`~textserve.http.router.HttpProtocols` would send the same response; it handles all other requests.
    """

    def __init__(self, application: Callable[[], Application], protocols: Sequence[HttpProtocol]) -> None:
        self._application = application
        self._paths = PathTable(protocols)

    def find(self, method: bytes, url: bytes, received: Headers) -> Response | None:
        """The refusal with all of its headers, counted in the metrics, or ``None`` if the router has to decide."""
        if method != b"POST":
            return None
        application = self._application()
        try:
            application.runner.reject_if_overloaded()
            return None
        except Overloaded as overloaded:
            # Without its traceback, which has the frame of this function, which in turn refers to the error.
            error = expected(overloaded, "")
        except TextserveError:
            return None
        path, _, _ = url.partition(b"?")
        methods, _ = self._paths.find(path.decode("latin-1"))
        headers = dict(received)
        if "POST" not in methods or not UNUSUAL.isdisjoint(headers):
            return None
        protocol, route = methods["POST"][0]
        length = headers.get(b"content-length", b"0")
        too_large = not length.isdigit() or int(length[:18]) > application.settings.max_body_bytes
        if route.handler is None or protocol.open or too_large:
            return None
        try:
            application.keys.check(authorization_of(headers))
        except Unauthorized:
            return None
        response = error_response(protocol, error)
        application.requests.observe(protocol.name, error.type, 0.0)
        identity = request_id(headers.get(b"x-request-id", b""))
        return Response(response.content, response.status, headers=head_of(response, [(b"x-request-id", identity)]))
