"""The gRPC server: port, health and graceful shutdown.

It runs in the HTTP server's event loop, so both share the application. BentoML does not manage it: ``service.py``
starts and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from textserve import ports
from textserve.application import Application
from textserve.grpc.service import NAME, InferenceService
from textserve.ports import PortError
from textserve.settings import Settings

logger = logging.getLogger(__name__)

# Interval for checking that every inference is answered, and then the time limit for what never ends on its own.
LAST_SECONDS = 0.5

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
            ],
        )
        server.add_registered_method_handlers(NAME, self._service.handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        _listen(server, settings)
        await server.start()
        status = health_pb2.HealthCheckResponse
        for name in ("", NAME):
            await self._health.set(name, status.SERVING if self._application.ready else status.NOT_SERVING)
        self._stopped = asyncio.create_task(self._stop_when_told(server))
        logger.info("gRPC on port %d", settings.grpc_port)

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


def check_port(settings: Settings) -> None:
    """Listen on the port briefly, so that a start that cannot succeed fails before the model is loaded.

    Raises:
        PortError: if the port is in use or not permitted.
    """
    if settings.grpc_port:
        ports.listen(settings.grpc_host, settings.grpc_port, name="gRPC", advice=ADVICE).close()


def _listen(server: grpc.aio.Server, settings: Settings) -> None:
    check_port(settings)  # gRPC's own error lacks the reason
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    address = f"{host}:{settings.grpc_port}"
    try:
        if settings.tls_certificate and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise PortError(f"gRPC cannot listen on {address}; its log above has the reason; {ADVICE}") from None
