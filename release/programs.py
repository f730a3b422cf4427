"""The programs that publish and deploy an image: docker and cosign."""

from __future__ import annotations

import os
import subprocess

from release.errors import ReleaseError

INSTALLATION = {
    "docker": "https://docs.docker.com/engine/install/",
    "cosign": "https://docs.sigstore.dev/cosign/system_config/installation/",
}


def run(program: str, *arguments: str, **variables: str) -> str:
    """Run a program of ``INSTALLATION`` and return its output; raises :class:`ReleaseError` if that fails."""
    try:
        done = subprocess.run([program, *arguments], env={**os.environ, **variables}, capture_output=True, text=True)
    except FileNotFoundError:
        raise ReleaseError(f"{program} is not on PATH; see {INSTALLATION[program]}") from None
    if done.returncode:
        raise ReleaseError(f"{program} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout
