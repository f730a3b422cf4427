"""The page of the local registry, opened as docs/training.md says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from modeling.registry.versions import Registry
from tests.server import ROOT, free_port

pytestmark = pytest.mark.export

# It imports MLflow in five processes, 20 s where nothing else runs.
SECONDS = 240


def test_the_page_of_the_registry_opens_as_the_documentation_says(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (arguments,) = re.findall(r"^\.venv-export/bin/mlflow (ui .+)$", document, re.MULTILINE)
    Registry.connect(tmp_path)
    port = free_port()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mlflow"), *arguments.split(), "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, "mlflow ui ended"
            assert time.monotonic() < deadline, f"mlflow ui did not answer within {SECONDS} s"
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=50)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        assert "MLflow" in answer.text
    finally:
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        process.wait(200)
        _, alive = psutil.wait_procs(started, timeout=200)
        for process_alive in alive:
            process_alive.kill()
