"""The verbs that take an image to where it runs; the programs that they start are stand-ins that only take notes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT

IMAGE = "ghcr.io/Me/textserve@sha256:abc"
SIGNED_BY = "https://github.com/Me/textserve/.github/workflows/ci-cd.yaml"
PROGRAM = '#!/bin/sh\necho "$(basename "$0") $@ IMAGE=$IMAGE" >>"$NOTES"\ntest "$(basename "$0")" != "$REFUSING"\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "cosign"):
        (folder / name).write_text(PROGRAM, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def make(verb: str, programs: Path, **variables: str) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and the programs' notes."""
    notes = programs.parent / "notes"
    path = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        ["make", verb],
        cwd=ROOT,
        env={"PATH": path, "NOTES": str(notes), "UV": "uv", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr, notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


def test_what_is_deployed_is_that_digest_after_its_signature_is_verified(programs: Path) -> None:
    code, said, notes = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY)
    assert code == 0, said
    verified, started = notes
    assert verified.startswith(f"cosign verify --certificate-identity-regexp ^{SIGNED_BY}@ ")
    assert "--certificate-oidc-issuer https://token.actions.githubusercontent.com" in verified
    # A registry takes small letters only.
    assert verified.endswith(f"{IMAGE.lower()} IMAGE={IMAGE.lower()}")
    assert started.startswith("docker compose --file deploy/compose.yaml up --detach")
    assert started.endswith(f"IMAGE={IMAGE.lower()}")


def test_what_nobody_signed_is_not_started(programs: Path) -> None:
    code, _, notes = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY, REFUSING="cosign")
    assert code != 0
    assert [note.split()[0] for note in notes] == ["cosign"]


def test_a_deployment_that_does_not_become_ready_fails(programs: Path) -> None:
    code, _, _ = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY, REFUSING="docker")
    assert code != 0


@pytest.mark.parametrize(
    ("variables", "missing", "said"),
    [
        ({"IMAGE": "ghcr.io/me/textserve:main", "SIGNED_BY": SIGNED_BY}, "", "takes an image by its digest"),
        ({"IMAGE": "$(shell touch $$NOTES)", "SIGNED_BY": SIGNED_BY}, "", "takes an image by its digest"),
        ({"IMAGE": '"; touch $NOTES; "', "SIGNED_BY": SIGNED_BY}, "", "takes an image by its digest"),
        ({"SIGNED_BY": SIGNED_BY}, "", "takes an image by its digest"),
        ({"IMAGE": IMAGE}, "", "needs SIGNED_BY"),
        ({"IMAGE": IMAGE, "SIGNED_BY": SIGNED_BY}, "cosign", "make deploy needs cosign: https://"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_started(
    programs: Path, variables: dict[str, str], missing: str, said: str
) -> None:
    if missing:
        (programs / missing).unlink()
    code, error, notes = make("deploy", programs, **variables)
    assert code != 0
    assert said in error
    assert notes == []


def test_an_image_is_signed_by_its_digest(programs: Path) -> None:
    assert make("sign", programs, IMAGE=IMAGE)[2] == [f"cosign sign --yes {IMAGE} IMAGE={IMAGE}"]


@pytest.mark.parametrize("verb", ["image-load", "scan"])
def test_without_the_file_of_an_image_it_is_said_what_writes_one(programs: Path, verb: str) -> None:
    code, error, _ = make(verb, programs, IMAGE_FILE="build/no-such-image.tar")
    assert code != 0
    assert "build/no-such-image.tar is not there: run make image and make image-save" in error
