"""The Bento's service: which model is served, what starts and stops with it, and its endpoints. No logic lives here.

bentoml serve service:TextClassifier
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel
from pydantic import BaseModel

from textserve.application import Application
from textserve.bento.image import BASE_IMAGE, image
from textserve.bento.stopping import Stopping
from textserve.classifier import Classifier, ModelFilesError
from textserve.grpc.server import GrpcServer, check_port
from textserve.grpc.spans import TracedGrpc
from textserve.http.explain import EXPLAIN
from textserve.http.huggingface import HUGGINGFACE
from textserve.http.native import NATIVE, ClassifyResponse, response
from textserve.http.oip import OIP, OIP_HEALTH
from textserve.http.openapi import documentation
from textserve.http.router import HttpProtocols
from textserve.http.spans import TracedHttp
from textserve.http.tei import TEI
from textserve.http.ui import PAGE
from textserve.ports import PortError
from textserve.runner import Runner
from textserve.settings import Settings
from textserve.spec import STORED_FOLDER, SpecError
from textserve.tracing import Tracing, is_configured

PROTOCOLS = [NATIVE, EXPLAIN, PAGE, HUGGINGFACE, TEI, OIP_HEALTH, OIP]
ALL_PROTOCOLS = [*PROTOCOLS, documentation(PROTOCOLS)]


class NoTimeout(float):
    """Seconds that BentoML accepts as a timeout and then, since they are false, does not enforce.

    The runner has deadlines of its own. BentoML's costs a task and a timer a request, and keeps every request in memory
    until its time is over, answered or not; its configuration has no value for none.
    """

    def __bool__(self) -> bool:
        return False


# `bentoml build` writes the configuration into the Bento.
yaml.SafeDumper.add_representer(NoTimeout, yaml.SafeDumper.represent_float)


settings = Settings()


class Arguments(BaseModel, extra="forbid"):
    """What ``bentoml build --arg NAME=VALUE`` settles for good, and ``bentoml serve`` takes too."""

    model: str = settings.model
    base_image: str = BASE_IMAGE


arguments = bentoml.use_arguments(Arguments)
stored = BentoModel(arguments.model if ":" in arguments.model else f"{arguments.model}:latest")
tls = {"enabled": True, "certfile": str(settings.tls_certificate), "keyfile": str(settings.tls_key)}


@bentoml.service(
    name="textserve",
    # Each of these costs time on every request and gives nothing that is not measured or bounded elsewhere.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
    traffic={"timeout": NoTimeout(settings.request_seconds)},
    ssl=tls if settings.tls_certificate else {"enabled": False},
    image=image(arguments.base_image),
)
class TextClassifier:
    """Sentiment of short texts: negative, neutral or positive, with the probability of each."""

    model = stored

    def __init__(self) -> None:
        """Load the model from the store and have it answer its golden texts."""
        logging.getLogger("textserve").setLevel(logging.INFO)
        folder = Path(self.model.path) / STORED_FOLDER
        tag = str(self.model.tag)
        self.tracing = Tracing(tag) if is_configured() else None
        self.application = Application.load(folder, tag, settings, self.tracing.runner if self.tracing else Runner)
        self.grpc = GrpcServer(self.application, [TracedGrpc(self.tracing)] if self.tracing else [])

    @bentoml.on_deployment
    def check() -> None:
        """Find out what would keep every start from succeeding, before there is one.

        A worker that cannot start is started again for ever, and nobody is told why it is not there.
        """
        model = stored.resolve()
        try:
            check_port(settings)
            # In a process of its own, which takes what it has loaded with it; 0.5 s on one core.
            with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
                pool.submit(_load, Path(model.path) / STORED_FOLDER).result()
        except PortError as error:
            raise BentoMLException(str(error)) from None
        except (SpecError, ModelFilesError, BrokenProcessPool) as error:
            advice = f"run bentoml models delete {model.tag} and save it again"
            raise BentoMLException(f"{model.tag} cannot be served: {error}; {advice}") from None

    @bentoml.on_startup
    async def start(self) -> None:
        """Start the runner, and listen for gRPC."""
        self.application.start()
        await self.grpc.start()
        self.stopping = Stopping(self.application)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer what was accepted, then stop."""
        await self.grpc.stop()
        await self.application.close()
        if self.tracing:
            await self.tracing.close()

    def __is_ready__(self) -> bool:
        """Whether ``/readyz`` says so: the model answers its golden texts, and nobody has told the service to stop."""
        return self.application.available

    @bentoml.api(route="/classify")
    async def classify(self, texts: list[str], truncate: bool = True) -> ClassifyResponse:
        """Classify texts, each as negative, neutral or positive, in the order given."""
        classified = await self.application.classify(texts, truncation="right" if truncate else None)
        answer = response(self.application, classified.predictions)
        return ClassifyResponse.model_validate(answer)


def _load(folder: Path) -> None:
    Classifier(folder)


def _application() -> Application:
    service: Any = bentoml.get_current_service()
    application: Application = service.application
    return application


def _tracing() -> Tracing:
    service: Any = bentoml.get_current_service()
    tracing: Tracing = service.tracing
    return tracing


# The decorator has made a bentoml.Service of the class, which a type checker does not see. The first is the outermost.
if is_configured():
    TextClassifier.add_asgi_middleware(TracedHttp, tracing=_tracing, protocols=ALL_PROTOCOLS)  # type: ignore[attr-defined]
TextClassifier.add_asgi_middleware(  # type: ignore[attr-defined]
    HttpProtocols, application=_application, protocols=ALL_PROTOCOLS
)
