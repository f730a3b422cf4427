"""The base image of the container image: its name, and its digest in its container registry."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from release.errors import ReleaseError
from release.programs import run
from textserve.bento.image import BASE_IMAGE

VARIABLE = "BASE_IMAGE"
LABELS = "org.opencontainers.image.base"
# [HOST[:PORT]/]PATH[:TAG][@DIGEST]
REFERENCE = re.compile(r"([a-z0-9][\w.-]*(?::\d+)?(?:/[\w.-]+)*(?::[\w.-]+)?)(?:@(sha256:[0-9a-f]{64}))?", re.ASCII)


def named(variables: Mapping[str, str] = os.environ) -> str:
    """The name of the base image in ``BASE_IMAGE``, with or without a digest, or else the default.

    Raises :class:`ReleaseError` if the name is not valid.
    """
    name = variables.get(VARIABLE) or BASE_IMAGE
    _parts(name)
    return name


def resolve(name: str) -> str:
    """``NAME:TAG@sha256:DIGEST`` with the current digest of ``name``, for all architectures; a digest in it is kept.

    Raises :class:`ReleaseError` if docker cannot look the image up.
    """
    tagged, digest = _parts(name)
    if digest is None:
        manifest = run("docker", "buildx", "imagetools", "inspect", tagged, "--format", "{{json .Manifest}}")
        digest = json.loads(manifest)["digest"]
    return f"{tagged}@{digest}"


def labels(name: str) -> dict[str, str]:
    """The OCI annotations for a base image: its name and, if ``name`` has a digest, the digest."""
    tagged, digest = _parts(name)
    return {f"{LABELS}.name": tagged, **({f"{LABELS}.digest": digest} if digest else {})}


def _parts(name: str) -> tuple[str, str | None]:
    match = REFERENCE.fullmatch(name)
    if match is None:
        raise ReleaseError(f"{VARIABLE}: expected NAME:TAG or NAME:TAG@sha256:DIGEST, with 64 digits; found: {name}")
    return match[1], match[2]
