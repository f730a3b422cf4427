"""Build the container image: the Bento of a model, by `bentoml containerize`, with docker or podman.

    python -m scripts.image sentiment-pl-en --name textserve:latest

Builds the Bento first (see scripts/bento.py); the image carries its labels, and its version as
org.opencontainers.image.version. docker is taken if it works, or else podman; CONTAINER_BACKEND names one, BASE_IMAGE
another image to build upon. docs/operations.md says how to run it.

Prints the image's name, its size and the Bento's tag. Exit codes: 0 built, 1 refused (the message says why).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from release import engine
from release.engine import Engine
from release.errors import ReleaseError
from scripts import bento
from scripts.command import parser
from textserve.bento.image import BASE_IMAGE

MEGABYTE = 1_000_000
LABELS = "org.opencontainers.image"


def build(built: bento.BuiltBento, name: str, builder: Engine) -> None:
    """Build the image ``name`` of a Bento; what the engine says goes to stderr.

    Raises:
        ReleaseError: if the engine fails.
    """
    labels = {
        f"{LABELS}.title": bento.NAME,
        f"{LABELS}.version": built.tag.split(":")[1],
        f"{LABELS}.revision": built.labels.get("commit", ""),
        **built.labels,
    }
    command = [str(Path(sys.executable).with_name("bentoml")), "containerize", built.tag]
    command += ["--backend", builder.program, "--image-tag", name]
    for option in (*builder.build_options, *(f"label={key}={value}" for key, value in labels.items() if value)):
        command += ["--opt", option]
    environment = {**os.environ, **builder.build_environment}
    if subprocess.run(command, env=environment, stdout=sys.stderr).returncode != 0:
        raise ReleaseError(f"{name}: {builder.program} could not build it; what it said stands above")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a model in the store, or NAME:VERSION")
    args.add_argument("--name", default="textserve:latest", help="the image's name and tag")
    args.add_argument("--uv", default=bento.UV, help="the program that reads uv.lock")
    options = args.parse_args(arguments)
    try:
        builder = engine.find()
        built = bento.build(options.model, builder.base_image or BASE_IMAGE, options.uv)
        build(built, options.name, builder)
        size = int(builder.run("image", "inspect", "--format", "{{.Size}}", options.name))
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.name}: {size / MEGABYTE:.0f} MB, {built.tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
