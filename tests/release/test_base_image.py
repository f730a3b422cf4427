"""The base image by its digest; a script stands in for docker and the container registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from release import base_image
from release.errors import ReleaseError
from scripts import base_image as script
from scripts.command import OUTPUT_VARIABLE
from textserve.bento.image import BASE_IMAGE

DIGEST = f"sha256:{'ab' * 32}"
DOCKER = f"""#!/bin/sh
test "$*" = "buildx imagetools inspect $EXPECTED --format {{{{json .Manifest}}}}" || {{
    echo "no such tag: $4" >&2
    exit 1
}}
echo '{{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "{DIGEST}"}}'
"""


@pytest.fixture
def docker(stand_in: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in("docker", DOCKER)
    monkeypatch.setenv("EXPECTED", BASE_IMAGE)


@pytest.mark.parametrize(
    "name",
    ["python", "localhost/python:3.11-slim", "registry.example:5000/a/b", f"python:3.11@{DIGEST}", f"a/b@{DIGEST}"],
)
def test_a_name_is_taken_with_or_without_tag_and_digest(name: str) -> None:
    assert base_image.named({"BASE_IMAGE": name}) == name


@pytest.mark.parametrize("variables", [{}, {"BASE_IMAGE": ""}])
def test_without_a_name_it_is_the_default(variables: dict[str, str]) -> None:
    assert base_image.named(variables) == BASE_IMAGE


@pytest.mark.parametrize(
    "name", ["python:3.11@sha256:abc", f"python@{DIGEST}0", "python:3.11\nRUN true", "python AS x", "--platform=x", ":"]
)
def test_what_is_no_name_of_an_image_is_refused(name: str) -> None:
    with pytest.raises(ReleaseError, match="BASE_IMAGE: expected NAME:TAG or NAME:TAG@sha256:DIGEST"):
        base_image.named({"BASE_IMAGE": name})


def test_the_tag_is_looked_up_for_every_architecture(docker: None) -> None:
    assert base_image.resolve(BASE_IMAGE) == f"{BASE_IMAGE}@{DIGEST}"


def test_a_digest_is_kept_without_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert base_image.resolve(f"python:3.11@{DIGEST}") == f"python:3.11@{DIGEST}"


def test_the_labels_have_the_digest_only_if_it_is_known() -> None:
    label = "org.opencontainers.image.base"
    assert base_image.labels("a/python:3.11") == {f"{label}.name": "a/python:3.11"}
    assert base_image.labels(f"a/python:3.11@{DIGEST}") == {f"{label}.name": "a/python:3.11", f"{label}.digest": DIGEST}


def test_a_workflow_step_gets_the_output(
    docker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BASE_IMAGE", raising=False)
    monkeypatch.setenv(OUTPUT_VARIABLE, str(tmp_path / "outputs"))
    assert script.main([]) == 0
    assert capsys.readouterr().out == f"{BASE_IMAGE}@{DIGEST}\n"
    assert (tmp_path / "outputs").read_text(encoding="utf-8") == f"base-image={BASE_IMAGE}@{DIGEST}\n"


def test_a_tag_that_does_not_exist_is_exit_code_1(
    docker: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASE_IMAGE", "python:none")
    assert script.main([]) == 1
    assert "no such tag: python:none" in capsys.readouterr().err
