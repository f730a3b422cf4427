"""Build the Bento: the service, one model of the store pinned by its version, the packages as they are locked.

    python -m scripts.bento sentiment-pl-en

The Bento's version is the beginning of its content digest: the SHA-256 over all its files, without labels and times of
creation. The same commit and model give the same version again, and a changed uv.lock gives another. Its labels
(`bentoml get textserve:VERSION -o yaml`) say the whole digest, the commit, the model with the SHA-256 of its ONNX file,
and macro-F1 for each language as measured.

--base-image names what the image is built upon; uv, from PATH or from --uv, reads the lock file.

Prints the tag, textserve:VERSION, and the digest. Exit codes: 0 built, 1 refused (the message says why).
"""

from __future__ import annotations

import contextlib
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

import bentoml
import yaml
from bentoml.exceptions import NotFound

from modeling.environment import commit
from modeling.files import ROOT
from release.errors import ReleaseError
from scripts.command import parser
from textserve.bento.image import BASE_IMAGE
from textserve.classifier import MODEL_FILE
from textserve.settings import PREFIX

NAME = "textserve"
DIGEST_LABEL = "content_digest"
REQUIREMENTS = Path("build", "requirements.txt")
VERSION_DIGITS = 16
# From PATH, or where the Makefile installs it.
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
DESCRIPTIONS = ("bento.yaml", "src/bentofile.yaml")
# What these say of the content and is none of it, or differs from one build of it to the next.
NO_CONTENT = ("labels", "version", "creation_time")


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in the store: ``tag`` is NAME:VERSION, ``digest`` the SHA-256 of its content, ``labels`` all it has."""

    tag: str
    digest: str
    labels: dict[str, str]


def content_digest(bento: Path) -> str:
    """SHA-256 over the files of a Bento's folder, as ``sha256sum`` lists them in the order of their paths.

    Of its two descriptions without the labels, the version and the times of creation. The model is in it by its
    version, which is made of its files.
    """
    lines = []
    for file in sorted(bento.rglob("*")):
        name = file.relative_to(bento).as_posix()
        if file.is_file():
            content = _description(file) if name in DESCRIPTIONS else file.read_bytes()
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _description(file: Path) -> bytes:
    return json.dumps(_content(yaml.safe_load(file.read_text(encoding="utf-8"))), sort_keys=True).encode()


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _content(one) for key, one in value.items() if key not in NO_CONTENT}
    if isinstance(value, list):
        return [_content(one) for one in value]
    return value


def export_requirements(root: Path, uv: str) -> None:
    """Write the locked versions of what is served with, from uv.lock, where bentofile.yaml names them.

    Raises:
        ReleaseError: if uv cannot be started, or refuses the lock file.
    """
    (root / REQUIREMENTS).parent.mkdir(exist_ok=True)
    # A header would name the command, and with it the place of this folder.
    options = ["--frozen", "--quiet", "--no-header", "--no-annotate", "--no-hashes", "--no-emit-project"]
    command = [uv, "export", *options, "--only-group", "inference", "--output-file", str(REQUIREMENTS)]
    try:
        subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ReleaseError(f"{uv}: no such program; make bento installs uv, or name it with --uv") from None
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"{root / 'uv.lock'} cannot be exported: {error.stderr.strip()}") from None


def build(model: str, base_image: str = BASE_IMAGE, uv: str = UV, root: Path = ROOT) -> BuiltBento:
    """Build the Bento into the store, in place of one with the same content.

    Raises:
        ReleaseError: if the model is not in the store, or BentoML cannot build.
    """
    try:
        stored = bentoml.models.get(model if ":" in model else f"{model}:latest")
    except NotFound:
        raise ReleaseError(f"{model}: not in the model store; make save MODEL={model} puts it there") from None
    export_requirements(root, uv)
    labels = {**commit(root), **model_labels(str(stored.tag), stored.info.metadata)}
    arguments = {"model": str(stored.tag), "base_image": base_image}
    # BentoML calls uv too, and finds it nowhere else.
    path = os.pathsep.join([str(Path(shutil.which(uv) or uv).resolve().parent), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as home:
        # The version is made of the content, so the first of two builds is only for its digest.
        Path(home, "models").symlink_to(Path(stored.path).parents[1])
        _bentoml_build(root, "unversioned", labels, arguments, PATH=path, BENTOML_HOME=home)
        digest = content_digest(Path(home, "bentos", NAME, "unversioned"))
    tag = f"{NAME}:{digest[:VERSION_DIGITS]}"
    labels[DIGEST_LABEL] = digest
    with contextlib.suppress(NotFound):
        bentoml.bentos.delete(tag)
    _bentoml_build(root, digest[:VERSION_DIGITS], labels, arguments, PATH=path)
    return BuiltBento(tag, digest, labels)


def model_labels(tag: str, metadata: dict[str, Any]) -> dict[str, str]:
    """Labels of what is served: the model's tag, SHA-256 of its ONNX file, and its quality where it was measured."""
    languages = (metadata.get("quality") or {}).get("languages", {})
    quality = {f"macro_f1_{language}": f"{found['macro_f1']:.4f}" for language, found in sorted(languages.items())}
    return {"model": tag, "model_sha256": metadata["sha256"][MODEL_FILE], **quality}


def _bentoml_build(
    root: Path, version: str, labels: dict[str, str], arguments: dict[str, str], **variables: str
) -> None:
    command = [str(Path(sys.executable).with_name("bentoml")), "build", "--version", version, "--output", "tag"]
    for key, value in labels.items():
        command += ["--label", f"{key}={value}"]
    for key, value in arguments.items():
        command += ["--arg", f"{key}={value}"]
    # What this shell has set for serving would be written into the Bento.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(command, cwd=root, env={**environment, **variables}, capture_output=True, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"bentoml build failed: {(done.stderr or done.stdout).strip()}")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a model in the store, or NAME:VERSION")
    args.add_argument("--base-image", default=BASE_IMAGE, help="image with Debian, Python 3.11 and pip")
    args.add_argument("--uv", default=UV, help="the program that reads uv.lock")
    options = args.parse_args(arguments)
    try:
        built = build(options.model, options.base_image, options.uv)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(built.tag)
    print(f"content sha256:{built.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
