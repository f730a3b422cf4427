"""Deploy a signed image: verify its signature with cosign, and run deploy/compose.yaml with docker until it is ready.

    python -m scripts.deploy ghcr.io/me/textserve@sha256:… https://github.com/me/textserve/.github/workflows/ci-cd.yaml

The second argument is the address of the workflow that must have signed the image. A signature counts if that workflow
made it on the default branch, main, or on the tag of a release, vX.Y.Z. More arguments name files to add: keys and tls
add deploy/compose.keys.yaml and deploy/compose.tls.yaml, which say what variables they need.

Exit codes: 0 ready, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from release.deploy import deploy
from scripts.command import command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("image", metavar="NAME@sha256:DIGEST")
    args.add_argument("signed_by", metavar="WORKFLOW")
    args.add_argument("additions", nargs="*", metavar="ADDITION", help="NAME of a deploy/compose.NAME.yaml: keys, tls")
    options = args.parse_args(arguments)
    deploy(options.image, options.signed_by, options.additions)


if __name__ == "__main__":
    sys.exit(main())
