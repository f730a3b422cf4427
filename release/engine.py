"""The container engine of this machine: docker or podman, whichever works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.errors import ReleaseError

# In order of preference. podman can squash the layers; it supports health checks only in docker's image format.
BUILD_OPTIONS: dict[str, tuple[str, ...]] = {"docker": (), "podman": ("format=docker", "squash-all")}


@dataclass(frozen=True)
class Engine:
    """A program that builds and runs images, with the environment variables and options that it needs."""

    program: str
    build_environment: Mapping[str, str]
    run_environment: Mapping[str, str]
    build_options: tuple[str, ...]  # of bentoml containerize --opt

    @property
    def squashes(self) -> bool:
        """Whether an image that it builds has one layer."""
        return "squash-all" in self.build_options

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Run the program in ``folder`` and return its stripped output; raises :class:`ReleaseError` with its error."""
        command, environment = [self.program, *arguments], {**os.environ, **self.run_environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=folder)
        if done.returncode != 0:
            raise ReleaseError(f"{self.program} {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def size(self, image: str) -> int:
        """The size of an image in bytes; raises :class:`ReleaseError` if there is no such image."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))


def find(variables: Mapping[str, str] = os.environ) -> Engine:
    """The engine that ``CONTAINER_BACKEND`` names, or else the first of docker and podman that works.

    ``CONTAINERS_CONF_BUILD`` and ``CONTAINERS_CONF_RUN`` are podman's configuration files for building and running.
    Raises :class:`ReleaseError` if no engine works.
    """
    named = variables.get("CONTAINER_BACKEND")
    program = next((name for name in ([named] if named else BUILD_OPTIONS) if _works(name)), None)
    if program is None:
        raise ReleaseError(
            f"{named or 'docker, podman'}: no container engine works here; install docker or podman and start it "
            "(`docker info` or `podman info` says what is wrong)"
        )
    files = (variables.get(f"CONTAINERS_CONF_{step}") for step in ("BUILD", "RUN"))
    building, running = ({"CONTAINERS_CONF": file} if file else {} for file in files)
    # A machine that needs a configuration for building reaches the package index only through the host's network.
    options = BUILD_OPTIONS.get(program, ()) + (("network=host",) if building else ())
    return Engine(program, building, running, options)


def _works(program: str) -> bool:
    # The client of docker is often installed without its daemon.
    found = shutil.which(program)
    return found is not None and subprocess.run([found, "info"], capture_output=True, timeout=60).returncode == 0
