from __future__ import annotations

import gc
import json

import pytest

from tests.asgi import Client, Serve
from textserve.errors import Overloaded, ShuttingDown, TextserveError
from textserve.http.native import NATIVE
from textserve.http.oip import OIP
from textserve.http.operations import OPERATIONS
from textserve.http.refusals import Refusals
from textserve.http.router import HttpProtocol
from textserve.http.tei import TEI

FULL = Overloaded("the queue is 2.1 s long, the limit is 2 s; retry later", retry_after=2.1)
KEY = "0123456789abcdef"


def refusals(client: Client, *protocols: HttpProtocol, error: TextserveError | None = FULL) -> Refusals:
    """The refusals for the application of ``client``, whose runner rejects requests with ``error``."""

    def reject() -> None:
        if error:
            raise error

    client.runner.reject_if_overloaded = reject  # type: ignore[method-assign]
    return Refusals(lambda: client.application, protocols)


@pytest.mark.parametrize(
    ("protocol", "path"), [(NATIVE, "/classify"), (OIP, "/v2/models/sentiment-pl-en/infer"), (TEI, "/predict")]
)
def test_a_refusal_is_what_the_protocol_answers(serve: Serve, protocol: HttpProtocol, path: str) -> None:
    client = serve(protocol)
    refusal = refusals(client, protocol).find(b"POST", path.encode() + b"?a=b", [(b"x-request-id", b"mine")])
    assert refusal is not None
    answer = client.post(path, {}, {"x-request-id": "mine"})
    assert (refusal.status, refusal.content) == (answer.status_code, answer.content)
    assert {name.decode(): value.decode() for name, value in refusal.headers} == answer.headers
    assert answer.headers["retry-after"] == "3"
    assert client.outcomes() == {"overloaded": 2}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        (b"GET", b"/classify", {}),
        (b"POST", b"/unknown", {}),
        (b"POST", b"/%63lassify", {}),
        (b"POST", b"/\xff", {}),
        (b"POST", b"/livez", {}),
        (b"POST", b"/classify", {"origin": "https://example.org"}),
        (b"POST", b"/classify", {"expect": "100-continue"}),
        (b"POST", b"/classify", {"transfer-encoding": "chunked"}),
        (b"POST", b"/classify", {"content-length": "101"}),
        (b"POST", b"/classify", {"content-length": "9" * 5000}),
        (b"POST", b"/classify", {"content-length": "many"}),
        (b"POST", b"/classify", {"authorization": "Bearer another-key-0123"}),
        (b"POST", b"/classify", {"authorization": ""}),
    ],
)
def test_other_requests_are_for_the_router(serve: Serve, method: bytes, path: bytes, headers: dict[str, str]) -> None:
    client = serve(NATIVE, max_body_bytes=100, api_keys=json.dumps([KEY]))
    found = {"authorization": f"Bearer {KEY}", "content-length": "100"} | headers
    received = [(name.encode(), value.encode()) for name, value in found.items()]
    assert refusals(client, NATIVE, OPERATIONS).find(method, path, received) is None


def test_refusals_leave_nothing_for_the_garbage_collector(serve: Serve) -> None:
    def reject() -> None:
        raise Overloaded("the queue is 2.1 s long, the limit is 2 s; retry later", retry_after=2.1)

    client = serve(NATIVE)
    found = refusals(client, NATIVE)
    client.runner.reject_if_overloaded = reject  # type: ignore[method-assign]  # another error for each request
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            found.find(b"POST", b"/classify", [])
        assert gc.collect() < 100
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [None, ShuttingDown("the service is stopping")])
def test_a_request_that_is_not_refused_by_the_queue_is_for_the_router(
    serve: Serve, error: TextserveError | None
) -> None:
    client = serve(NATIVE)
    assert refusals(client, NATIVE, error=error).find(b"POST", b"/classify", []) is None
    assert client.outcomes() == {}
