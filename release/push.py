"""Pushes tested images, one per architecture, to a container registry as one multi-architecture image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.digests import check
from release.errors import ReleaseError
from release.programs import run

PREFIX = "image-"


def push(files: Sequence[Path], tags: Sequence[str], statements: Mapping[str, str]) -> dict[str, str]:
    """Push the images of ``files`` (``image-ARCHITECTURE.tar``) under ``tags`` (``REPOSITORY:TAG``).

    ``statements``, of :mod:`release.digests`, have for each job the files that were built, tested or scanned.

    Returns the repository as ``name``, the ``digest``, ``image`` (``NAME@DIGEST``) and a ``digest-ARCHITECTURE`` each.
    Raises :class:`ReleaseError` if there are no files, the tags are not of one repository, or docker fails, and
    its subclass :class:`UntestedError`, before anything is loaded, if a file differs from its statements.
    """
    repositories = {tag.rpartition(":")[0] for tag in tags}
    if len(repositories) != 1 or "" in repositories:
        raise ReleaseError(f"expected tags of one repository, REPOSITORY:TAG …; found: {' '.join(tags) or 'none'}")
    if not files:
        raise ReleaseError(f"no build/{PREFIX}ARCHITECTURE.tar; run make image-save with IMAGE_FILE set to this name")
    check(files, statements)
    (repository,) = repositories
    architectures = {file.stem.removeprefix(PREFIX): file for file in files}
    digests = {name: _push_file(file, f"{tags[-1]}-{name}", repository) for name, file in architectures.items()}
    names = [argument for tag in tags for argument in ("--tag", tag)]
    run("docker", "buildx", "imagetools", "create", *names, *(f"{repository}@{digest}" for digest in digests.values()))
    manifest = run("docker", "buildx", "imagetools", "inspect", tags[-1], "--format", "{{json .Manifest}}")
    digest = json.loads(manifest)["digest"]
    return {
        "name": repository,
        "digest": digest,
        "image": f"{repository}@{digest}",
        **{f"digest-{architecture}": digest for architecture, digest in digests.items()},
    }


def _push_file(file: Path, tag: str, repository: str) -> str:
    """Push the image in ``file`` under ``tag``, and return its digest in the container registry."""
    # docker prints "Loaded image: textserve:1234567".
    loaded = run("docker", "image", "load", "--quiet", "--input", str(file)).split(": ", 1)[-1].strip()
    run("docker", "image", "tag", loaded, tag)
    run("docker", "image", "push", "--quiet", tag)
    known = json.loads(run("docker", "image", "inspect", tag, "--format", "{{json .RepoDigests}}"))
    (digest,) = {name.partition("@")[2] for name in known if name.startswith(f"{repository}@")}
    return str(digest)
