from __future__ import annotations

from pathlib import Path

import pytest

from release import engine
from release.errors import ReleaseError


def install(folder: Path, name: str, *, works: bool = True) -> None:
    """Install a program that prints its command, or fails with it."""
    program = folder / name
    stream, code = ("", 0) if works else (" >&2", 1)
    program.write_text(f'#!/bin/sh\necho "{name} $*"{stream}\nexit {code}\n', encoding="utf-8")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("docker_works", [True, False])
def test_docker_is_preferred_unless_its_daemon_does_not_run(programs: Path, docker_works: bool) -> None:
    install(programs, "docker", works=docker_works)
    install(programs, "podman")
    found = engine.find({})
    assert found.program == ("docker" if docker_works else "podman")
    assert set(found.build_options) >= (set() if docker_works else {"format=docker", "squash-all"})
    assert found.run("info") == f"{found.program} info"


def test_the_environment_selects_the_engine_and_its_configuration(programs: Path) -> None:
    install(programs, "docker")
    install(programs, "podman")
    found = engine.find(
        {
            "CONTAINER_BACKEND": "podman",
            "CONTAINERS_CONF_BUILD": "build.conf",
            "CONTAINERS_CONF_RUN": "run.conf",
        }
    )
    assert found.program == "podman"
    assert found.build_environment == {"CONTAINERS_CONF": "build.conf"}
    assert found.run_environment == {"CONTAINERS_CONF": "run.conf"}


def test_without_an_engine_the_error_says_what_to_install(programs: Path) -> None:
    with pytest.raises(ReleaseError, match="no container engine works here; install docker or podman"):
        engine.find({})


def test_the_error_output_of_a_failed_command_is_in_the_error(programs: Path) -> None:
    install(programs, "podman")
    found = engine.find({})
    install(programs, "podman", works=False)
    with pytest.raises(ReleaseError, match="podman image failed: podman image inspect x"):
        found.run("image", "inspect", "x")
