"""The files of a model: paths, digests, and its report."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.spec import ModelSpec
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE
from textserve.drift import REFERENCE_FILE
from textserve.spec import SPEC_FILE, SpecError

ROOT = Path(__file__).resolve().parents[1]
REPORT_FILE = "report.json"


class ModelFiles:
    """The files of one model: ``folder`` has the served files, ``build`` the intermediate files."""

    def __init__(self, folder: Path, build: Path) -> None:
        self.folder = folder
        self.model = folder / MODEL_FILE
        self.tokenizer = folder / TOKENIZER_FILE
        self.report_file = folder / REPORT_FILE
        # Statistics of the model on known texts, to detect drift.
        self.reference_file = folder / REFERENCE_FILE
        self.build = build
        # The float32 graph, before quantization.
        self.float_model = build / "float.onnx"
        # The default source of the export.
        self.checkpoint = build / "checkpoint"
        # Shared by all models.
        self.data = build.with_name("data")

    @classmethod
    def of(cls, name: str, root: Path = ROOT) -> ModelFiles:
        """``models/NAME`` and ``build/NAME``; raises :class:`ModelingError` if no model has that name."""
        folder = root / "models" / name
        if not (folder / SPEC_FILE).is_file():
            known = ", ".join(sorted(file.parent.name for file in (root / "models").glob(f"*/{SPEC_FILE}")))
            raise ModelingError(f"models/{name}/{SPEC_FILE} does not exist; known models: {known}")
        build = root / "build" / name
        build.mkdir(parents=True, exist_ok=True)
        return cls(folder, build)

    def spec(self) -> ModelSpec:
        """The validated spec.

        Raises:
            SpecError: if it is invalid, or its ``name`` is not that of its folder, as after copying a folder.
        """
        spec = ModelSpec.load(self.folder)
        if spec.name != self.folder.name:
            raise SpecError(f"{self.folder / SPEC_FILE}: name is {spec.name}; set it to {self.folder.name}, its folder")
        return spec

    def report(self) -> dict[str, Any]:
        """The sections of ``report.json``, if it exists; raises :class:`ModelingError` if it cannot be read."""
        return _read_json(self.report_file, f"make model MODEL={self.folder.name}") if self.report_file.exists() else {}

    def reference(self) -> dict[str, Any]:
        """The content of ``reference.json``; raises :class:`ModelingError` if it cannot be read."""
        return _read_json(self.reference_file, f"make reference MODEL={self.folder.name}")

    def add_to_report(self, section: str, content: dict[str, Any]) -> None:
        """Write one section of ``report.json`` and keep the others."""
        text = json.dumps({**self.report(), section: content}, indent=2, ensure_ascii=False, sort_keys=True)
        with replacing(self.report_file) as new:
            new.write_text(text + "\n", encoding="utf-8")

    def digests(self) -> dict[str, str]:
        """SHA-256 of ONNX file and tokenizer by file name; raises :class:`ModelingError` if a file is missing."""
        files = (self.model, self.tokenizer)
        for file in files:
            if not file.exists():
                raise ModelingError(f"{file} does not exist; python -m scripts.export {self.folder.name} writes it")
        return {file.name: sha256(file) for file in files}


def check_identity(files: ModelFiles, section: dict[str, Any], step: str) -> None:
    """Raise a :class:`ModelingError` if the model changed since the script ``step`` wrote ``section`` of its report."""
    for key, value in files.spec().identity(files.digests()).items():
        if section["identity"].get(key) != value:
            raise ModelingError(
                f"{files.folder}: {key} changed since scripts.{step}; run python -m scripts.{step} {files.folder.name}"
            )


def _read_json(file: Path, step: str) -> dict[str, Any]:
    """The JSON object in ``file``; errors name ``step``, the command that writes it."""
    fix = f"restore it, or remove it and run {step}"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelingError(f"{file}: cannot be read: {error.strerror}; {fix}") from error
    except ValueError as error:  # from JSON or UTF-8
        raise ModelingError(f"{file}: is not JSON: {error}; {fix}") from error
    if not isinstance(content, dict):
        raise ModelingError(f"{file}: is not a JSON object; {fix}")
    return content


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces ``file`` at the end; after an error, ``file`` is unchanged.

    Raises :class:`ModelingError` if ``file`` cannot be written, such as on a full disk.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="new-", dir=file.parent) as folder:
            new = Path(folder) / file.name
            yield new
            new.replace(file)
    except OSError as error:
        raise ModelingError(f"{file}: cannot be written: {error.strerror or error}") from error


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
