"""Builds the Bento: the service, one version of a stored model, and the locked packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modeling.environment import commit
from modeling.evaluation.names import MAIN
from modeling.files import ROOT
from release.errors import ReleaseError
from textserve.bento.image import HASHES, REQUIREMENTS
from textserve.bento.store import find_model, home_aside, move_into
from textserve.classifier import MODEL_FILE
from textserve.settings import PREFIX

NAME = "textserve"
DIGEST_LABEL = "content_digest"
VERSION_DIGITS = 16
# uv from PATH, or where the Makefile installs it.
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
BENTOML = str(Path(sys.executable).with_name("bentoml"))
DESCRIPTIONS = ("bento.yaml", "src/bentofile.yaml")
# Keys of the descriptions that are not content, or that differ between two builds of the same content.
NO_CONTENT = ("labels", "version", "creation_time")


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in the store: its ``tag`` NAME:VERSION, the SHA-256 ``digest`` of its content, and its ``labels``."""

    tag: str
    digest: str
    labels: dict[str, str]


def build(model: str, base_image: str, uv: str = UV, root: Path = ROOT) -> BuiltBento:
    """Build the Bento of ``model``, NAME or NAME:VERSION, into the store, replacing a Bento with the same content.

    Raises :class:`ReleaseError` if the model is not in the store, or uv or BentoML fails.
    """
    stored = find_model(model if ":" in model else f"{model}:latest")
    if stored is None:
        raise ReleaseError(f"{model}: not in the model store; run make save MODEL={model}")
    export_requirements(root, uv)
    labels = {**commit(root), **model_labels(str(stored.tag), stored.info.metadata)}
    arguments = {"model": str(stored.tag), "base_image": base_image}
    # BentoML runs uv too, and looks for it on PATH only.
    path = os.pathsep.join([str(Path(shutil.which(uv) or uv).resolve().parent), os.environ["PATH"]])
    with home_aside(Path(stored.path)) as home:

        def bentoml_build(version: str) -> Path:
            _bentoml_build(root, version, labels, arguments, PATH=path, BENTOML_HOME=str(home))
            return home / "bentos" / NAME / version

        # `bentoml build` needs the version, which is the digest of the content: the first build is only for the digest.
        digest = content_digest(bentoml_build("unversioned"))
        labels[DIGEST_LABEL] = digest
        version = digest[:VERSION_DIGITS]
        move_into(Path(stored.path).parents[2] / "bentos", bentoml_build(version))
    return BuiltBento(f"{NAME}:{version}", digest, labels)


def export_requirements(root: Path, uv: str) -> None:
    """Write the files of locked package versions, without and with hashes, that go into the Bento.

    Raises :class:`ReleaseError` if uv rejects the lock file.
    """
    _export(root, uv, REQUIREMENTS, "--no-hashes")
    _export(root, uv, HASHES)


def _export(root: Path, uv: str, name: Path, *options: str) -> None:
    file = root / name
    file.parent.mkdir(exist_ok=True)
    # A header would contain the command, and with it the path of this folder.
    shared = ["--frozen", "--quiet", "--no-header", "--no-annotate", "--no-emit-project", "--only-group", "inference"]
    try:
        exported = subprocess.run(
            [uv, "export", *shared, *options], cwd=root, check=True, capture_output=True, text=True
        ).stdout
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as whole:
            whole.write(exported)
        # Replace the file in one step: another build may be reading it.
        os.chmod(whole.name, 0o644)
        os.replace(whole.name, file)
    except FileNotFoundError:
        raise ReleaseError(f"{uv}: no such program; make bento installs uv, or name it with --uv") from None
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"{root / 'uv.lock'} cannot be exported: {error.stderr.strip()}") from None


def model_labels(tag: str, metadata: dict[str, Any]) -> dict[str, str]:
    """The labels of the model: its tag, the SHA-256 of its ONNX file, and its main metric per language if measured."""
    languages = (metadata.get("quality") or {}).get("languages", {})
    key = MAIN[metadata.get("spec", {}).get("problem_type", "single_label_classification")]
    quality = {f"{key}_{language}": f"{scores[key]:.4f}" for language, scores in sorted(languages.items())}
    return {"model": tag, "model_sha256": metadata["sha256"][MODEL_FILE], **quality}


def content_digest(bento: Path) -> str:
    """SHA-256 of a Bento's files, listed by path as in ``sha256sum``; descriptions count without NO_CONTENT."""
    lines = []
    for file in sorted(bento.rglob("*")):
        name = file.relative_to(bento).as_posix()
        if file.is_file():
            content = file.read_bytes()
            if name in DESCRIPTIONS:
                content = json.dumps(_content(yaml.safe_load(content)), sort_keys=True).encode()
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items() if key not in NO_CONTENT}
    if isinstance(value, list):
        return [_content(item) for item in value]
    return value


def _bentoml_build(
    root: Path, version: str, labels: dict[str, str], arguments: dict[str, str], **variables: str
) -> None:
    command = [BENTOML, "build", "--version", version, "--output", "tag"]
    for key, value in labels.items():
        command += ["--label", f"{key}={value}"]
    for key, value in arguments.items():
        command += ["--arg", f"{key}={value}"]
    # BentoML would write this shell's settings into the Bento.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(command, cwd=root, env={**environment, **variables}, capture_output=True, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"bentoml build failed: {(done.stderr or done.stdout).strip()}")
