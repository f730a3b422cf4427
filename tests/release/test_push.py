"""The docker commands of a push, run by a script that stands in for docker and a container registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from release.digests import statement
from release.errors import ReleaseError
from release.push import push
from scripts import push as script
from scripts.command import OUTPUT_VARIABLE

REPOSITORY = "ghcr.io/me/textserve"
TAGS = [f"{REPOSITORY}:main", f"{REPOSITORY}:main-1234567"]
DOCKER = """#!/bin/sh
# A container registry in $STATE: a digest for each pushed tag.
echo "$@" >>"$STATE/log"
case "$1 $2" in
"image load") echo "Loaded image: $(cat "$5")" ;;
"image tag") echo "$3" >"$STATE/$(echo "$4" | tr /: __)" ;;
"image push") test ! -e "$STATE/refuse" || { echo "denied: no permission" >&2; exit 1; } ;;
"image inspect") printf '["elsewhere/x@sha256:0","%s@sha256:%s"]' "${3%:*}" "$(cat "$STATE/$(echo "$3" | tr /: __)")" ;;
"buildx imagetools") test "$3" = create || printf '{"digest": "sha256:list"}' ;;
esac
"""


@pytest.fixture
def state(stand_in: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in("docker", DOCKER)
    monkeypatch.setenv("STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"image-{architecture}.tar" for architecture in ("amd64", "arm64")]
    for file in files:
        file.write_text(f"loaded-{file.stem}", encoding="utf-8")
        file.with_suffix(".spdx.json").write_text("packages", encoding="utf-8")
    return files


def said(files: list[Path]) -> dict[str, str]:
    """What the jobs say that built, tested and scanned these files."""
    tars = " ".join(statement(file).split()[0] for file in files)
    return {"built": tars, "tested": tars, "scanned": " ".join(map(statement, files))}


def test_the_images_are_pushed_as_one_under_every_tag(state: Path, files: list[Path]) -> None:
    assert push(files, TAGS, said(files)) == {
        "name": REPOSITORY,
        "digest": "sha256:list",
        "image": f"{REPOSITORY}@sha256:list",
        "digest-amd64": "sha256:loaded-image-amd64",
        "digest-arm64": "sha256:loaded-image-arm64",
    }
    log = (state / "log").read_text(encoding="utf-8").splitlines()
    assert f"image push --quiet {REPOSITORY}:main-1234567-amd64" in log
    assert (
        f"buildx imagetools create --tag {TAGS[0]} --tag {TAGS[1]} "
        f"{REPOSITORY}@sha256:loaded-image-amd64 {REPOSITORY}@sha256:loaded-image-arm64"
    ) in log


@pytest.mark.parametrize("tags", [[], ["textserve"], [*TAGS, "docker.io/me/textserve:main"]])
def test_the_tags_must_be_of_one_repository_and_there_must_be_an_image(
    state: Path, files: list[Path], tags: list[str]
) -> None:
    with pytest.raises(ReleaseError, match="expected tags of one repository"):
        push(files, tags, said(files))
    with pytest.raises(ReleaseError, match="run make image-save"):
        push([], TAGS, {})
    assert not (state / "log").exists()


def test_an_error_of_docker_is_passed_on(state: Path, files: list[Path]) -> None:
    (state / "refuse").touch()
    with pytest.raises(ReleaseError, match=r"docker image push .+ ended with 1:\ndenied: no permission"):
        push(files, TAGS, said(files))


def test_a_missing_docker_is_named(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReleaseError, match="docker is not on PATH"):
        push(files, TAGS, said(files))


def test_a_workflow_step_gets_the_outputs(
    state: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "ROOT", state)
    monkeypatch.setenv(OUTPUT_VARIABLE, str(state / "outputs"))
    options = [word for job, words in said(files[:1]).items() for word in (f"--{job}", words)]
    (state / "build").mkdir()
    for file in (files[0], files[0].with_suffix(".spdx.json")):
        file.rename(state / "build" / file.name)
    assert script.main([*options, *TAGS]) == 0
    assert capsys.readouterr().out == f"{REPOSITORY}@sha256:list\n"
    outputs = (state / "outputs").read_text(encoding="utf-8").splitlines()
    assert outputs == [
        f"name={REPOSITORY}",
        "digest=sha256:list",
        f"image={REPOSITORY}@sha256:list",
        "digest-amd64=sha256:loaded-image-amd64",
    ]


def test_an_image_that_nobody_tested_is_exit_code_2_and_never_reaches_docker(
    state: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "ROOT", state)
    (state / "build").mkdir()
    options = [word for job, words in said(files[:1]).items() for word in (f"--{job}", words)]
    for file in state.glob("image-*"):
        file.rename(state / "build" / file.name)
    assert script.main([*options, *TAGS]) == 2
    assert "image-arm64.tar is refused: nothing says that it was built" in capsys.readouterr().err
    assert not (state / "log").exists()


def test_an_error_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([]) == 1
    assert "REPOSITORY:TAG" in capsys.readouterr().err
