"""Build the Bento: the service, one version of a stored model, and the packages of uv.lock.

    python -m scripts.bento sentiment-pl-en

The version is the first digits of the content digest: the SHA-256 of all files, without labels and creation times. The
labels hold the whole digest, the commit, the model with the SHA-256 of its ONNX file, and its main metric per language
if measured; print them with `bentoml get textserve:VERSION -o yaml`. BASE_IMAGE names another base image for the
container, with or without a digest: a Debian with pip and the version of Python that is in the name.

Prints the tag, textserve:VERSION, and the digest. Exit codes: 0 built, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from release import base_image, bento
from scripts.command import command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="a model in the model store: NAME or NAME:VERSION")
    args.add_argument("--uv", default=bento.UV, help="the uv program, which reads uv.lock")
    options = args.parse_args(arguments)
    built = bento.build(options.model, base_image.named(), options.uv)
    print(f"{built.tag}\ncontent sha256:{built.digest}")


if __name__ == "__main__":
    sys.exit(main())
