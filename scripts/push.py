"""Push the tested images to a container registry, as one image for all their architectures.

    python -m scripts.push ghcr.io/me/textserve:main ghcr.io/me/textserve:main-1234567 \
        --built "image-amd64.tar=SHA256" --tested "image-amd64.tar=SHA256" \
        --scanned "image-amd64.tar=SHA256 image-amd64.spdx.json=SHA256"

Loads each build/image-ARCHITECTURE.tar that `make image-save` wrote, and pushes it as REPOSITORY:TAG-ARCHITECTURE with
the last of the tags. Then points every tag to one manifest list of all architectures. Log in first (docker login).

First compares each image and its SBOM with what `make digests` printed in the jobs that built, tested and scanned them,
and refuses files that differ.

Prints the image by its digest. In a GitHub workflow the step has the outputs name, digest, image (NAME@DIGEST) and, for
each architecture, digest-ARCHITECTURE.

Exit codes: 0 pushed, 1 failed (the message says why), 2 refused: a file differs from the one that was tested.
"""

from __future__ import annotations

import sys

from modeling.files import ROOT
from release.digests import JOBS, UntestedError
from release.push import PREFIX, push
from scripts.command import OUTPUT_VARIABLE, append_to, command, parser


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("tags", nargs="*", metavar="REPOSITORY:TAG")
    for job in JOBS:
        args.add_argument(f"--{job}", default="", metavar="NAME=SHA256", help=f"the files that were {job}")
    options = args.parse_args(arguments)
    files = sorted((ROOT / "build").glob(f"{PREFIX}*.tar"))
    try:
        outputs = push(files, options.tags, {job: getattr(options, job) for job in JOBS})
    except UntestedError as error:
        print(error, file=sys.stderr)
        return 2
    print(outputs["image"])
    append_to(OUTPUT_VARIABLE, "".join(f"{name}={value}\n" for name, value in outputs.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
