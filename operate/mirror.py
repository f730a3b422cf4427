"""Sends the texts that the proxy mirrors to both versions, and counts how often their labels differ. Keeps no text.

deploy/rollout/mirror.lua sends bodies of ``POST /classify`` here, and does not wait for an answer.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from operate.checks import Mirrored
from operate.errors import OperateError

SECONDS = 30.0
# Most comparisons at a time; more are dropped, so that mirroring does not overload the versions.
MOST_AT_ONCE = 8
LONGEST = 32_768
FORWARDED = ("content-type", "content-encoding", "authorization")


class Comparer:
    """Counts mirrored texts, and the texts that get different labels from the two versions."""

    def __init__(self, addresses: tuple[str, str]) -> None:
        self._addresses = addresses
        self._counted = Mirrored()
        self._lock = threading.Lock()
        self._free = threading.Semaphore(MOST_AT_ONCE)
        self._pool = ThreadPoolExecutor(2 * MOST_AT_ONCE)

    @property
    def counted(self) -> Mirrored:
        """The counts so far."""
        with self._lock:
            return self._counted

    def close(self) -> None:
        """Cancel the requests that have not started, and wait for the others."""
        self._pool.shutdown(cancel_futures=True)

    def compare(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Ask both versions and count differing labels; do nothing if one does not answer or too many are waiting."""
        if not self._free.acquire(blocking=False):
            return
        try:
            first, second = self._pool.map(lambda address: _labels(address, body, headers), self._addresses)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RuntimeError):
            # The metrics of the version count its failures. RuntimeError: the comparer was closed meanwhile.
            return
        finally:
            self._free.release()
        if len(first) == len(second):
            different = sum(a != b for a, b in zip(first, second, strict=True))
            with self._lock:
                self._counted = Mirrored(self._counted.texts + len(first), self._counted.disagreed + different)


def _labels(address: str, body: bytes, headers: Mapping[str, str]) -> list[Any]:
    request = urllib.request.Request(f"{address}/classify", body, dict(headers))  # noqa: S310  # the operator's own
    with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310  # as above
        return [result.get("labels", result.get("label")) for result in json.load(response)["results"]]


@contextmanager
def comparing(address: tuple[str, int], versions: tuple[str, str]) -> Iterator[Comparer]:
    """Listen for mirrored bodies at ``address`` until the block ends; ``versions`` are two addresses, http://HOST:PORT.

    Raises :class:`OperateError` if the port is taken or is not a valid port.
    """
    comparer = Comparer(versions)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            body = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= LONGEST else b""
            self.send_response(204)
            self.end_headers()
            self.wfile.flush()
            if body:
                comparer.compare(body, {name: self.headers[name] for name in FORWARDED if name in self.headers})

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a request is someone's text."""

    try:
        server = ThreadingHTTPServer(address, Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OperateError(f"{address[0]}:{address[1]}: cannot listen for mirrored texts: {reason}") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield comparer
    finally:
        server.shutdown()
        server.server_close()
        comparer.close()
