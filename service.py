"""The Bento's service: the served model, its lifecycle, and its endpoints.

bentoml serve service:TextClassifier
"""

from __future__ import annotations

import asyncio
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException
from pydantic import BaseModel

from textserve.bento import packages  # noqa: F401  # first: it says what to run if the others cannot be imported

# isort: split
from textserve.application import Application
from textserve.bento import logs
from textserve.bento.connection import serve_http
from textserve.bento.image import BASE_IMAGE, image
from textserve.bento.metrics import keep_in_process
from textserve.bento.preflight import (
    StoredModel,
    check_build,
    check_http,
    check_model,
    check_workers,
    cors,
    cors_options,
    read_settings,
    vertex_routes,
)
from textserve.bento.sample import Sample
from textserve.bento.stopping import Stopping
from textserve.bento.timeout import no_timeout
from textserve.classifier import ModelFilesError
from textserve.descriptors import raise_limit
from textserve.grpc.server import GrpcServer, check_port
from textserve.grpc.spans import TracedGrpc
from textserve.http.explain import EXPLAIN
from textserve.http.huggingface import HUGGINGFACE
from textserve.http.instances import INVOCATIONS, KSERVE_V1
from textserve.http.native import NATIVE, ClassifyResponse, classify, response
from textserve.http.oip import OIP, OIP_HEALTH
from textserve.http.openapi import documentation
from textserve.http.operations import BENTOML, OPERATIONS
from textserve.http.refusals import Refusals
from textserve.http.rerank import RERANK
from textserve.http.router import HttpProtocols
from textserve.http.spans import TracedHttp
from textserve.http.tei import TEI
from textserve.http.ui import UI, UI_MODEL
from textserve.http.vllm import VLLM
from textserve.memory import return_freed, trim_regularly
from textserve.ports import PortError
from textserve.runner import Runner
from textserve.spec import STORED_FOLDER, SpecError
from textserve.tracing import Tracing, is_configured

DEFAULT_MODEL = "sentiment-pl-en"
VERTEX = vertex_routes()
SHARED = [HUGGINGFACE, TEI, VLLM, RERANK, OIP_HEALTH, OIP, KSERVE_V1, INVOCATIONS]
# Vertex AI chooses its paths, so its protocols come before others with the same paths.
PROTOCOLS = [NATIVE, *VERTEX, EXPLAIN, UI, UI_MODEL, *SHARED, OPERATIONS, BENTOML]
ALL_PROTOCOLS = [*PROTOCOLS, documentation(PROTOCOLS)]

check_build()
raise_limit()
return_freed()
settings = read_settings()
keep_in_process()


class Arguments(BaseModel, extra="forbid"):
    """Arguments of ``bentoml build --arg NAME=VALUE``, fixed in the Bento, and of ``bentoml serve``."""

    model: str = settings.model or DEFAULT_MODEL
    base_image: str = BASE_IMAGE


arguments = bentoml.use_arguments(Arguments)
stored = StoredModel(arguments.model if ":" in arguments.model else f"{arguments.model}:latest")
tls = {"enabled": True, "certfile": str(settings.tls_certificate), "keyfile": str(settings.tls_key)}


@bentoml.service(
    name="textserve",
    # Each of these costs time on every request, and the application has its own.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
    traffic={"timeout": no_timeout(settings.request_seconds)},
    ssl=tls if settings.tls_certificate else {"enabled": False},
    image=image(arguments.base_image),
)
class TextClassifier:
    """A text classifier from the model store."""

    model = stored

    def __init__(self) -> None:
        """Load the model from the store and check its golden texts."""
        logs.enable()
        folder = Path(self.model.path) / STORED_FOLDER
        tag = str(self.model.tag)
        self.tracing = Tracing(tag) if is_configured() else None
        self.application = Application.load(folder, tag, settings, self.tracing.runner if self.tracing else Runner)
        if settings.sample_folder:
            self.application.observers.append(Sample(settings, settings.sample_folder))
        self.grpc = GrpcServer(self.application, [TracedGrpc(self.tracing)] if self.tracing else [])

    @bentoml.on_deployment
    def check() -> None:
        """Fail early if no worker can start: BentoML restarts a failed worker forever, without a reason."""
        model = stored.resolve()
        try:
            check_workers(service)
            check_http(settings)
            cors_options(settings)
            check_port(settings)
            check_model(Path(model.path) / STORED_FOLDER)
        except PortError as error:
            raise BentoMLException(str(error)) from None
        except (SpecError, ModelFilesError) as error:
            advice = f"run bentoml models delete {model.tag} and save it again"
            raise BentoMLException(f"{model.tag} cannot be served: {error}; {advice}") from None

    @bentoml.on_startup
    async def start(self) -> None:
        """Start the runner and the gRPC server."""
        self.application.start(end=partial(os._exit, 1))
        await self.grpc.start()
        self.stopping = Stopping(self.application)
        self.trimming = asyncio.create_task(trim_regularly())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer the accepted requests, then stop."""
        self.trimming.cancel()
        await self.grpc.stop()
        await self.application.close()
        if self.tracing:
            await self.tracing.close()

    @bentoml.api(route="/classify")
    async def classify(
        self, texts: list[str | dict[str, str]], truncate: bool = True, top_k: int | None = None
    ) -> ClassifyResponse:
        """Classify texts, or pairs of a text and a text_pair, in the order given."""
        classified = await classify(self.application, texts, truncate=truncate)
        answer = response(self.application, classified.predictions, top_k)
        return ClassifyResponse.model_validate(answer)


@cache
def _current(name: str) -> Any:
    """A part of the service; only called once there are requests, since a search of it takes time."""
    return getattr(bentoml.get_current_service(), name)


def answer(app: Any) -> Any:
    """The ASGI application that answers every request of ``PROTOCOLS`` and passes others on to ``app``."""
    answering: Any = HttpProtocols(app, application, ALL_PROTOCOLS)
    if is_configured():
        answering = TracedHttp(answering, partial(_current, "tracing"), ALL_PROTOCOLS)
    return cors(answering, settings)


application = partial(_current, "application")
# The class is now a bentoml.Service, which a type checker does not see.
service: Any = TextClassifier
# With tracing, refused requests need a span too, so the application handles all requests.
serve_http(application, answer, None if is_configured() else Refusals(application, ALL_PROTOCOLS))
