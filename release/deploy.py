"""Deploys a signed image with docker compose."""

from __future__ import annotations

import re

from modeling.files import ROOT
from release.errors import ReleaseError
from release.programs import run

COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
# GitHub, which identifies the workflow that signed the image.
ISSUER = "https://token.actions.githubusercontent.com"
READY_SECONDS = 60


def deploy(image: str, signed_by: str) -> None:
    """Verify the signature of ``image`` (``NAME@sha256:DIGEST``), run it, and wait until it is ready.

    ``signed_by`` is the address of the workflow that must have signed it, without the reference after ``@``. Raises
    :class:`ReleaseError` if the image is not named by its digest, not signed by that workflow, or not ready in time.
    """
    if not re.fullmatch(r"[^@\s]+@sha256:\w+", image):
        raise ReleaseError(f"expected an image by its digest, NAME@sha256:…; found: {image or 'none'}")
    if not signed_by:
        raise ReleaseError("expected SIGNED_BY, the address of the workflow that signed the image; found none")
    # GitHub's owners may contain capitals, names of images may not.
    image = image.lower()
    identity = ["--certificate-identity-regexp", f"^{signed_by}@", "--certificate-oidc-issuer", ISSUER]
    run("cosign", "verify", *identity, image)
    options = ["--detach", "--wait", "--wait-timeout", str(READY_SECONDS), "--no-build"]
    run("docker", "compose", "--file", str(COMPOSE_FILE), "up", *options, IMAGE=image)
