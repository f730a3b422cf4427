"""Print the base image by the digest that its tag has now, so that everything is built on the same one.

    python -m scripts.base_image

BASE_IMAGE names another one; a digest in it is kept. Looks it up in its container registry, with docker. In a GitHub
workflow the step has the output base-image.

Prints NAME:TAG@sha256:DIGEST. Exit codes: 0 printed, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from release import base_image
from scripts.command import OUTPUT_VARIABLE, append_to, command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    parser(__doc__).parse_args(arguments)
    found = base_image.resolve(base_image.named())
    print(found)
    append_to(OUTPUT_VARIABLE, f"base-image={found}\n")


if __name__ == "__main__":
    sys.exit(main())
