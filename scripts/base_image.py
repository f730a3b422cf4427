"""Print the base image with the current digest of its tag, so that every build uses the same base image.

    python -m scripts.base_image

BASE_IMAGE names another base image; a digest in the name is kept. docker looks the digest up in the container
registry. In a GitHub workflow the step has the output base-image.

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
