"""What it compiles is looked at in the image, by tests/image/; here, that it stays there."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.server import ROOT


def test_outside_of_an_image_it_compiles_nothing() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "BENTO_PATH"}
    command = [sys.executable, "-m", "textserve.bento.bytecode"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "for an image that is being built" in done.stderr
