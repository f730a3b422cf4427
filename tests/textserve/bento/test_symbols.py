"""Cutting the debugging symbols off copies of the libraries that the service loads."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from textserve.bento import symbols


@pytest.mark.parametrize("package", ["httptools", "numpy", "regex", "tokenizers", "uvloop"])
def test_a_library_without_what_follows_its_segments_still_loads(package: str, tmp_path: Path) -> None:
    folder = Path(str(importlib.import_module(package).__file__)).parent
    shutil.copytree(folder, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    if (bundled := folder.with_name(f"{package}.libs")).exists():
        shutil.copytree(bundled, tmp_path / bundled.name)
    libraries = [path for path in tmp_path.rglob("*.so*") if path.is_file()]
    for path in libraries:
        size = path.stat().st_size
        with path.open("ab") as appended:
            appended.write(b"debug" * 200)
        removed = symbols.strip(path)
        assert removed >= 1000
        assert path.stat().st_size == size + 1000 - removed
        assert symbols.strip(path) == 0
    found = subprocess.run(
        [sys.executable, "-c", f"import {package}; print({package}.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert libraries
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GROUP ( libc.so.6 )\n", b"\x7fELF\x01\x01" + bytes(90)])
def test_other_files_stay_as_they_are(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(content)
    assert symbols.strip(path) == 0
    assert path.read_bytes() == content
