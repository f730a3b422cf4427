"""Deploys a signed image with docker compose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from modeling.files import ROOT
from release.errors import ReleaseError
from release.programs import run

FOLDER = ROOT / "deploy"
# The token issuer of GitHub, which identifies the workflow that signed the image.
ISSUER = "https://token.actions.githubusercontent.com"
# Anyone who may push a branch can change the workflow there and let it sign, so only these references count.
REFERENCES = r"refs/(heads/main|tags/v[0-9]+\.[0-9]+\.[0-9]+)"
READY_SECONDS = 60


def deploy(image: str, signed_by: str, additions: Sequence[str] = ()) -> None:
    """Verify the signature of ``image``, replace the running container with it, and wait until it is ready.

    Requests are not answered meanwhile; :mod:`release.rolling` has no such pause. Arguments and errors are those of
    :func:`verified`; also raises :class:`ReleaseError` if the image is not ready in time.
    """
    image, files = verified(image, signed_by, additions)
    up(files, {"IMAGE": image}, recreate=True)


def verified(image: str, signed_by: str, additions: Sequence[str]) -> tuple[str, list[Path]]:
    """Verify the signature of ``image`` (``NAME@sha256:DIGEST``), and return its name and its compose files.

    ``signed_by`` is the address of the workflow that must have signed it, without the reference after ``@``, which must
    be the branch main or the tag of a release. ``additions`` are the names of ``deploy/compose.NAME.yaml`` to add.
    Raises :class:`ReleaseError` if the image is not named by its digest, its signature is missing or by another
    workflow, or there is no such addition.
    """
    if not re.fullmatch(r"[a-zA-Z0-9][^@\s]*@sha256:\w+", image):
        raise ReleaseError(f"expected an image by its digest, NAME@sha256:…; found: {image or 'none'}")
    if not re.fullmatch(r"https://[^@\s]+", signed_by):
        raise ReleaseError(
            "expected SIGNED_BY, the address of the workflow that signed the image, https://… without @REF; "
            f"found: {signed_by or 'none'}"
        )
    files = [FOLDER / "compose.yaml", *(FOLDER / f"compose.{name}.yaml" for name in additions)]
    known = {file.name.split(".")[1] for file in FOLDER.glob("compose.*.yaml")}
    if unknown := sorted(set(additions) - known):
        raise ReleaseError(f"WITH: no deploy/compose.{unknown[0]}.yaml; there are {', '.join(sorted(known))}")
    # Owners on GitHub may have capitals in their names, images may not.
    image = image.lower()
    identity = f"^{re.escape(signed_by)}@{REFERENCES}$"
    run("cosign", "verify", "--certificate-identity-regexp", identity, "--certificate-oidc-issuer", ISSUER, image)
    return image, files


def up(
    files: Sequence[Path],
    variables: Mapping[str, str],
    *services: str,
    project: str | None = None,
    recreate: bool = False,
) -> None:
    """Start the services of compose files (all by default) with environment variables, and wait until they are ready.

    Compose does not restart a container if only a file that it mounts has changed; with ``recreate`` all containers are
    created again. Raises :class:`ReleaseError` if the services are not ready in time.
    """
    options = ["--detach", "--wait", "--wait-timeout", str(READY_SECONDS), "--no-build"]
    options += ["--force-recreate"] if recreate else []
    named = ["--project-name", project] if project else []
    named += [word for file in files for word in ("--file", str(file))]
    run("docker", "compose", *named, "up", *options, *services, **variables)
