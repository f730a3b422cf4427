"""Tiny models in folders, and files of texts for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.test_shapes import write_models

Write = Callable[[str, Sequence[dict[str, Any]]], Path]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """``tiny(name)``: the folder of a tiny model of :func:`tests.test_shapes.write_models`."""
    folders = {folder.name: folder for folder in write_models(tmp_path_factory.mktemp("tiny") / "models")}
    return lambda name: str(folders[name])


@pytest.fixture
def lines(tmp_path: Path) -> Write:
    """``lines(name, rows)``: a file of JSON Lines."""

    def write(name: str, rows: Sequence[dict[str, Any]]) -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    return write
