"""Digests that the jobs of a pipeline run state, so that only files that were built, tested and scanned are pushed.

A job states its files as ``NAME=SHA256``, separated by white space, and passes the statement on as its output. No job
can change the outputs of another job, but every job can upload files under any name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.errors import ReleaseError

JOBS = ("built", "tested", "scanned")


class UntestedError(ReleaseError):
    """A file differs from the file that a job stated. The message names the file and the job."""


def sbom_of(image: Path) -> Path:
    """The path of the SBOM that `make scan` writes beside the file of an image."""
    return image.with_suffix(".spdx.json")


def statement(image: Path) -> str:
    """The names and SHA-256 of an image's file and, if it exists, of its SBOM: ``NAME=SHA256 NAME=SHA256``."""
    return " ".join(f"{file.name}={digest(file)}" for file in (image, sbom_of(image)) if file == image or file.exists())


def digest(file: Path) -> str:
    """The SHA-256 of a file in hexadecimal; raises :class:`OSError` if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(images: Sequence[Path], statements: Mapping[str, str]) -> None:
    """Compare the files of images with the ``statements`` of all ``JOBS``, and the SBOMs with that of the scan.

    Raises :class:`UntestedError` if a file differs or is missing, or a statement lacks it or has another form.
    """
    for job in JOBS:
        said = _parse(job, statements.get(job, ""))
        files = [*images, *map(sbom_of, images)] if job == "scanned" else images
        here = {file.name: file for file in (*images, *map(sbom_of, images)) if file.exists()}
        for name in sorted({*said, *(file.name for file in files)}):
            if name not in said:
                raise UntestedError(f"{name} is refused: nothing says that it was {job}; run make digests in that job")
            if name not in here:
                raise UntestedError(f"{name} was {job}, but it is not here: get all files of that run")
            if said[name] != digest(here[name]):
                raise UntestedError(f"{name} is refused: it is not the file that was {job}, with SHA-256 {said[name]}")


def _parse(job: str, text: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for word in text.split():
        if not (match := re.fullmatch(r"([\w.-]+)=([0-9a-f]{64})", word)):
            raise UntestedError(f"expected NAME=SHA256 …, as make digests prints it, for what was {job}; found: {word}")
        if files.setdefault(match[1], match[2]) != match[2]:
            raise UntestedError(f"{match[1]} is refused: two files of this name were {job}")
    return files
