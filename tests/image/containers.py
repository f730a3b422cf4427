"""Starts the very image that ``IMAGE`` names, as it is run in production, and leaves no container behind.

With no container engine, or without the image, this raises, and so every test that needs it fails.
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
from tests.server import ROOT, free_port

IMAGE = os.environ.get("IMAGE", "textserve:latest")
START_SECONDS = 60.0
# As an operator who trusts nobody runs it. Left alone, podman mounts writable folders beside a read-only root.
HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
OPTIONS = {"podman": ("--read-only-tmpfs=false",), "docker": ()}


@dataclass(frozen=True)
class Container:
    """A running container: its engine, its id, its addresses on this machine, and when it was started.

    ``started`` is of :func:`time.monotonic`, in seconds, before the engine was asked.
    """

    engine: Engine
    id: str
    url: str
    grpc_address: str
    started: float

    def log(self) -> str:
        """Everything that it has logged so far, of either stream."""
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
        """``Status``, ``ExitCode``, ``OOMKilled`` and what else the engine knows."""
        found: dict[str, Any] = inspect(self.engine, self.id)["State"]
        return found

    def python(self, code: str, *arguments: str) -> str:
        """What Python prints that runs ``code`` inside, as the service's user."""
        return self.engine.run("exec", self.id, "python", "-c", code, *arguments)

    def healthy(self) -> bool:
        """Whether the image's own health check says so."""
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

    def classify(self, texts: list[str], seconds: float = 30.0) -> httpx.Response:
        """The answer to ``POST /classify``."""
        return httpx.post(f"{self.url}/classify", json={"texts": texts}, timeout=seconds)

    def wait_ended(self, seconds: float) -> dict[str, Any]:
        """Its state once it has ended.

        Raises:
            TimeoutError: if it runs on for ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while (state := self.state())["Status"] == "running":
            if time.monotonic() > deadline:
                raise TimeoutError(f"it still runs after {seconds} s:\n{self.log()}")
            time.sleep(0.1)
        return state


def health_field(container_engine: Engine) -> str:
    """Where an image's health check is in what the engine says of it."""
    return "{{.HealthCheck.Test}}" if container_engine.program == "podman" else "{{.Config.Healthcheck.Test}}"


def inspect(container_engine: Engine, name: str) -> dict[str, Any]:
    """What the engine knows of a container or an image."""
    found: list[dict[str, Any]] = json.loads(container_engine.run("inspect", name))
    return found[0]


@functools.cache
def model_name() -> str:
    """Of the model that the image carries."""
    return str(inspect(engine.find(), IMAGE)["Config"]["Labels"]["model"]).partition(":")[0]


@functools.cache
def golden_texts() -> dict[str, str]:
    """The golden texts of that model, each with its label."""
    spec = ModelSpec.load(ROOT / "models" / model_name())
    labels = {label.meaning: label.name for label in spec.labels}
    return {golden.text: labels[golden.label] for golden in spec.golden}


@contextlib.contextmanager
def started(
    *options: str,
    command: Sequence[str] = (),
    port: int = 3000,
    network: bool = True,
    hardened: bool = True,
    **variables: str,
) -> Iterator[Container]:
    """A container that was started a moment ago, until the block ends.

    Args:
        options: more of what ``docker run`` takes.
        command: what it runs instead of what the image says.
        port: on which it listens inside, for HTTP.
        network: whether it has one; without, ``url`` is of no use.
        hardened: whether its root is read-only, without capabilities or ways to get any.
        variables: of its environment.
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
    # podman notes in the folder where it is called that a container ran out of memory.
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        name = container_engine.run(*arguments, IMAGE, *command, folder=Path(folder))
        try:
            yield Container(container_engine, name, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", begun)
        finally:
            container_engine.run("rm", "--force", name)


@contextlib.contextmanager
def running(*options: str, network: bool = True, **how: Any) -> Iterator[Container]:
    """A container that is ready, until the block ends; takes what :func:`started` takes."""
    with started(*options, network=network, **how) as container:
        _wait(container, container.ready if network else container.healthy)
        yield container


def _wait(container: Container, ready: Any) -> None:
    while not ready():
        if container.state()["Status"] != "running":
            raise RuntimeError(f"the container ended: {container.state()}\n{container.log()}")
        if time.monotonic() > container.started + START_SECONDS:
            raise RuntimeError(f"not ready within {START_SECONDS} s:\n{container.log()}")
        time.sleep(0.05)
