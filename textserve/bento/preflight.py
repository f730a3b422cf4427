"""Checks before the service starts. `bentoml serve` prints a BentoMLException as one sentence and exits with 1.

Checked with BentoML 1.4.39.
"""

from __future__ import annotations

import contextlib
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel
from starlette.middleware.cors import CORSMiddleware

from textserve import ports
from textserve.bento.image import REQUIREMENTS
from textserve.classifier import Classifier, ModelFilesError
from textserve.http.instances import vertex
from textserve.http.router import HttpProtocol
from textserve.settings import Settings, SettingsError
from textserve.spec import SpecError

EXPOSED_HEADERS = [
    "X-Request-Id",
    "Server-Timing",
    "X-Compute-Tokens",
    "X-Model-Version",
    "Retry-After",
    "Inference-Header-Content-Length",
]


class StoredModel(BentoModel):  # type: ignore[misc]  # bentoml has no types here
    """A model in the model store, NAME:VERSION or NAME:latest; BentoML would look for a missing one in its cloud."""

    def resolve(self, *arguments: Any, **options: Any) -> Any:
        """The stored model.

        Raises:
            BentoMLException: if it is not in the store, or incomplete; the message says what to run.
        """
        self._check()
        return super().resolve(*arguments, **options)

    def to_info(self, alias: str | None = None) -> Any:
        """The description of the stored model; raises as :meth:`resolve` does."""
        self._check()
        return super().to_info(alias)

    def _check(self) -> None:
        try:
            missing = self.stored is None
        except BentoMLException:  # its folder exists, its description does not
            missing = True
        if missing:
            tag = str(self.tag).removesuffix(":latest")
            raise BentoMLException(f"{tag}: the model store has no such model; run make save MODEL={self.tag.name}")


def check_model(folder: Path) -> None:
    """Load the model in ``folder`` once, in a child process that frees its memory; 0.5 s on one core.

    The child ends by itself, even if this process is killed meanwhile; a pool's process would wait for more work.

    Raises:
        SpecError, ModelFilesError: if it cannot be loaded.
    """
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_load, args=(folder, sending), daemon=True)
    process.start()
    sending.close()
    try:
        problem = receiving.recv()
    except EOFError:
        problem = ModelFilesError(f"loading {folder} ended the process")
    process.join()
    if problem is not None:
        raise problem


def _load(folder: Path, sending: Connection) -> None:
    problem = None
    try:
        Classifier(folder)
    except (SpecError, ModelFilesError) as error:
        problem = type(error)(str(error))
    with contextlib.suppress(BrokenPipeError):
        sending.send(problem)


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        BentoMLException: if a setting is invalid.
    """
    # BentoML's command line has already read it, so it is too late to unset it.
    if os.environ.get("BENTOML_HOME") == "":
        raise BentoMLException("BENTOML_HOME is empty, which BentoML takes for the working directory; unset it")
    try:
        return Settings.read()
    except SettingsError as error:
        raise BentoMLException(str(error)) from None


def vertex_routes() -> list[HttpProtocol]:
    """The protocols of Vertex AI, from the environment.

    Raises:
        BentoMLException: if a variable is invalid.
    """
    try:
        return vertex(os.environ)
    except ValueError as error:
        raise BentoMLException(str(error)) from None


def check_build() -> None:
    """Check, in `bentoml build`, that bentofile.yaml's list of packages is there.

    Raises:
        BentoMLException: if it is not.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name == "build" and not REQUIREMENTS.exists():
        raise BentoMLException(f"{REQUIREMENTS} does not exist; run make bento, which writes it and builds")


def check_http(settings: Settings) -> None:
    """Check the host and port of HTTP, which only the command line of `bentoml serve` has.

    Raises:
        PortError: if the port is in use, not permitted, or that of gRPC.
    """
    context = click.get_current_context(silent=True)
    if context is None or "port" not in context.params:
        return
    from bentoml._internal.container import BentoMLContainer

    host = context.params.get("host") or BentoMLContainer.http.host.get()
    port = context.params["port"] or BentoMLContainer.http.port.get()
    ports.check_distinct(port, settings.grpc_port)
    ports.listen(host, port, name="HTTP", advice="use another --port").close()


def check_workers(service: Any) -> None:
    """Check that BentoML is configured to start one process of ``service``.

    Raises:
        BentoMLException: if it is configured to start more, which could not share the gRPC port, the queue and metrics.
    """
    from _bentoml_impl.server.allocator import ResourceAllocator

    workers, _ = ResourceAllocator().get_worker_env(service)
    if workers != 1:
        raise BentoMLException(
            f"workers: {workers}: this service runs in one process, on TEXTSERVE_THREADS cores; remove "
            "workers from BentoML's configuration"
        )


def cors(app: Any, settings: Settings) -> Any:
    """``app`` with CORS if it is configured; raises as :func:`cors_options` does."""
    options = cors_options(settings)
    return CORSMiddleware(app, **options) if options else app


def cors_options(settings: Settings) -> dict[str, Any]:
    """The options of CORS for the origins of ``settings``, else as BentoML is configured (``http.cors``); empty if off.

    BentoML applies its configuration to its own routes only. Unless it sets others, the methods and headers of this
    service are allowed. No cookie is ever read, so credentials are not allowed; a page sends its API key in a header.

    Raises:
        BentoMLException: if BentoML is configured to allow every origin with credentials.
    """
    from bentoml._internal.container import BentoMLContainer

    allowed = {"allow_methods": ["GET", "POST"], "allow_headers": ["*"], "expose_headers": EXPOSED_HEADERS}
    if origins := settings.origins():
        return {**allowed, "allow_origins": origins}
    if not BentoMLContainer.http.cors.enabled.get():
        return {}
    configured = BentoMLContainer.access_control_options.get()
    if configured.get("allow_credentials") and "*" in configured.get("allow_origins", ()):
        raise BentoMLException("http.cors: allows every origin with credentials; name the origins")
    return {**allowed, **configured}
