"""The Bento that `make bento` builds, from copies of the project."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import BENTOML, ROOT, environment
from textserve.bento.image import DEFAULT_PYTHON

UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
FILES = ("service.py", "bentofile.yaml", "README.md", "pyproject.toml", "uv.lock", ".gitignore")
MODEL = "sentiment-pl-en"


@pytest.fixture(scope="session")
def copied(copy_project: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """``copied(root)``: copy everything that a Bento is built from."""

    def copy(root: Path) -> Path:
        copy_project(root)
        for name in FILES:
            shutil.copy(ROOT / name, root / name)
        return root

    return copy


def run(root: Path, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.bento", *arguments],
        cwd=root,
        env={**environment(home), **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


def build(root: Path, home: Path, **variables: str) -> tuple[Path, str]:
    """The folder of the Bento, and the printed content digest."""
    done = run(root, home, MODEL, "--uv", UV, **variables)
    assert done.returncode == 0, done.stderr
    tag, digest = done.stdout.splitlines()
    return home / "bentos" / tag.replace(":", "/"), digest.removeprefix("content sha256:")


@pytest.fixture(scope="module")
def built(store: Path, tmp_path_factory: pytest.TempPathFactory, copied: Callable[[Path], Path]) -> tuple[Path, str]:
    return build(copied(tmp_path_factory.mktemp("one") / "project"), store)


def description(bento: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    return content


def test_the_same_content_gives_the_same_version_in_any_folder_at_any_time(
    tmp_path: Path, store: Path, built: tuple[Path, str], copied: Callable[[Path], Path]
) -> None:
    created = description(built[0])["creation_time"]
    root = copied(tmp_path / "elsewhere")
    # Neither the settings of this shell nor other packages below the project are part of it.
    (root / ".venv" / "lib").mkdir(parents=True)
    (root / ".venv" / "lib" / "service.py").write_text("another = True\n", encoding="utf-8")
    assert build(root, store, TEXTSERVE_REQUEST_SECONDS="7") == built
    assert description(built[0])["creation_time"] != created


def test_a_changed_lock_file_gives_another_version_whose_labels_name_the_commit(
    tmp_path: Path, store: Path, built: tuple[Path, str], copied: Callable[[Path], Path]
) -> None:
    root = copied(tmp_path / "project")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "One"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    lock = (root / "uv.lock").read_text(encoding="utf-8")
    changed, count = re.subn(r'(name = "tokenizers"\nversion = )"[^"]+"', r'\1"0.0.1"', lock)
    assert count == 1
    (root / "uv.lock").write_text(changed, encoding="utf-8")
    # The locked file names keep the old version.
    bento, digest = build(root, store, UV_SKIP_WHEEL_FILENAME_CHECK="1")
    assert digest != built[1]
    assert bento != built[0]
    assert "tokenizers==0.0.1" in (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    labels = description(bento)["labels"]
    assert (labels["commit"], labels["changed_files"]) == (head.stdout.strip(), "1")


def test_the_labels_name_the_content_and_the_measured_quality(store: Path, built: tuple[Path, str]) -> None:
    bento, digest = built
    labels = description(bento)["labels"]
    version = (store / "models" / MODEL / "latest").read_text().strip()
    model = store / "models" / MODEL / version / "files" / "model.onnx"
    assert labels["content_digest"] == digest
    assert labels["model"] == f"{MODEL}:{version}"
    assert labels["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert 0.5 < float(labels["macro_f1_en"]) < 1
    assert 0.5 < float(labels["macro_f1_pl"]) < 1
    assert bento.name == digest[:16]


def test_the_bento_contains_the_service_and_no_other_files(built: tuple[Path, str]) -> None:
    source = built[0] / "src"
    assert {path.name for path in source.iterdir()} == {"bentofile.yaml", "textserve", "service.py", "build"}
    assert [path.name for path in (source / "build").iterdir()] == ["hashes.txt"]
    requirements = (built[0] / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", requirements, flags=re.MULTILINE)
    assert "onnxruntime" in names
    assert not {"torch", "transformers", "optimum", "pytest"} & set(names)


def test_a_package_with_another_hash_than_that_of_the_lock_file_is_not_installed(
    tmp_path: Path, built: tuple[Path, str]
) -> None:
    """As uv.sh installs them: BentoML's requirements, with the Bento's file of hashes as constraints."""
    hashes = (built[0] / "src" / "build" / "hashes.txt").read_text(encoding="utf-8")
    requirements = (built[0] / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^attrs==\S+$", requirements, flags=re.MULTILINE)
    only, constraint = tmp_path / "attrs.txt", tmp_path / "hashes.txt"
    only.write_text(pinned, encoding="utf-8")
    variables = {**os.environ, "UV_REQUIRE_HASHES": "1", "UV_CONSTRAINT": str(constraint)}
    options = ["--no-cache", "--no-deps", "--target", str(tmp_path / "installed"), "-r", str(only)]

    def install(hashes: str) -> subprocess.CompletedProcess[str]:
        constraint.write_text(hashes, encoding="utf-8")
        command = [UV, "pip", "install", *options]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)

    def change(package: re.Match[str]) -> str:
        return re.sub(r"sha256:\w{8}", "sha256:00000000", package[0])

    changed, count = re.subn(r"^attrs==(?:.+\\\n)+.+\n", change, hashes, flags=re.MULTILINE)
    assert count == 1
    refused = install(changed)
    assert refused.returncode != 0
    assert "ash mismatch" in refused.stderr
    assert "must have a hash" in install("").stderr
    assert not (tmp_path / "installed" / "attr").exists()
    accepted = install(hashes)
    assert accepted.returncode == 0, accepted.stderr


def test_every_locked_package_has_a_hash(tmp_path: Path, built: tuple[Path, str]) -> None:
    requirements = built[0] / "env" / "python" / "requirements.txt"
    constraint = built[0] / "src" / "build" / "hashes.txt"
    command = [UV, "pip", "install", "--dry-run", "--target", str(tmp_path), "-r", str(requirements)]
    variables = {**os.environ, "UV_REQUIRE_HASHES": "1", "UV_CONSTRAINT": str(constraint)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", ["3.11", DEFAULT_PYTHON])
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_36", "aarch64-manylinux_2_36", "aarch64-apple-darwin"])
def test_every_package_has_a_wheel_for_every_platform(
    tmp_path: Path, built: tuple[Path, str], platform: str, python: str
) -> None:
    requirements = built[0] / "env" / "python" / "requirements.txt"
    options = ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:"]
    command = [UV, "pip", "install", "--dry-run", "--target", str(tmp_path), *options, "-r", str(requirements)]
    variables = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "+ onnxruntime==" in done.stderr


@pytest.mark.parametrize(
    ("model", "uv", "lock", "error"),
    [
        ("no-such-model", UV, None, "no-such-model: not in the model store; run make save MODEL=no-such-model"),
        (MODEL, "no-uv", None, "no-uv: no such program"),
        (MODEL, UV, "version = ", "uv.lock cannot be exported"),
    ],
)
def test_a_missing_model_a_missing_uv_or_a_broken_lock_file_is_named(
    tmp_path: Path, store: Path, copied: Callable[[Path], Path], model: str, uv: str, lock: str | None, error: str
) -> None:
    root = copied(tmp_path / "project")
    if lock:
        (root / "uv.lock").write_text(lock, encoding="utf-8")
    done = run(root, store, model, "--uv", uv)
    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_build_argument_is_rejected(tmp_path: Path, store: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(tmp_path / "project")
    (root / "build").mkdir()
    (root / "build" / "requirements.txt").write_text("bentoml\n", encoding="utf-8")
    done = subprocess.run(
        [BENTOML, "build", "--arg", f"modle={MODEL}"],
        cwd=root,
        env=environment(store),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "modle" in done.stderr + done.stdout
