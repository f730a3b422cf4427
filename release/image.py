"""Builds the container image of a Bento with `bentoml containerize`."""

from __future__ import annotations

import os
import subprocess
import sys

from release import base_image
from release.bento import BENTOML, NAME, BuiltBento
from release.engine import Engine
from release.errors import ReleaseError
from release.flatten import flatten

LABELS = "org.opencontainers.image"


def build(built: BuiltBento, base: str, name: str, engine: Engine) -> int:
    """Build the image ``name`` and return its size in bytes; raises :class:`ReleaseError` if the engine fails.

    ``base`` is the name of the base image, for the labels.
    """
    labels = {
        f"{LABELS}.title": NAME,
        f"{LABELS}.version": built.tag.split(":")[1],
        f"{LABELS}.revision": built.labels.get("commit", ""),
        **base_image.labels(base),
        **built.labels,
    }
    command = [BENTOML, "containerize", built.tag, "--backend", engine.program, "--image-tag", name]
    for option in (*engine.build_options, *(f"label={key}={value}" for key, value in labels.items() if value)):
        command += ["--opt", option]
    environment = {**os.environ, **engine.build_environment}
    if subprocess.run(command, env=environment, stdout=sys.stderr).returncode != 0:
        raise ReleaseError(f"{name}: the build with {engine.program} failed; see its output above")
    if not engine.squashes:
        flatten(name, engine)
    return engine.size(name)
