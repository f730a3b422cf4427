"""Starts the image that ``IMAGE`` names as in production, and removes its containers.

Without a container engine, or without the image, this raises, and the tests that need it fail.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modeling.spec import ModelSpec
from release import engine
from release.engine import Engine
from tests.server import LIMIT_SECONDS, ROOT, free_port

IMAGE = os.environ.get("IMAGE", "textserve:latest")
# As docs/operations.md recommends. By default, podman mounts writable folders into a read-only root.
HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
OPTIONS = {"podman": ("--read-only-tmpfs=false",), "docker": ()}


@dataclass(frozen=True)
class Container:
    """A running container: its engine, its id, its addresses, and the :func:`time.monotonic` of its start."""

    engine: Engine
    id: str
    url: str
    grpc_address: str
    started: float

    def log(self) -> str:
        """The log so far, stdout and stderr."""
        done = subprocess.run(
            [self.engine.program, "logs", self.id],
            env={**os.environ, **self.engine.run_environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout

    def state(self) -> dict[str, Any]:
        """``Status``, ``ExitCode``, ``OOMKilled`` and the other fields of the engine."""
        found: dict[str, Any] = inspect(self.engine, self.id)["State"]
        return found

    def python(self, code: str, *arguments: str) -> str:
        """The output of ``code``, run by Python in the container as the service's user."""
        return self.engine.run("exec", self.id, "python", "-c", code, *arguments)

    def healthy(self) -> bool:
        """Whether the image's health check succeeds."""
        check = self.engine.run("image", "inspect", "--format", health_field(self.engine), IMAGE)
        command = check.strip("[]").removeprefix("CMD-SHELL ")
        done = subprocess.run(
            [self.engine.program, "exec", self.id, "sh", "-c", command],
            env={**os.environ, **self.engine.run_environment},
            capture_output=True,
        )
        return done.returncode == 0

    def ready(self) -> bool:
        """Whether ``/readyz`` answers 200."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def classify(self, texts: list[str], seconds: float = LIMIT_SECONDS) -> httpx.Response:
        """The answer to ``POST /classify``."""
        return httpx.post(f"{self.url}/classify", json={"texts": texts}, timeout=seconds)

    def wait_ended(self) -> dict[str, Any]:
        """Its state once it has exited.

        Raises:
            TimeoutError: if it runs on for ``LIMIT_SECONDS``.
        """
        deadline = time.monotonic() + LIMIT_SECONDS
        while (state := self.state())["Status"] == "running":
            if time.monotonic() > deadline:
                raise TimeoutError(f"it still runs after {LIMIT_SECONDS} s:\n{self.log()}")
            time.sleep(0.1)
        return state


def health_field(container_engine: Engine) -> str:
    """The template of the engine's field with an image's health check."""
    return "{{.HealthCheck.Test}}" if container_engine.program == "podman" else "{{.Config.Healthcheck.Test}}"


def inspect(container_engine: Engine, name: str) -> dict[str, Any]:
    """The engine's description of a container or an image."""
    found: list[dict[str, Any]] = json.loads(container_engine.run("inspect", name))
    return found[0]


@functools.cache
def model_name() -> str:
    """The name of the model in the image."""
    return str(inspect(engine.find(), IMAGE)["Config"]["Labels"]["model"]).partition(":")[0]


@functools.cache
def golden_texts() -> dict[str, str]:
    """The golden texts of that model, with their labels."""
    spec = ModelSpec.load(ROOT / "models" / model_name())
    labels = {label.label: label.name for label in spec.labels}
    return {golden.text: labels[str(golden.label)] for golden in spec.golden}


@contextlib.contextmanager
def started(
    *options: str,
    command: Sequence[str] = (),
    port: int = 3000,
    network: bool = True,
    hardened: bool = True,
    **variables: str,
) -> Iterator[Container]:
    """A container that is starting, until the block ends.

    Args:
        options: more options of ``docker run``.
        command: replaces the image's command.
        port: the HTTP port inside the container.
        network: whether it has one; without, ``url`` does not work.
        hardened: whether its root is read-only, and it has no capabilities.
        variables: its environment.
    """
    container_engine = engine.find()
    http, grpc = free_port(), free_port()
    arguments = ["run", "--detach", *options]
    if hardened:
        arguments += [*HARDENED, *OPTIONS[container_engine.program]]
    if network:
        arguments += [f"--publish=127.0.0.1:{http}:{port}", f"--publish=127.0.0.1:{grpc}:3002"]
    else:
        arguments.append("--network=none")
    arguments += [f"--env={name}={value}" for name, value in variables.items()]
    # podman writes a file into the current folder when a container runs out of memory.
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        name = container_engine.run(*arguments, IMAGE, *command, folder=Path(folder))
        try:
            yield Container(container_engine, name, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", begun)
        finally:
            container_engine.run("rm", "--force", name)


@contextlib.contextmanager
def running(*options: str, network: bool = True, **how: Any) -> Iterator[Container]:
    """A container that is ready, until the block ends; with the arguments of :func:`started`."""
    with started(*options, network=network, **how) as container:
        _wait(container, container.ready if network else container.healthy)
        yield container


def _wait(container: Container, ready: Any) -> None:
    while not ready():
        if container.state()["Status"] != "running":
            raise RuntimeError(f"the container ended: {container.state()}\n{container.log()}")
        if time.monotonic() > container.started + LIMIT_SECONDS:
            raise RuntimeError(f"not ready within {LIMIT_SECONDS} s:\n{container.log()}")
        time.sleep(0.05)
