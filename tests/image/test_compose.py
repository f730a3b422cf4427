"""The service of deploy/compose.yaml, run by docker compose or podman-compose."""

from __future__ import annotations

import contextlib
import os
import shlex
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from release import engine
from tests.image.containers import IMAGE, golden_texts, inspect
from tests.server import LIMIT_SECONDS, ROOT, free_port, self_signed, trusting

pytestmark = [pytest.mark.image, pytest.mark.timeout(3000)]

PROJECT = "textserve-test"
KEYS = ("0123456789abcdef-one", "0123456789abcdef-two")


@contextlib.contextmanager
def composed(*additions: str, project: str = PROJECT, certificate: str | None = None, **more: str) -> Iterator[str]:
    """The address of the ready service of compose.yaml and ``additions`` of deploy/, until the block ends."""
    found, port = engine.find(), free_port()
    compose = (
        ["docker", "compose"]
        if found.program == "docker"
        else shlex.split(os.environ.get("PODMAN_COMPOSE", "podman-compose"))
    )
    files = [word for name in ("compose.yaml", *additions) for word in ("--file", str(ROOT / "deploy" / name))]
    command = [*compose, *files, "--project-name", project]
    variables = {"IMAGE": IMAGE, "PORT": str(port), "GRPC_PORT": str(free_port()), **more}
    environment = {**os.environ, **found.run_environment, **variables}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
        assert done.returncode == 0, done.stderr

    try:
        run("up", "--detach", "textserve")
        address = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        _wait_ready(address, trusting(certificate))
        yield address
    finally:
        run("down")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with composed(TEXTSERVE_API_KEYS=",".join(KEYS)) as address:
        yield address


def _wait_ready(url: str, verify: ssl.SSLContext | bool) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=2, verify=verify).status_code == 200:
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


def test_keys_and_certificate_are_secrets(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEYS[0]}\n", encoding="utf-8")
    certificate, key = self_signed(tmp_path)
    for file in (keys, certificate, key):
        file.chmod(0o644)  # for the user of the container
    more = {"project": f"{PROJECT}-secrets", "certificate": str(certificate)}
    variables = {"API_KEYS": str(keys), "TLS_CERTIFICATE": str(certificate), "TLS_KEY": str(key)}
    with composed("compose.keys.yaml", "compose.tls.yaml", **more, **variables) as address:

        def classify(key: str) -> int:
            return httpx.post(
                f"{address}/classify",
                json={"texts": ["ok"]},
                headers={"authorization": f"Bearer {key}"},
                verify=trusting(str(certificate)),
                timeout=LIMIT_SECONDS,
            ).status_code

        assert (classify(KEYS[0]), classify(KEYS[1])) == (200, 401)
