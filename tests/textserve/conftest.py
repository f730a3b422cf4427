"""Fixtures of the serving code's tests: folders with the default model and an altered spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import DEFAULT_MODEL


@pytest.fixture
def altered_model(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Link the default model into a folder, with the given keys of its ``model.yaml`` replaced."""

    def alter(changes: dict[str, Any]) -> Path:
        for name in ("model.onnx", "tokenizer.json"):
            (tmp_path / name).symlink_to(DEFAULT_MODEL / name)
        spec = yaml.safe_load((DEFAULT_MODEL / "model.yaml").read_text(encoding="utf-8"))
        (tmp_path / "model.yaml").write_text(yaml.safe_dump(spec | changes), encoding="utf-8")
        return tmp_path

    return alter
