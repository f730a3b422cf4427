"""Push the images that were tested to a registry, as one image for all their architectures.

    python -m scripts.push ghcr.io/me/textserve:main ghcr.io/me/textserve:main-1234567

Loads each build/image-ARCHITECTURE.tar that `make image-save` wrote and the tests have tried, and pushes it as
REPOSITORY:TAG-ARCHITECTURE with the last of the tags. Then gives every tag to one manifest list of these, by their
digests, so nothing that was pushed in between can get into it. Log in to the registry first (docker login).

Prints the image by its digest. In a workflow of GitHub the step has the outputs name, digest, image (NAME@DIGEST) and,
for each architecture, digest-ARCHITECTURE.

Exit codes: 0 done, 1 there is nothing to push, the tags are of several repositories, or docker refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from modeling.files import ROOT
from release.errors import ReleaseError
from scripts.command import parser

OUTPUT_VARIABLE = "GITHUB_OUTPUT"
PREFIX = "image-"


def push(files: Sequence[Path], tags: Sequence[str]) -> dict[str, str]:
    """Push the images of ``files`` (``image-ARCHITECTURE.tar``) under ``tags`` (``REPOSITORY:TAG``).

    Returns the outputs that the module's docstring lists.

    Raises:
        ReleaseError: if there is nothing to push, the tags are of several repositories, or docker refuses.
    """
    repositories = {tag.rpartition(":")[0] for tag in tags}
    if len(repositories) != 1 or "" in repositories:
        raise ReleaseError(
            f"one repository with its tags, REPOSITORY:TAG …, is needed; found: {' '.join(tags) or 'none'}"
        )
    if not files:
        raise ReleaseError(
            f"there is no build/{PREFIX}ARCHITECTURE.tar; make image-save writes one, named by IMAGE_FILE"
        )
    (repository,) = repositories
    digests = {}
    for file in files:
        architecture = file.stem.removeprefix(PREFIX)
        digests[architecture] = _push_one(file, f"{tags[-1]}-{architecture}", repository)
    names = [argument for tag in tags for argument in ("--tag", tag)]
    _docker("buildx", "imagetools", "create", *names, *(f"{repository}@{digest}" for digest in digests.values()))
    manifest = json.loads(_docker("buildx", "imagetools", "inspect", tags[-1], "--format", "{{json .Manifest}}"))
    digest = manifest["digest"]
    return {
        "name": repository,
        "digest": digest,
        "image": f"{repository}@{digest}",
        **{f"digest-{architecture}": one for architecture, one in digests.items()},
    }


def _push_one(file: Path, tag: str, repository: str) -> str:
    """Push the one image of a file under ``tag``; its digest in the registry."""
    # "Loaded image: textserve:1234567"
    loaded = _docker("image", "load", "--quiet", "--input", str(file)).split(": ", 1)[-1].strip()
    _docker("image", "tag", loaded, tag)
    _docker("image", "push", "--quiet", tag)
    known = json.loads(_docker("image", "inspect", tag, "--format", "{{json .RepoDigests}}"))
    (digest,) = {name.partition("@")[2] for name in known if name.startswith(f"{repository}@")}
    return str(digest)


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise ReleaseError("docker is not on PATH; see https://docs.docker.com/engine/install/") from None
    if done.returncode:
        raise ReleaseError(f"docker {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("tags", nargs="*", metavar="REPOSITORY:TAG")
    options = args.parse_args(arguments)
    try:
        outputs = push(sorted((ROOT / "build").glob(f"{PREFIX}*.tar")), options.tags)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(outputs["image"])
    if target := os.environ.get(OUTPUT_VARIABLE):
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name}={value}\n" for name, value in outputs.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
