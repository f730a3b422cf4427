"""The Bento as `make bento` builds it, in copies of the project with model stores of their own."""

from __future__ import annotations

import json
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
        timeout=120,
    )


def build(root: Path, home: Path, **variables: str) -> tuple[Path, str]:
    """The folder of the Bento, and its content digest as printed."""
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


def test_the_same_content_is_the_same_version_wherever_and_whenever_it_is_built(
    tmp_path: Path, store: Path, built: tuple[Path, str]
) -> None:
    created = description(built[0])["creation_time"]
    root = copy_project(tmp_path / "elsewhere")
    # Neither what this shell serves with nor other packages beside the project belong to it.
    (root / ".venv" / "lib").mkdir(parents=True)
    (root / ".venv" / "lib" / "service.py").write_text("another = True\n", encoding="utf-8")
    assert build(root, store, TEXTSERVE_REQUEST_SECONDS="7") == built
    assert description(built[0])["creation_time"] != created


def test_a_changed_lock_file_is_another_version(tmp_path: Path, store: Path, built: tuple[Path, str]) -> None:
    root = copy_project(tmp_path / "project")
    lock = (root / "uv.lock").read_text(encoding="utf-8")
    changed, count = re.subn(r'(name = "tokenizers"\nversion = )"[^"]+"', r'\1"0.0.1"', lock)
    assert count == 1
    (root / "uv.lock").write_text(changed, encoding="utf-8")
    # The names of the locked files are as they were.
    bento, digest = build(root, store, UV_SKIP_WHEEL_FILENAME_CHECK="1")
    assert digest != built[1]
    assert bento != built[0]
    assert "tokenizers==0.0.1" in (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")


def test_its_labels_say_what_it_is_made_of(store: Path, built: tuple[Path, str]) -> None:
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


def test_it_holds_the_service_and_no_other_files(built: tuple[Path, str]) -> None:
    source = built[0] / "src"
    assert {path.name for path in source.iterdir()} == {"bentofile.yaml", "textserve", "service.py"}
    requirements = (built[0] / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", requirements, flags=re.MULTILINE)
    assert "onnxruntime" in names
    assert not {"torch", "transformers", "optimum", "pytest"} & set(names)


def test_its_image_needs_no_compiler_and_has_a_health_check(built: tuple[Path, str]) -> None:
    dockerfile = (built[0] / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "HEALTHCHECK" in dockerfile
    assert "USER bentoml" in dockerfile
    assert "build-essential" not in dockerfile


def test_nothing_is_removed_from_its_image_that_docker_mounts_while_it_builds(
    store: Path, built: tuple[Path, str]
) -> None:
    # What is mounted cannot be removed; podman mounts nothing.
    code = (
        "import bentoml, json, sys\n"
        "from bentoml._internal.container import construct_containerfile\n"
        "from textserve.bento.image import UNUSED_IN_BASE\n"
        "with construct_containerfile(bentoml.get(sys.argv[1]), enable_buildkit=True) as (_, file):\n"
        "    print(json.dumps([open(file).read(), UNUSED_IN_BASE]))\n"
    )
    command = [sys.executable, "-c", code, f"textserve:{built[0].name}"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(store), capture_output=True, text=True, timeout=60, check=True
    )
    dockerfile, removed = json.loads(done.stdout)
    mounted = re.findall(r"--mount=\S*target=([^\s,]+)", dockerfile)
    assert "/root/.cache/" in mounted
    assert [one for one in removed for target in mounted if target.startswith(one.rstrip("*"))] == []


def test_its_image_is_installed_by_the_same_uv() -> None:
    versions = [
        re.findall(r"^UV_VERSION :?= \"?([\d.]+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        for file in ("Makefile", "textserve/bento/image.py")
    ]
    assert versions[0] == versions[1] != []


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_package_is_there_for_either_architecture_without_a_compiler(
    tmp_path: Path, built: tuple[Path, str], architecture: str
) -> None:
    requirements = built[0] / "env" / "python" / "requirements.txt"
    platform = ["--python-version", "3.11", "--python-platform", f"{architecture}-manylinux_2_36"]
    command = [UV, "pip", "install", "--dry-run", "--target", str(tmp_path), *platform, "--only-binary", ":all:"]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "+ onnxruntime==" in done.stderr


def test_a_model_that_is_not_in_the_store_is_named(tmp_path: Path) -> None:
    done = run(ROOT, tmp_path, "no-such-model", "--uv", UV)
    assert done.returncode == 1
    assert done.stderr.strip() == ("no-such-model: not in the model store; make save MODEL=no-such-model puts it there")


def test_without_uv_it_says_so(tmp_path: Path, store: Path) -> None:
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
