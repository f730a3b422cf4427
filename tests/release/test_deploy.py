"""The make targets that sign, deploy, load and scan an image, with scripts for docker and cosign that log."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT

IMAGE = "ghcr.io/Me/textserve@sha256:abc"
SIGNED_BY = "https://github.com/Me/textserve/.github/workflows/ci-cd.yaml"
PROGRAM = '#!/bin/sh\necho "$(basename "$0") $@ IMAGE=$IMAGE" >>"$NOTES"\ntest "$(basename "$0")" != "$REFUSING"\n'
# As podman, it adds nothing to a file that is there.
PODMAN = """#!/bin/sh
case "$2" in
inspect) echo "$3" ;;
save) test ! -e "$4" && echo "$5" >"$4" && test "$REFUSING" != save ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "cosign"):
        (folder / name).write_text(PROGRAM, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def make(verb: str, programs: Path, **variables: str) -> tuple[int, str, list[str]]:
    """The exit code, the error output, and the logged commands."""
    notes = programs.parent / "notes"
    path = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        ["make", verb],
        cwd=ROOT,
        env={"PATH": path, "NOTES": str(notes), "UV": "uv", "STRATEGY": "in-place", **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stderr, notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


def test_the_digest_is_deployed_after_its_signature_is_verified(programs: Path) -> None:
    code, said, notes = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY)
    assert code == 0, said
    verified, started = notes
    assert verified.startswith("cosign verify --certificate-identity-regexp ^https://")
    assert "--certificate-oidc-issuer https://token.actions.githubusercontent.com" in verified
    # Container registries accept lower case only.
    assert f" {IMAGE.lower()} IMAGE=" in verified
    assert started.startswith(f"docker compose --file {ROOT}/deploy/compose.yaml up --detach --wait ")
    # Or files that were changed, such as the alerts, would not be read again.
    assert " --force-recreate " in started
    assert started.endswith(f"IMAGE={IMAGE.lower()}")


WORKFLOW = f"{SIGNED_BY}@refs"


@pytest.mark.parametrize(
    ("identity", "accepted"),
    [
        (f"{WORKFLOW}/heads/main", True),
        (f"{WORKFLOW}/tags/v1.20.3", True),
        (f"{WORKFLOW}/heads/attack", False),
        (f"{WORKFLOW}/heads/main-2", False),
        (f"{WORKFLOW}/heads/main/x", False),
        (f"{WORKFLOW}/heads/feature/main", False),
        (f"{WORKFLOW}/heads/v1.2.3", False),
        (f"{WORKFLOW}/tags/main", False),
        (f"{WORKFLOW}/tags/v1.2", False),
        (f"{WORKFLOW}/tags/v1.2.3-attack", False),
        (f"{WORKFLOW}/tags/v1x2y3", False),
        (f"{WORKFLOW}/pull/7/merge", False),
        (f"{SIGNED_BY.replace('github.com', 'githubXcom')}@refs/heads/main", False),
        (f"{SIGNED_BY.replace('ci-cd', 'other')}@refs/heads/main", False),
        (f"https://attack.example/{SIGNED_BY}@refs/heads/main", False),
        (f"{WORKFLOW}/heads/attack\n{WORKFLOW}/heads/main", False),
    ],
)
def test_only_the_workflow_of_the_default_branch_or_a_release_counts(
    programs: Path, identity: str, accepted: bool
) -> None:
    _, _, (verified, _) = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY)
    # cosign matches as Go's regexp.MatchString: anywhere in the identity.
    pattern = verified.split()[verified.split().index("--certificate-identity-regexp") + 1]
    assert bool(re.search(pattern, identity)) is accepted


def test_additions_are_files_of_deploy_that_exist(programs: Path) -> None:
    _, _, (_, started) = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY, WITH="keys tls")
    named = re.findall(r"--file (\S+)", started)
    assert named == [f"{ROOT}/deploy/compose{addition}.yaml" for addition in ("", ".keys", ".tls")]


