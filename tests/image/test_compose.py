"""The service of deploy/compose.yaml, run by docker compose or podman-compose."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from release import engine
from tests.image.containers import IMAGE, golden_texts, inspect
from tests.server import LIMIT_SECONDS, ROOT, free_port

pytestmark = [pytest.mark.image, pytest.mark.timeout(3000)]

KEYS = ("one-0123456789abcdef", "two-0123456789abcdef")
PROJECT = "textserve-test"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the ready service, until the tests end."""
    found, port = engine.find(), free_port()
    compose = (
        ["docker", "compose"]
        if found.program == "docker"
        else shlex.split(os.environ.get("PODMAN_COMPOSE", "podman-compose"))
    )
    command = [*compose, "--file", str(ROOT / "deploy" / "compose.yaml"), "--project-name", PROJECT]
    variables = {
        "IMAGE": IMAGE,
        "PORT": str(port),
        "GRPC_PORT": str(free_port()),
        "TEXTSERVE_API_KEYS": ",".join(KEYS),
    }
    environment = {**os.environ, **found.run_environment, **variables}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
        assert done.returncode == 0, done.stderr

    try:
        run("up", "--detach", "textserve")
        _wait_ready(address := f"http://127.0.0.1:{port}")
        yield address
    finally:
        run("down")


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready within {LIMIT_SECONDS} s")


def test_ports_and_keys_come_from_the_variables(url: str) -> None:
    golden = golden_texts()
    body = {"texts": list(golden)}
    answer = httpx.post(
        f"{url}/classify", json=body, headers={"authorization": f"Bearer {KEYS[1]}"}, timeout=LIMIT_SECONDS
    )
    assert [result["label"] for result in answer.json()["results"]] == list(golden.values())
    assert httpx.post(f"{url}/classify", json=body, timeout=LIMIT_SECONDS).status_code == 401


def test_it_is_hardened_as_in_the_file(url: str) -> None:
    found = engine.find()
    (name,) = found.run("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--quiet").split()
    host = inspect(found, name)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == 512 * 1024 * 1024
    assert "no-new-privileges" in host["SecurityOpt"][0]
    status = found.run("exec", name, "cat", "/proc/1/status")
    assert f"CapEff:\t{'0' * 16}" in status
