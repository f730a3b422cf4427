"""What tests share: the project's folders and the default model."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentiment.classifier import Classifier

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_MODEL = ROOT / "models" / "sentiment-pl-en"


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The default model, loaded once."""
    return Classifier(DEFAULT_MODEL)
