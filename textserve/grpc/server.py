"""The gRPC server: port, health and graceful shutdown.

It runs in the HTTP server's event loop, so both share the application. BentoML does not manage it: ``service.py``
starts and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from textserve import ports
from textserve.application import Application
from textserve.descriptors import max_connections
from textserve.errors import Unauthorized
from textserve.grpc.service import NAME, InferenceService, abort, authorize
from textserve.ports import PortError
from textserve.settings import Settings
from textserve.tls import Certificate

logger = logging.getLogger(__name__)

# Interval for checking that every inference is answered, and then the time limit for calls that never end.
LAST_SECONDS = 0.5

# Clients reconnect by themselves.
IDLE_MILLISECONDS = 300_000
WINDOW_BYTES = 16_384

ADVICE = "set TEXTSERVE_GRPC_PORT to another port, or to 0 to disable gRPC"


class GrpcServer:
    """Serves ``application`` over gRPC: :meth:`start` and :meth:`stop`. It also stops when the application leaves."""

    def __init__(self, application: Application, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        self._application = application
        self._interceptors = interceptors
        self._settings = application.settings
        self._stopped: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()

    async def start(self) -> None:
        """Listen on ``settings.grpc_port``; with port 0, do nothing.

        Raises:
            PortError: if the port is in use or not permitted.
            OSError: if the certificate or its key cannot be read.
        """
        settings = self._settings
        if not settings.grpc_port:
            return
        self._service = InferenceService(self._application)
        self._health = health.aio.HealthServicer()
        server = grpc.aio.server(
            interceptors=self._interceptors or None,
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the port silently receives some of the requests
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                *limits(settings),
            ],
        )
        server.add_registered_method_handlers(NAME, self._service.handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        services = (NAME, health.SERVICE_NAME, SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(self._application, services), server)
        _listen(server, settings)
        await server.start()
        await self._check()
        self._application.watchdog.checks.append(self._check)
        self._stopped = asyncio.create_task(self._stop_when_told(server))
        logger.info("gRPC on port %d", settings.grpc_port)

    async def _check(self) -> str | None:
        """Tell health clients whether the service can answer; return a problem if the port no longer listens."""
        status = health_pb2.HealthCheckResponse
        for name in ("", NAME):
            await self._health.set(name, status.SERVING if self._application.available else status.NOT_SERVING)
        port = self._settings.grpc_port
        return None if await _listens(self._settings.grpc_host, port) else f"gRPC no longer listens on {port}"

    async def stop(self) -> None:
        """Report not serving, reject new requests, and answer accepted ones within ``settings.drain_seconds``.

        Called after HTTP has stopped, so it skips the rest of the stop delay.
        """
        if self._stopped is not None:
            self._application.leave()
            self._at_once.set()
            await self._stopped

    async def _stop_when_told(self, server: grpc.aio.Server) -> None:
        await self._application.left()
        self._application.watchdog.checks.remove(self._check)
        await self._health.enter_graceful_shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._at_once.wait(), self._settings.stop_delay_seconds)
        # Longer than the application's own limit, after which it fails the unanswered requests.
        closing = asyncio.create_task(server.stop(self._settings.drain_seconds + LAST_SECONDS))
        while not closing.done():
            await asyncio.wait((closing,), timeout=LAST_SECONDS)
            if not self._service.open:
                # The calls still open, such as health watches, never end on their own.
                await server.stop(LAST_SECONDS)
        await closing


class _Reflection(aio.ReflectionServicer):  # type: ignore[misc]  # grpc has no types
    """Reflection, which requires an API key as the methods that it describes do."""

    def __init__(self, application: Application, services: Sequence[str]) -> None:
        super().__init__(services)
        self._application = application

    async def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        """Answer, or abort with UNAUTHENTICATED."""
        try:
            await authorize(self._application, context)
        except Unauthorized as error:
            await abort(context, error)
        async for response in super().ServerReflectionInfo(request_iterator, context):
            yield response


def limits(settings: Settings) -> list[tuple[str, int]]:
    """gRPC's options against clients that take more than their share.

    https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    return [
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_allowed_incoming_connections", max_connections(settings.max_connections)),
        ("grpc.server_handshake_timeout_ms", round(settings.receive_seconds * 1000)),
        ("grpc.max_connection_idle_ms", IDLE_MILLISECONDS),
        # Closes the connection of a client that no longer reads, before too many answers wait for it.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # What gRPC buffers of a stream that no handler reads; probing would raise it to megabytes.
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
    ]


def check_port(settings: Settings) -> None:
    """Listen on the port briefly, so that a start that cannot succeed fails before the model is loaded.

    Raises:
        PortError: if the port is in use or not permitted.
    """
    if settings.grpc_port:
        ports.listen(settings.grpc_host, settings.grpc_port, name="gRPC", advice=ADVICE).close()


async def _listens(host: str, port: int) -> bool:
    """Whether ``host`` and ``port`` accept connections; ``True`` if the machine is too busy to tell."""
    try:
        async with asyncio.timeout(1):
            _, connection = await asyncio.open_connection(host, port)
            connection.close()
    except ConnectionError:
        return False
    except (OSError, TimeoutError):
        pass
    return True


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    def read() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([certificate.pair()])

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        # Called for every handshake; ``None`` keeps the current certificate.
        return read() if certificate.renewed() else None

    return grpc.dynamic_ssl_server_credentials(read(), renewed)


def _listen(server: grpc.aio.Server, settings: Settings) -> None:
    check_port(settings)  # gRPC's own error lacks the reason
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    address = f"{host}:{settings.grpc_port}"
    try:
        if certificate := settings.certificate():
            server.add_secure_port(address, _credentials(certificate))
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise PortError(f"gRPC cannot listen on {address}; its log above has the reason; {ADVICE}") from None
