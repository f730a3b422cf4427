"""The Bento's service: which model is served, what starts and stops with it, and its endpoints. No logic lives here.

bentoml serve service:Sentiment
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bentoml
from bentoml.models import BentoModel

from sentiment.application import Application
from sentiment.protocols.http import HttpProtocols
from sentiment.protocols.native import NATIVE, ClassifyResponse, response
from sentiment.settings import Settings
from sentiment.spec import STORED_FOLDER

settings = Settings()


@bentoml.service(
    name="sentiment",
    # Each of these costs time on every request and gives nothing that is not measured or bounded elsewhere.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
)
class Sentiment:
    """Sentiment of short texts: negative, neutral or positive, with the probability of each."""

    model = BentoModel(f"{settings.model}:latest")

    def __init__(self) -> None:
        """Load the model from the store and have it answer its golden texts."""
        logging.getLogger("sentiment").setLevel(logging.INFO)
        folder = Path(self.model.path) / STORED_FOLDER
        self.application = Application.load(folder, str(self.model.tag), settings)

    @bentoml.on_startup
    def start(self) -> None:
        """Start the runner."""
        self.application.start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer what was accepted, then stop."""
        await self.application.close()

    def __is_ready__(self) -> bool:
        """Whether ``/readyz`` says so: the model answers its golden texts as its spec expects."""
        return self.application.ready

    @bentoml.api(route="/classify")
    async def classify(self, texts: list[str]) -> ClassifyResponse:
        """Classify texts, each as negative, neutral or positive, in the order given."""
        classified = await self.application.classify(texts)
        answer = response(self.application, classified.predictions)
        return ClassifyResponse.model_validate(answer)


def _application() -> Application:
    service: Any = bentoml.get_current_service()
    application: Application = service.application
    return application


# The decorator has made a bentoml.Service of the class, which a type checker does not see.
Sentiment.add_asgi_middleware(  # type: ignore[attr-defined]
    HttpProtocols, application=_application, protocols=[NATIVE]
)
