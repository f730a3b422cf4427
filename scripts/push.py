"""Push the tested images to a container registry, as one image for all their architectures.

    python -m scripts.push ghcr.io/me/textserve:main ghcr.io/me/textserve:main-1234567

Loads each build/image-ARCHITECTURE.tar that `make image-save` wrote, and pushes it as REPOSITORY:TAG-ARCHITECTURE with
the last of the tags. Then points every tag to one manifest list of their digests. Log in first (docker login).

Prints the image by its digest. In a GitHub workflow the step has the outputs name, digest, image (NAME@DIGEST) and, for
each architecture, digest-ARCHITECTURE.

Exit codes: 0 pushed, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from modeling.files import ROOT
from release.push import PREFIX, push
from scripts.command import append_to, command, parser

OUTPUT_VARIABLE = "GITHUB_OUTPUT"


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("tags", nargs="*", metavar="REPOSITORY:TAG")
    options = args.parse_args(arguments)
    outputs = push(sorted((ROOT / "build").glob(f"{PREFIX}*.tar")), options.tags)
    print(outputs["image"])
    append_to(OUTPUT_VARIABLE, "".join(f"{name}={value}\n" for name, value in outputs.items()))


if __name__ == "__main__":
    sys.exit(main())
