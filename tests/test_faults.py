"""The tests in ``tests/faults`` take half an hour, so here is what would make them fail at their start."""

from __future__ import annotations

import importlib
from pathlib import Path
from pkgutil import resolve_name

import pytest


def test_every_fault_has_its_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT_FILE", str(tmp_path / "fault"))
    start = importlib.import_module("tests.faults.broken_start")
    assert all(callable(resolve_name(place)) for place in start.FAULTS.values())
