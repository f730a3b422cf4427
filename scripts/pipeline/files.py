"""Where a model's files are, their digests, and the report that travels with them."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sentiment.classifier import MODEL_FILE, TOKENIZER_FILE
from sentiment.spec import SPEC_FILE, ModelSpec

ROOT = Path(__file__).resolve().parents[2]
REPORT_FILE = "report.json"
# Beginnings of the names of vector instructions, of x86-64 and of ARM.
VECTOR_FLAGS = ("amx", "avx", "f16c", "fma", "sse", "ssse", "asimd", "bf16", "i8mm", "sve")


class ScriptError(Exception):
    """A script cannot go on, for a reason that the person who runs it can mend; the message says how."""


@dataclass(frozen=True)
class ModelFiles:
    """The folders of one model: ``folder`` holds what is served, ``build`` what is needed to make it."""

    folder: Path
    build: Path

    @classmethod
    def of(cls, name: str, root: Path = ROOT) -> ModelFiles:
        """The folders ``models/NAME`` and ``build/NAME`` of the project.

        Raises:
            ScriptError: if there is no spec of that name.
        """
        folder = root / "models" / name
        if not (folder / SPEC_FILE).is_file():
            known = ", ".join(sorted(file.parent.name for file in (root / "models").glob(f"*/{SPEC_FILE}")))
            raise ScriptError(f"models/{name}/{SPEC_FILE} does not exist; there are: {known}")
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
            ScriptError: if one of them does not exist.
        """
        for file in (self.model, self.tokenizer):
            if not file.exists():
                raise ScriptError(f"{file} does not exist; python -m scripts.export {self.folder.name} writes it")
        return {file.name: sha256(file) for file in (self.folder / SPEC_FILE, self.model, self.tokenizer)}


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of installed packages, for a report."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def cpu_name() -> str:
    """The processor's name as the operating system has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def cpu_flags() -> list[str]:
    """The processor's vector instructions, as Linux names them, sorted; empty where it does not say."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = [line.split(":", 1)[1].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return sorted({flag for flag in (flags[0] if flags else []) if flag.startswith(VECTOR_FLAGS)})


def parser(manual: str | None) -> argparse.ArgumentParser:
    """An argument parser whose ``--help`` shows the script's docstring as it stands."""
    return argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)
