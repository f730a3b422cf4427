"""What tests share: the project's folders and the default model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentiment.classifier import Classifier

# Programs of the system that tests start (see `programs` in the Makefile) need not be on PATH.
os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/usr/bin:/sbin:/bin"

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_MODEL = ROOT / "models" / "sentiment-pl-en"


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The default model, loaded once."""
    return Classifier(DEFAULT_MODEL)
