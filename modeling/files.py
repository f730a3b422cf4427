"""Where a model's files are, their digests, and the report that travels with them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.spec import ModelSpec
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE
from textserve.spec import SPEC_FILE

ROOT = Path(__file__).resolve().parents[1]
REPORT_FILE = "report.json"


@dataclass(frozen=True)
class ModelFiles:
    """The folders of one model: ``folder`` holds what is served, ``build`` what is needed to make it."""

    folder: Path
    build: Path

    @classmethod
    def of(cls, name: str, root: Path = ROOT) -> ModelFiles:
        """The folders ``models/NAME`` and ``build/NAME`` of the project.

        Raises:
            ModelingError: if there is no spec of that name.
        """
        folder = root / "models" / name
        if not (folder / SPEC_FILE).is_file():
            known = ", ".join(sorted(file.parent.name for file in (root / "models").glob(f"*/{SPEC_FILE}")))
            raise ModelingError(f"models/{name}/{SPEC_FILE} does not exist; there are: {known}")
        build = root / "build" / name
        build.mkdir(parents=True, exist_ok=True)
        return cls(folder, build)

    @property
    def model(self) -> Path:
        """The ONNX file that is served."""
        return self.folder / MODEL_FILE

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that is served."""
        return self.folder / TOKENIZER_FILE

    @property
    def float_model(self) -> Path:
        """The float32 ONNX file from which the served one is made."""
        return self.build / "float.onnx"

    @property
    def checkpoint(self) -> Path:
        """The Hugging Face checkpoint from which the ONNX files are made, unless another is named."""
        return self.build / "checkpoint"

    def spec(self) -> ModelSpec:
        """The model's validated spec."""
        return ModelSpec.load(self.folder)

    def report(self) -> dict[str, Any]:
        """The sections that the scripts have written so far; empty before the first."""
        file = self.folder / REPORT_FILE
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return content

    def add_to_report(self, section: str, content: dict[str, Any]) -> None:
        """Write one section of ``report.json``, and leave the others as they are."""
        report = {**self.report(), section: content}
        text = json.dumps(report, indent=2, ensure_ascii=False, sort_keys=True)
        (self.folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")

    def digests(self) -> dict[str, str]:
        """SHA-256 of the spec, the ONNX file and the tokenizer, by file name.

        Raises:
            ModelingError: if one of them does not exist.
        """
        for file in (self.model, self.tokenizer):
            if not file.exists():
                raise ModelingError(f"{file} does not exist; python -m scripts.export {self.folder.name} writes it")
        return {file.name: sha256(file) for file in (self.folder / SPEC_FILE, self.model, self.tokenizer)}


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
