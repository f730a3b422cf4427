"""The container engine of this machine: docker or podman, whichever works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.errors import ReleaseError

ENGINES = ("docker", "podman")
# For podman alone, which can leave out of an image what a later step removed from its base. A health check is part of
# docker's format of images.
BUILD_OPTIONS: dict[str, tuple[str, ...]] = {"docker": (), "podman": ("format=docker", "squash-all")}


@dataclass(frozen=True)
class Engine:
    """How images are built and run here: a program, and the environment that it needs for each.

    ``build_options`` is what ``bentoml containerize --opt`` gets, ``base_image`` what to build upon if not the usual.
    """

    program: str
    build_environment: Mapping[str, str]
    run_environment: Mapping[str, str]
    build_options: tuple[str, ...]
    base_image: str | None

    def run(self, *arguments: str, seconds: float = 60.0, folder: Path | None = None) -> str:
        """What the program prints, run with ``arguments`` in ``folder``, or in this process's own.

        Raises:
            ReleaseError: with what it says, if it fails.
        """
        done = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, **self.run_environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=folder,
        )
        if done.returncode != 0:
            raise ReleaseError(f"{self.program} {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()


def find(variables: Mapping[str, str] = os.environ) -> Engine:
    """The engine that ``CONTAINER_BACKEND`` names, or else the first of docker and podman that works.

    ``CONTAINERS_CONF_BUILD`` and ``CONTAINERS_CONF_RUN`` are podman's configuration for the one and the other, and
    ``BASE_IMAGE`` is another image to build upon.

    Raises:
        ReleaseError: if there is none.
    """
    named = variables.get("CONTAINER_BACKEND")
    program = next((one for one in ([named] if named else ENGINES) if _works(one)), None)
    if program is None:
        raise ReleaseError(
            f"{named or 'docker, podman'}: no container engine works here; install docker or podman and start it "
            "(`docker info` or `podman info` says what is wrong)"
        )
    build_environment = _configuration(variables.get("CONTAINERS_CONF_BUILD"))
    options = BUILD_OPTIONS.get(program, ())
    return Engine(
        program,
        build_environment,
        _configuration(variables.get("CONTAINERS_CONF_RUN")),
        # Such a configuration is for machines where a build reaches the package index by the host's network alone.
        (*options, "network=host") if build_environment else options,
        variables.get("BASE_IMAGE") or None,
    )


def _configuration(file: str | None) -> dict[str, str]:
    return {"CONTAINERS_CONF": file} if file else {}


def _works(program: str) -> bool:
    # Docker's client is there without its daemon on many a machine.
    return shutil.which(program) is not None and (
        subprocess.run([program, "info"], capture_output=True, timeout=60).returncode == 0
    )