@pytest.mark.parametrize(("refusing", "started"), [("cosign", ["cosign"]), ("docker", ["cosign", "docker"])])
def test_an_unsigned_image_is_not_started_and_one_that_is_not_ready_fails(
    programs: Path, refusing: str, started: list[str]
) -> None:
    code, _, notes = make("deploy", programs, IMAGE=IMAGE, SIGNED_BY=SIGNED_BY, REFUSING=refusing)
    assert code != 0
    assert [note.split()[0] for note in notes] == started


@pytest.mark.parametrize(
    ("variables", "missing", "message"),
    [
        ({"IMAGE": "ghcr.io/me/textserve:main", "SIGNED_BY": SIGNED_BY}, "", "expected an image by its digest"),
        ({"IMAGE": "$(shell touch $$NOTES)", "SIGNED_BY": SIGNED_BY}, "", "expected an image by its digest"),
        ({"IMAGE": '"; touch $NOTES; "', "SIGNED_BY": SIGNED_BY}, "", "expected an image by its digest"),
        ({"SIGNED_BY": SIGNED_BY}, "", "expected an image by its digest"),
        ({"IMAGE": "--key=mine@sha256:abc", "SIGNED_BY": SIGNED_BY}, "", "expected an image by its digest"),
        (
            {"IMAGE": IMAGE, "SIGNED_BY": SIGNED_BY, "WITH": "kyes"},
            "",
            "no deploy/compose.kyes.yaml; there are keys, tls",
        ),
        ({"IMAGE": IMAGE}, "", "expected SIGNED_BY"),
        ({"IMAGE": IMAGE, "SIGNED_BY": f"{SIGNED_BY}@refs/heads/attack"}, "", "https://… without @REF; found: https"),
        ({"IMAGE": IMAGE, "SIGNED_BY": ".*"}, "", "https://… without @REF; found: .*"),
        ({"IMAGE": IMAGE, "SIGNED_BY": SIGNED_BY}, "cosign", "cosign is not on PATH; see https://"),
    ],
)
def test_a_missing_argument_or_program_is_named_and_nothing_is_started(
    programs: Path, variables: dict[str, str], missing: str, message: str
) -> None:
    if missing:
        (programs / missing).unlink()
    code, error, notes = make("deploy", programs, **variables)
    assert code != 0
    assert message in error
    assert notes == []


def test_an_image_is_signed_by_its_digest(programs: Path) -> None:
    assert make("sign", programs, IMAGE=IMAGE)[2] == [f"cosign sign --yes {IMAGE} IMAGE={IMAGE}"]


@pytest.mark.parametrize("name", ["image-arm64.tar", "image"])
def test_the_files_of_an_image_are_replaced_together(tmp_path: Path, programs: Path, name: str) -> None:
    (programs / "podman").write_text(PODMAN, encoding="utf-8")
    (programs / "podman").chmod(0o755)
    file = tmp_path / "images" / name

    def save(image: str, refusing: str = "") -> tuple[int, dict[str, str]]:
        known = {"CONTAINER_BACKEND": "podman", "IMAGE": image, "IMAGE_FILE": str(file), "REFUSING": refusing}
        code, _, _ = make("image-save", programs, **known)
        return code, {each.name: each.read_text(encoding="utf-8").strip() for each in file.parent.iterdir()}

    stem = file.stem
    assert save("one") == (0, {name: "one", f"{stem}.json": "one"})
    # Of the image before.
    (file.parent / f"{stem}.spdx.json").write_text("one", encoding="utf-8")
    code, files = save("two", refusing="save")
    assert code != 0
    assert {files[name], files[f"{stem}.json"], files[f"{stem}.spdx.json"]} == {"one"}
    assert save("two") == (0, {name: "two", f"{stem}.json": "two"})


@pytest.mark.parametrize("verb", ["image-load", "scan"])
def test_a_missing_image_file_is_an_error_with_the_commands_that_write_it(programs: Path, verb: str) -> None:
    code, error, _ = make(verb, programs, IMAGE_FILE="build/no-such-image.tar")
    assert code != 0
    assert "build/no-such-image.tar does not exist: run make image and make image-save" in error
