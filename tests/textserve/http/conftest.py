from __future__ import annotations

from typing import Any

import pytest

from tests.asgi import ANSWER, Client, Outcome, Serve, described
from textserve.classifier import Classifier
from textserve.http.router import HttpProtocol
from textserve.spec import ModelSpec


@pytest.fixture
def serve(classifier: Classifier) -> Serve:
    """``serve(protocol, outcome, spec, **settings)``: a client of that protocol, by default with the default model."""

    def build(
        protocol: HttpProtocol, outcome: Outcome | None = ANSWER, spec: ModelSpec | None = None, **settings: Any
    ) -> Client:
        return Client(described(spec) if spec else classifier, protocol, outcome, settings)

    return build
