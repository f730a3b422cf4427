"""The verbs that save, load and scan an image.

syft is the real one. trivy needs its database: a script stands in for it and logs its arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from release import engine
from tests.image.containers import IMAGE, inspect
from tests.server import LIMIT_SECONDS, ROOT

pytestmark = [pytest.mark.image, pytest.mark.timeout(3000)]

TRIVY = '#!/bin/sh\necho "$@" >"$NOTES"\nexit "$FOUND"\n'


def make(verb: str, file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", verb],
        cwd=ROOT,
        env={**os.environ, "IMAGE": IMAGE, "IMAGE_FILE": str(file), **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image") / "image-amd64.tar"
    done = make("image-save", target)
    assert done.returncode == 0, done.stderr
    return target


def test_a_saved_image_is_described_in_a_file_beside_it(file: Path) -> None:
    (known,) = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert known["Id"].removeprefix("sha256:") == inspect(engine.find(), IMAGE)["Id"].removeprefix("sha256:")
    assert known["Architecture"] in ("amd64", "arm64")
    assert known["Size"] > 0


def test_the_saved_image_can_be_loaded(file: Path) -> None:
    found = engine.find()
    before = inspect(found, IMAGE)["Id"]
    done = make("image-load", file)
    assert done.returncode == 0, done.stderr
    assert inspect(found, IMAGE)["Id"] == before


@pytest.mark.parametrize("vulnerable", [False, True])
def test_a_scan_lists_the_packages_and_fails_for_a_vulnerability(file: Path, tmp_path: Path, vulnerable: bool) -> None:
    program = tmp_path / "trivy"
    program.write_text(TRIVY, encoding="utf-8")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = make("scan", file, PATH=path, NOTES=str(tmp_path / "notes"), FOUND="1" if vulnerable else "0")
    assert (done.returncode != 0) is vulnerable, done.stderr
    listed = json.loads(file.with_suffix(".spdx.json").read_text(encoding="utf-8"))
    names = {package["name"] for package in listed["packages"]}
    assert {"onnxruntime", "bentoml", "tokenizers", "libc6"} <= names
    assert not {"torch", "transformers", "pip", "uv"} & names
    options = (tmp_path / "notes").read_text(encoding="utf-8")
    assert f"--input {file}" in options
    assert "--severity HIGH,CRITICAL" in options
    assert "--exit-code 1" in options
