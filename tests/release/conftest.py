"""Stand-ins for programs; and imports the parts of BentoML that warn of their own use of pydantic, which would fail
every test.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

with warnings.catch_warnings(action="ignore"):
    import _bentoml_sdk  # type: ignore[import-untyped]  # noqa: F401  # for its warnings alone; it has no types


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script first on PATH, under the name of a program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)

    return write
