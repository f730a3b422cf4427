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
        env=environment(tmp_path_factory.mktemp("bentoml"), SENTIMENT_GRPC_PORT=str(free_port())),
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
    (bento,) = [one for one in (tmp_path / "bentos" / "sentiment").iterdir() if one.is_dir()]
    assert f"tag: sentiment-pl-en:{tag}" in (bento / "bento.yaml").read_text()
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert not re.search(r"^(torch|transformers|optimum|pytest)\b", requirements, flags=re.MULTILINE)
    with serve(tmp_path, "sentiment:latest") as server:
        answer = httpx.post(f"{server.url}/classify", json={"texts": ["Świetnie!"]}, timeout=30).json()
        assert httpx.get(f"{server.url}/ui").status_code == 200
        assert httpx.get(f"{server.url}/ui/app.js").status_code == 200
    assert (answer["model"], answer["results"][0]["label"]) == (f"sentiment-pl-en:{tag}", "positive")


def test_updating_locks_the_newest_versions_that_fit(tmp_path: Path) -> None:
    root = tmp_path / "project"
    for package in ("scripts", "sentiment"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "README.md", "LICENSE", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, root / name)
    lock = (root / "uv.lock").read_text(encoding="utf-8")
    older, count = re.subn(r'(name = "idna"\nversion = )"[^"]+"', r'\1"3.4"', lock)
    assert count == 1
    (root / "uv.lock").write_text(older, encoding="utf-8")
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    variables = environment(tmp_path / "home", UV_SKIP_WHEEL_FILENAME_CHECK="1")
    done = subprocess.run(
        ["make", "update", f"UV={uv}"], cwd=root, env=variables, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    updated = (root / "uv.lock").read_text(encoding="utf-8")
    (version,) = re.findall(r'name = "idna"\nversion = "([^"]+)"', updated)
    assert tuple(map(int, version.split("."))) > (3, 4)
    # What is asked for by its version stays.
    assert 'name = "bentoml"\nversion = "1.4.39"' in updated


def test_the_report_has_its_sections(tmp_path: Path) -> None:
    done = make("report", home=tmp_path)
    assert done.returncode == 0, done.stderr
    sections = re.findall(r"^## (.+)$", done.stdout, flags=re.MULTILINE)
    assert sections == ["Tests", "Model sentiment-pl-en", "Model sentiment-en-head", "Image", "Benchmark"]
