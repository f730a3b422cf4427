"""The instructions that BentoML makes of the image's definition; tests/image/ runs the image."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from _bentoml_impl.docker import generate_dockerfile
from bentoml._internal.bento.bento import ImageInfo

from textserve.bento import image


@pytest.fixture
def dockerfile(tmp_path: Path) -> list[str]:
    definition = image.image("localhost/base")
    info = ImageInfo(
        base_image=definition.base_image,
        python_version=definition.python_version,
        commands=definition.commands,
        python_requirements="",
        build_include=definition.build_include_paths,
    )
    content: str = generate_dockerfile(info, tmp_path, enable_buildkit=True)
    return content.splitlines()


def test_bentoml_still_writes_each_line_of_a_command_as_an_instruction(dockerfile: list[str]) -> None:
    _, *instructions = image.INSTRUCTIONS.splitlines()
    assert len(instructions) == 3
    missing = [line for line in instructions if line not in dockerfile]
    assert missing == [], "BentoML changes commands of several lines: see INSTRUCTIONS in textserve.bento.image"


def test_bentoml_still_drops_privileges_and_installs_no_compiler(dockerfile: list[str]) -> None:
    assert "USER bentoml" in dockerfile
    assert "build-essential" not in "".join(dockerfile)


@pytest.mark.parametrize(
    ("base", "version"),
    [
        (image.BASE_IMAGE, "3.13"),
        ("localhost/python:3.11-slim", "3.11"),
        ("registry.example:5000/python3.12@sha256:0", "3.12"),
        ("registry.example:5000/ours", "3.13"),
    ],
)
def test_the_version_of_python_is_the_one_that_the_base_image_says(base: str, version: str) -> None:
    assert image.image(base).python_version == version


def test_bentoml_still_calls_uv_after_it_is_installed(dockerfile: list[str]) -> None:
    parts = ("> /usr/local/bin/uv", " uv venv ", "uv --directory $INSTALL_ROOT pip install")
    found = [part for line in dockerfile for part in parts if part in line]
    assert tuple(found) == parts, "BentoML no longer creates and fills its environment with uv: see uv.sh"


def test_uv_deletes_nothing_that_docker_mounts_during_the_build(dockerfile: list[str]) -> None:
    # A mounted folder cannot be deleted; podman mounts nothing.
    targets = [word.partition("target=")[2] for line in dockerfile for word in line.split() if "--mount=" in word]
    assert "/root/.cache/" in targets, "BentoML mounts another cache: uv.sh must not delete it"
    script = Path(image.__file__).with_name("uv.sh").read_text(encoding="utf-8")
    deleted = [path.rstrip("*") for path in shlex.split(script, comments=True) if path.startswith("/")]
    assert [path for path in deleted for target in targets if target.startswith(path)] == []


@pytest.mark.parametrize("name", ["bentoml.sh", "uv.sh", "uv.txt"])
def test_a_written_file_is_the_one_of_the_folder_without_its_comments(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    subprocess.run(["sh", "-c", image.write(name, str(target))], check=True)
    script = Path(image.__file__).with_name(name).read_text(encoding="utf-8")
    assert target.read_text().splitlines() == [line for line in script.splitlines() if not line.startswith("# ")]


def test_the_hashes_are_copied_before_the_packages_are_installed(dockerfile: list[str]) -> None:
    copied = next(number for number, line in enumerate(dockerfile) if line.endswith("./src/build ./src/build"))
    installed = next(number for number, line in enumerate(dockerfile) if "uv --directory" in line)
    assert copied < installed
    assert image.HASHES.parts[0] == "build"


def test_pip_refuses_a_uv_with_another_hash(tmp_path: Path) -> None:
    """The command of uv.sh, with a file of the package index whose hash is not among the known ones."""
    requirement = Path(image.__file__).with_name("uv.txt").read_text(encoding="utf-8")
    altered = tmp_path / "uv.txt"
    altered.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", requirement), encoding="utf-8")
    script = Path(image.__file__).with_name("uv.sh").read_text(encoding="utf-8")
    (command,) = [line for line in script.splitlines() if line.startswith("pip install")]
    command = re.sub(r"--target \S+", f"--target {tmp_path / 'uv'}", command)
    command = command.replace("/usr/local/share/uv.txt", str(altered))
    done = subprocess.run([*find_pip(), *shlex.split(command)[1:]], capture_output=True, text=True, timeout=600)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "uv").exists()


def find_pip() -> list[str]:
    """The Makefile's pip: that of the Python from which this environment was made."""
    return [str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"), "-m", "pip"]
