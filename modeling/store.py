"""Save a verified model in BentoML's model store."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.files import REPORT_FILE, ModelFiles, check_identity, sha256
from modeling.spec import ModelSpec
from textserve.bento.store import create_model, find_model, set_latest
from textserve.classifier import MODEL_FILE
from textserve.drift import REFERENCE_FILE
from textserve.spec import SPEC_FILE, STORED_FOLDER

VERSION_DIGITS = 16


def save(files: ModelFiles) -> str:
    """Save the model unless the store has it with the same content, make it the latest version, and return its tag.

    The stored folder has the ONNX file, the tokenizer, the report, the reference, if there is one, and the part of
    the spec that serving reads. Raises :class:`ModelingError` if a file is missing, the verification is missing or
    outdated, or a limit is exceeded.
    """
    spec, report = files.spec(), files.report()
    digests, verification = files.digests(), report.get("verification")
    if verification is None:
        raise ModelingError(f"{files.report_file}: the model is not verified; run python -m scripts.verify {spec.name}")
    check_identity(files, verification, "verify")
    if problems := fidelity.problems(verification, spec):
        raise ModelingError(f"{files.report_file}: outside the limits of the spec: {'; '.join(problems)}")
    if files.reference_file.exists() and files.reference().get("sha256") != digests[MODEL_FILE]:
        raise ModelingError(f"{files.reference_file}: for another {MODEL_FILE}; run make reference MODEL={spec.name}")
    tag = f"{spec.name}:{version(spec, digests)}"
    stored = find_model(tag)
    names = [*digests, REPORT_FILE, *([REFERENCE_FILE] if files.reference_file.exists() else [])]
    serving = spec.serving.model_dump(mode="json")
    if "float_reason" in report.get("export", {}):
        serving["quantization"] = {"method": "none"}
    text = yaml.safe_dump(serving, allow_unicode=True, sort_keys=False)
    labels = {"license": spec.license, "languages": "-".join(spec.languages)}
    # The version covers only what changes an answer: if only the report differs, the same version is stored again.
    wanted = {SPEC_FILE: hashlib.sha256(text.encode()).hexdigest()}
    wanted |= {name: digests.get(name) or sha256(files.folder / name) for name in names}
    if stored is not None and stored.info.labels == labels and _digests(Path(stored.path) / STORED_FOLDER) == wanted:
        set_latest(Path(stored.path))
        return tag
    with create_model(tag, labels=labels, metadata=metadata(spec, digests, report)) as model:
        folder = model / STORED_FOLDER
        folder.mkdir()
        for name in names:
            shutil.copyfile(files.folder / name, folder / name)
        (folder / SPEC_FILE).write_text(text, encoding="utf-8")
    return tag


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in folder.glob("*") if file.is_file()}


def version(spec: ModelSpec, digests: dict[str, str]) -> str:
    """The version of a stored model: the first digits of the SHA-256 of its identity as canonical JSON."""
    canonical = json.dumps(spec.identity(digests), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:VERSION_DIGITS]


def metadata(spec: ModelSpec, digests: dict[str, str], report: dict[str, Any]) -> dict[str, Any]:
    """The provenance of the model: source, digests, spec, tool versions, CPU, and sections of its report."""
    verification = report["verification"]
    steps = [report.get(section, {}) for section in ("training", "export", "verification")]
    used = {name: version for step in steps for name, version in step.get("versions", {}).items()}
    elsewhere = ("identity", "source", "versions", "cpu", "cpu_flags")
    content = {
        "source": verification.get("source", spec.source.model_dump(mode="json")),
        "sha256": digests,
        "spec": spec.model_dump(mode="json"),
        "versions": used | versions(["bentoml", "onnxruntime", "tokenizers"]),
        "cpu": {"name": verification.get("cpu", "unknown"), "flags": verification.get("cpu_flags", [])},
        "verification": {key: value for key, value in verification.items() if key not in elsewhere},
        "quality": report.get("quality"),
        "training": report.get("training"),
    }
    return dict(_without_nulls(content))


def _without_nulls(value: Any) -> Any:
    """``value`` without null values, which the metadata of the store cannot hold."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value
