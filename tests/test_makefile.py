"""Verbs of the Makefile, run as a newcomer runs them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.server import ROOT, environment, free_port, serve


def make(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that `make serve` started as from a terminal; Ctrl-C ends it."""
    port = free_port()
    process = subprocess.Popen(
        ["make", "serve", f"PORT={port}"],
        cwd=ROOT,
        env=environment(tmp_path_factory.mktemp("bentoml"), TEXTSERVE_GRPC_PORT=str(free_port())),
        start_new_session=True,
    )
    address = f"http://localhost:{port}"
    deadline = time.monotonic() + 600
    started: list[psutil.Process] = []
    try:
        while True:
            assert process.poll() is None, "make serve ended"
            assert time.monotonic() < deadline, "make serve was not ready within 600 s"
            try:
                if httpx.get(f"{address}/readyz", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(300)
    _, alive = psutil.wait_procs(started, timeout=100)
    assert alive == [], "Ctrl-C leaves a process behind"


def test_make_serve_answers_in_both_languages(served: str) -> None:
    texts = ["Polecam, świetna obsługa!", "The worst film I have seen."]
    answer = httpx.post(f"{served}/classify", json={"texts": texts})
    assert [result["label"] for result in answer.json()["results"]] == ["positive", "negative"]


def test_the_bento_carries_the_pinned_model_and_serves_the_same_way(tmp_path: Path) -> None:
    done = make("bento", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (tag,) = (tmp_path / "models" / "sentiment-pl-en" / "latest").read_text().split()
    (bento,) = [path for path in (tmp_path / "bentos" / "textserve").iterdir() if path.is_dir()]
    assert f"tag: sentiment-pl-en:{tag}" in (bento / "bento.yaml").read_text()
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert not re.search(r"^(torch|transformers|optimum|pytest)\b", requirements, flags=re.MULTILINE)
    with serve(tmp_path, "textserve:latest", supervisor=True) as server:
        answer = httpx.post(f"{server.url}/classify", json={"texts": ["Świetnie!"]}, timeout=30).json()
        assert httpx.get(f"{server.url}/ui").status_code == 200
        assert httpx.get(f"{server.url}/ui/app.js").status_code == 200
    assert (answer["model"], answer["results"][0]["label"]) == (f"sentiment-pl-en:{tag}", "positive")


def test_the_summary_has_its_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)  # or it would become the run's
    done = make("summary", home=tmp_path)
    assert done.returncode == 0, done.stderr
    sections = re.findall(r"^## (.+)$", done.stdout, flags=re.MULTILINE)
    assert sections == ["Tests", "Model sentiment-pl-en", "Model sentiment-en-head", "Image", "Benchmark"]


def test_what_make_runs_reads_bytecode_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    shown = make("--eval=shown: ; @env", "shown", home=tmp_path).stdout
    assert "HF_HUB_DISABLE_TELEMETRY=1" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown


def test_another_python_makes_its_environment_anew(tmp_path: Path) -> None:
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\nmkdir -p "${UV_PROJECT_ENVIRONMENT:-.venv}"; echo "$@"\n')
    uv.chmod(0o755)

    def synced(environment: str, python: str) -> bool:
        arguments = ["make", environment, f"UV={uv}", f"PYTHON={python}"]
        return "--frozen" in subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    for stamp in (".venv/.inference", ".venv-docs/.synced"):
        used = [synced(stamp, python) for python in ("python3.11", "python3.11", "python3.13", "python3.13")]
        assert used == [True, False, True, False]
