"""The UI of the local registry, opened as docs/training.md says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from modeling.registry.versions import Registry
from tests.scripts.mlflow_server import stop, wait
from tests.server import ROOT, free_port

pytestmark = pytest.mark.export


def test_the_ui_of_the_registry_opens_as_the_documentation_says(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (arguments,) = re.findall(r"^\.venv-export/bin/mlflow (ui .+)$", document, re.MULTILINE)
    Registry.connect(tmp_path)
    port, log_file = free_port(), tmp_path / "ui.log"
    # With one worker it starts sooner.
    command = [Path(sys.executable).with_name("mlflow"), *arguments.split(), "--port", str(port), "--workers", "1"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
    try:
        assert "MLflow" in wait(f"http://127.0.0.1:{port}/", process, log_file)
    finally:
        stop(process)
