"""The Bento that `make bento` builds, from copies of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.server import ROOT, environment

UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
FILES = ("service.py", "bentofile.yaml", "README.md", "pyproject.toml", "uv.lock")


def copy_project(root: Path) -> Path:
    root.mkdir()
    for package in ("scripts", "modeling", "release", "textserve"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, root / name)
    return root


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
    done = run(root, home, "sentiment-pl-en", "--uv", UV, **variables)
    assert done.returncode == 0, done.stderr
    tag, digest = done.stdout.splitlines()
    return home / "bentos" / tag.replace(":", "/"), digest.removeprefix("content sha256:")


@pytest.fixture(scope="module")
def built(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return build(copy_project(tmp_path_factory.mktemp("one") / "project"), store)


def description(bento: Path) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    return content


def test_the_same_content_gives_the_same_version_in_any_folder_at_any_time(
    tmp_path: Path, store: Path, built: tuple[Path, str]
) -> None:
    created = description(built[0])["creation_time"]
    root = copy_project(tmp_path / "elsewhere")
    # Neither the settings of this shell nor other packages below the project are part of it.
    (root / ".venv" / "lib").mkdir(parents=True)
    (root / ".venv" / "lib" / "service.py").write_text("another = True\n", encoding="utf-8")
    assert build(root, store, TEXTSERVE_REQUEST_SECONDS="7") == built
    assert description(built[0])["creation_time"] != created


def test_a_changed_lock_file_gives_another_version(tmp_path: Path, store: Path, built: tuple[Path, str]) -> None:
    root = copy_project(tmp_path / "project")
    lock = (root / "uv.lock").read_text(encoding="utf-8")
    changed, count = re.subn(r'(name = "tokenizers"\nversion = )"[^"]+"', r'\1"0.0.1"', lock)
    assert count == 1
    (root / "uv.lock").write_text(changed, encoding="utf-8")
    # The locked file names keep the old version.
    bento, digest = build(root, store, UV_SKIP_WHEEL_FILENAME_CHECK="1")
    assert digest != built[1]
    assert bento != built[0]
    assert "tokenizers==0.0.1" in (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")


def test_its_labels_name_its_content_and_the_measured_quality(store: Path, built: tuple[Path, str]) -> None:
    bento, digest = built
    labels = description(bento)["labels"]
    assert isinstance(labels, dict)
    version = (store / "models" / "sentiment-pl-en" / "latest").read_text().strip()
    model = store / "models" / "sentiment-pl-en" / version / "files" / "model.onnx"
    sha256 = subprocess.run(["sha256sum", model], capture_output=True, text=True, check=True).stdout.split()[0]
    assert labels["content_digest"] == digest
    assert labels["model"] == f"sentiment-pl-en:{version}"
    assert labels["model_sha256"] == sha256
    assert 0.5 < float(labels["macro_f1_en"]) < 1
    assert 0.5 < float(labels["macro_f1_pl"]) < 1
    assert bento.name == digest[:16]


def test_its_labels_name_the_commit(tmp_path: Path, store: Path) -> None:
    root = copy_project(tmp_path / "project")
    shutil.copy(ROOT / ".gitignore", root)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "One"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    (root / "README.md").write_text("changed\n", encoding="utf-8")
    labels = description(build(root, store)[0])["labels"]
    assert isinstance(labels, dict)
    assert labels["commit"] == head.stdout.strip()
    assert labels["changed_files"] == "1"


def test_it_contains_the_service_and_no_other_files(built: tuple[Path, str]) -> None:
    source = built[0] / "src"
    assert {path.name for path in source.iterdir()} == {"bentofile.yaml", "textserve", "service.py"}
    requirements = (built[0] / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", requirements, flags=re.MULTILINE)
    assert "onnxruntime" in names
    assert not {"torch", "transformers", "optimum", "pytest"} & set(names)


def test_its_image_is_installed_by_the_uv_of_the_makefile() -> None:
    versions = [
        re.findall(r"^UV_VERSION(?: :)?= ?([\d.]+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        for file in ("Makefile", "textserve/bento/uv.sh")
    ]
    assert versions[0] == versions[1] != []


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_package_has_a_wheel_for_either_architecture(
    tmp_path: Path, built: tuple[Path, str], architecture: str
) -> None:
    requirements = built[0] / "env" / "python" / "requirements.txt"
    platform = ["--python-version", "3.11", "--python-platform", f"{architecture}-manylinux_2_36"]
    command = [UV, "pip", "install", "--dry-run", "--target", str(tmp_path), *platform, "--only-binary", ":all:"]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "+ onnxruntime==" in done.stderr


def test_a_model_that_is_not_in_the_store_is_named(tmp_path: Path) -> None:
    done = run(ROOT, tmp_path, "no-such-model", "--uv", UV)
    assert done.returncode == 1
    assert done.stderr.strip() == "no-such-model: not in the model store; run make save MODEL=no-such-model"


def test_a_missing_uv_is_named(tmp_path: Path, store: Path) -> None:
    done = run(copy_project(tmp_path / "project"), store, "sentiment-pl-en", "--uv", str(tmp_path / "no-uv"))
    assert done.returncode == 1
    assert "no-uv: no such program" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_lock_file_is_named(tmp_path: Path, store: Path) -> None:
    root = copy_project(tmp_path / "project")
    (root / "uv.lock").write_text("version = ", encoding="utf-8")
    done = run(root, store, "sentiment-pl-en", "--uv", UV)
    assert done.returncode == 1
    assert f"{root / 'uv.lock'} cannot be exported" in done.stderr


@pytest.mark.parametrize("argument", ["modle=sentiment-pl-en"])
def test_an_argument_that_is_not_there_is_refused(tmp_path: Path, store: Path, argument: str) -> None:
    root = copy_project(tmp_path / "project")
    (root / "build").mkdir()
    (root / "build" / "requirements.txt").write_text("bentoml\n", encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("bentoml"), "build", "--arg", argument],
        cwd=root,
        env={**environment(store), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "modle" in done.stderr + done.stdout
