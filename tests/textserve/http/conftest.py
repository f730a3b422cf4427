from __future__ import annotations

from typing import Any

import pytest

from tests.asgi import ANSWER, Client, Outcome, Serve
from textserve.classifier import Classifier
from textserve.http.router import HttpProtocol


@pytest.fixture
def serve(classifier: Classifier) -> Serve:
    """``serve(protocol, outcome, **settings)``: a client of that protocol."""

    def build(protocol: HttpProtocol, outcome: Outcome | None = ANSWER, **settings: Any) -> Client:
        return Client(classifier, protocol, outcome, settings)

    return build
