"""Bytecode outside an image; tests/image/ checks the bytecode inside."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from tests.server import ROOT
from textserve.bento.bytecode import MODULES


def test_outside_an_image_it_compiles_nothing() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "BENTO_PATH"}
    command = [sys.executable, "-m", "textserve.bento.bytecode"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "for an image that is being built" in done.stderr


def test_bentoml_and_uvicorn_still_have_the_modules_that_are_compiled() -> None:
    missing = []
    for name in MODULES:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        missing += [] if found else [name]
    assert missing == [], "these modules moved: find their successors and change textserve.bento.bytecode.MODULES"
