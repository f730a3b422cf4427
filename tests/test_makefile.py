"""The README's commands, run as a newcomer runs them."""

from __future__ import annotations

import os
import re
import shlex
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

README = (ROOT / "README.md").read_text(encoding="utf-8")


def make(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=170
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that `make serve` started, as a terminal would, and that Ctrl-C ends."""
    port = free_port()
    process = subprocess.Popen(
        ["make", "serve", f"PORT={port}"],
        cwd=ROOT,
        env=environment(tmp_path_factory.mktemp("bentoml"), TEXTSERVE_GRPC_PORT=str(free_port())),
        start_new_session=True,
    )
    address = f"http://localhost:{port}"
    deadline = time.monotonic() + 90
    started: list[psutil.Process] = []
    try:
        while True:
            assert process.poll() is None, "make serve ended"
            assert time.monotonic() < deadline, "make serve was not ready within 90 s"
            try:
                if httpx.get(f"{address}/readyz", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == [], "Ctrl-C leaves a process behind"


def test_the_readmes_curl_commands_answer_as_the_readme_says(served: str) -> None:
    commands = re.findall(r"^curl .*?[^\\]$", README, flags=re.MULTILINE | re.DOTALL)
    labels = []
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        (url,) = [word for word in words if word.startswith("localhost:3000")]
        body = words[words.index("-d") + 1]
        answer = httpx.post(url.replace("localhost:3000", served), content=body.encode())
        assert answer.status_code == 200
        labels += [result["label"] for result in answer.json()["results"]]
    assert labels == ["positive", "negative", "neutral"] * 2


def test_help_lists_every_verb_that_the_readme_names(tmp_path: Path) -> None:
    listed = set(re.findall(r"^make ([a-z-]+)", make("help", home=tmp_path).stdout, flags=re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", README, flags=re.MULTILINE))
    verbs = {verb for pair in named for verb in pair if verb}
    assert {"serve", "test", "bento"} <= verbs
    assert verbs <= listed


def test_the_bento_carries_the_pinned_model_and_serves_the_same_way(tmp_path: Path) -> None:
    done = make("bento", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (tag,) = (tmp_path / "models" / "sentiment-pl-en" / "latest").read_text().split()
    (bento,) = [one for one in (tmp_path / "bentos" / "textserve").iterdir() if one.is_dir()]
    assert f"tag: sentiment-pl-en:{tag}" in (bento / "bento.yaml").read_text()
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert not re.search(r"^(torch|transformers|optimum|pytest)\b", requirements, flags=re.MULTILINE)
    with serve(tmp_path, "textserve:latest") as server:
        answer = httpx.post(f"{server.url}/classify", json={"texts": ["Świetnie!"]}, timeout=30).json()
        assert httpx.get(f"{server.url}/ui").status_code == 200
        assert httpx.get(f"{server.url}/ui/app.js").status_code == 200
    assert (answer["model"], answer["results"][0]["label"]) == (f"sentiment-pl-en:{tag}", "positive")


def test_updating_locks_the_newest_versions_that_fit(tmp_path: Path) -> None:
    # A project of one dependency: what fits together in this one's is for the nightly run to find out.
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "one"\nversion = "1"\nrequires-python = "==3.11.*"\ndependencies = ["idna<3.8"]\n',
        encoding="utf-8",
    )
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    variables = environment(tmp_path / "home")
    versions = []
    for command in ([uv, "lock", "--upgrade-package", "idna==3.4"], ["make", f"--file={ROOT / 'Makefile'}", "update"]):
        words = [*command, f"UV={uv}"] if command[0] == "make" else command
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        lock = (tmp_path / "uv.lock").read_text(encoding="utf-8")
        versions += re.findall(r'name = "idna"\nversion = "([^"]+)"', lock)
    assert versions == ["3.4", "3.7"]


def test_an_audit_that_act_runs_knows_that_it_is_at_a_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACT", "true")
    done = make("audit", home=tmp_path)
    assert done.returncode == 0 or "NOT AUDITED" not in done.stdout, done.stdout + done.stderr


def test_the_report_has_its_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)  # or this page would be the run's
    done = make("report", home=tmp_path)
    assert done.returncode == 0, done.stderr
    sections = re.findall(r"^## (.+)$", done.stdout, flags=re.MULTILINE)
    assert sections == ["Tests", "Model sentiment-pl-en", "Model sentiment-en-head", "Image", "Benchmark"]


def test_what_make_runs_reads_bytecode_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    shown = make("--eval=shown: ; @env", "shown", home=tmp_path).stdout
    assert "HF_HUB_DISABLE_TELEMETRY=1" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown
