"""Shared fixtures: the default model, and model stores that contain it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.server import ROOT, Server, save_model, serve
from textserve.classifier import Classifier

# The system programs that tests start (see `programs` in the Makefile) may be outside PATH.
os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/usr/bin:/sbin:/bin"

# No example fails because the machine is busy.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["tests.tiny_checkpoints", "tests.tiny_shapes", "tests.scripts.mlflow_server"]

DEFAULT_MODEL = ROOT / "models" / "sentiment-pl-en"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A stable test id for gzip data, which contains the time: pytest-xdist's workers must collect the same names."""
    return argname if isinstance(val, bytes) and b"\x1f\x8b" in val else None


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The default model, loaded once."""
    return Classifier(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with the default model; copy it to change it."""
    home = tmp_path_factory.mktemp("saved")
    save_model(home)
    return home


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> Path:
    """A model store with the default model, for the tests of one module."""
    home = tmp_path_factory.mktemp("bentoml")
    shutil.copytree(saved_model / "models", home / "models")
    return home


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> Iterator[Server]:
    """A service with the default model and settings, shared by all tests that do not change its state."""
    home = tmp_path_factory.mktemp("served")
    shutil.copytree(saved_model / "models", home / "models")
    with serve(home) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, saved_model: Path) -> Path:
    """A model store with the default model, for one test."""
    shutil.copytree(saved_model / "models", tmp_path / "models")
    return tmp_path
