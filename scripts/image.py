"""Build the container image of a model with `bentoml containerize`, and docker or podman.

    python -m scripts.image sentiment-pl-en --name textserve:latest

Builds the Bento first (see scripts/bento.py); the image carries its labels, its version as
org.opencontainers.image.version, and its base image as org.opencontainers.image.base.name and .digest. Uses docker
if it works, or else podman; CONTAINER_BACKEND names one of them, BASE_IMAGE another base image, with or without digest.
docs/operations.md describes how to run the image.

Prints the image's name, its size and the Bento's tag. Exit codes: 0 built, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from release import base_image, bento, engine, image
from scripts.command import command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="a model in the model store: NAME or NAME:VERSION")
    args.add_argument("--name", default="textserve:latest", help="the image's name and tag")
    args.add_argument("--uv", default=bento.UV, help="the uv program, which reads uv.lock")
    options = args.parse_args(arguments)
    found = engine.find()
    base = base_image.named()
    built = bento.build(options.model, base, options.uv)
    size = image.build(built, base, options.name, found)
    print(f"{options.name}: {size / 1e6:.0f} MB, {built.tag}")


if __name__ == "__main__":
    sys.exit(main())
