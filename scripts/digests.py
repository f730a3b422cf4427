"""Print the SHA-256 of the file of an image, and of its SBOM if there is one, for `make push`.

    python -m scripts.digests build/image-amd64.tar

Prints NAME=SHA256, separated by spaces. In a GitHub workflow the step has this as an output named by the architecture.

Exit codes: 0 printed, 1 the file cannot be read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from release.digests import statement
from release.push import PREFIX
from scripts.command import OUTPUT_VARIABLE, append_to, command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("image", type=Path, metavar="IMAGE_FILE")
    image = args.parse_args(arguments).image
    line = statement(image)
    print(line)
    append_to(OUTPUT_VARIABLE, f"{image.stem.removeprefix(PREFIX)}={line}\n")


if __name__ == "__main__":
    sys.exit(main())
