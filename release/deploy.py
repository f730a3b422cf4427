"""Deploys a signed image with docker compose."""

from __future__ import annotations

import re

from modeling.files import ROOT
from release.errors import ReleaseError
from release.programs import run

COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
# GitHub, which identifies the workflow that signed the image.
ISSUER = "https://token.actions.githubusercontent.com"
# Who may push a branch may change the workflow there, and let it sign: only these references of it count.
REFERENCES = r"refs/(heads/main|tags/v[0-9]+\.[0-9]+\.[0-9]+)"
READY_SECONDS = 60


def deploy(image: str, signed_by: str) -> None:
    """Verify the signature of ``image`` (``NAME@sha256:DIGEST``), run it, and wait until it is ready.

    ``signed_by`` is the address of the workflow that must have signed it, without the reference after ``@``: that must
    be the default branch or the tag of a release. Raises :class:`ReleaseError` if the image is not named by its digest,
    not signed so, or not ready in time.
    """
    if not re.fullmatch(r"[a-zA-Z0-9][^@\s]*@sha256:\w+", image):
        raise ReleaseError(f"expected an image by its digest, NAME@sha256:…; found: {image or 'none'}")
    if not re.fullmatch(r"https://[^@\s]+", signed_by):
        raise ReleaseError(
            "expected SIGNED_BY, the address of the workflow that signed the image, https://… without @REF; "
            f"found: {signed_by or 'none'}"
        )
    # GitHub's owners may contain capitals, names of images may not.
    image = image.lower()
    identity = f"^{re.escape(signed_by)}@{REFERENCES}$"
    run("cosign", "verify", "--certificate-identity-regexp", identity, "--certificate-oidc-issuer", ISSUER, image)
    options = ["--detach", "--wait", "--wait-timeout", str(READY_SECONDS), "--no-build"]
    run("docker", "compose", "--file", str(COMPOSE_FILE), "up", *options, IMAGE=image)
