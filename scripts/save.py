"""Save a model into the BentoML model store, from which the service and the Bento take it.

    python -m scripts.save sentiment-pl-en

Copies model.yaml, model.onnx, tokenizer.json and report.json of models/NAME into the store of $BENTOML_HOME. The
version is made of the SHA-256 of the first three, so that saving the same files again changes nothing. What was not
verified, or was changed since, is refused.

The stored model's metadata (`bentoml models get NAME:VERSION -o yaml`) says where it comes from: source with revision
and digests, the MLflow run where there is one, the spec, the versions of all tools, the CPU that it was verified on
with its vector instructions, and the reports on fidelity and quality.

Prints the tag, NAME:VERSION. Exit codes: 0 saved or already there, 1 refused (the message says why).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import NotFound

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.files import REPORT_FILE, ModelFiles
from modeling.spec import ModelSpec
from scripts.command import parser
from textserve.spec import SPEC_FILE, STORED_FOLDER, SpecError

VERSION_DIGITS = 16


def save(files: ModelFiles) -> str:
    """Save the model if it is not in the store, and return its tag.

    Raises:
        ModelingError: if a file is missing, or the files are not those that verify.py passed.
        SpecError: if the spec is not valid.
    """
    spec, digests = files.spec(), files.digests()
    verification = files.report().get("verification")
    again = f"run python -m scripts.verify {spec.name}"
    if verification is None:
        raise ModelingError(f"{files.folder / REPORT_FILE}: the model is not verified; {again}")
    for key, now in fidelity.identity(spec, digests).items():
        if verification["identity"].get(key) != now:
            raise ModelingError(f"{files.folder}: {key} changed after the model was verified; {again}")
    if found := fidelity.problems(verification, spec):
        raise ModelingError(f"{files.folder / REPORT_FILE}: outside the limits of the spec: {'; '.join(found)}")
    joined = "\n".join(f"{digest}  {name}" for name, digest in sorted(digests.items()))
    tag = f"{spec.name}:{hashlib.sha256(joined.encode()).hexdigest()[:VERSION_DIGITS]}"
    with contextlib.suppress(NotFound):
        stored = bentoml.models.get(tag)
        # The service takes the latest version, and this is the one that was asked for last.
        (Path(stored.path).parent / "latest").write_text(str(stored.tag.version))
        return tag
    with bentoml.models.create(
        tag,
        labels={"license": spec.license, "languages": "-".join(spec.languages)},
        metadata=metadata(spec, digests, files.report()),
    ) as model:
        folder = Path(model.path) / STORED_FOLDER
        folder.mkdir()
        for name in (*digests, REPORT_FILE):
            shutil.copyfile(files.folder / name, folder / name)
    return tag


def metadata(spec: ModelSpec, digests: dict[str, str], report: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known of how the model was made, from its spec and the sections of its report."""
    verification = report["verification"]
    made = [report.get(section, {}).get("versions", {}) for section in ("training", "export", "verification")]
    known = {
        "source": verification.get("source", spec.source.model_dump(mode="json")),
        "sha256": digests,
        "spec": spec.model_dump(mode="json"),
        "versions": {name: version for versions in made for name, version in versions.items()}
        | versions(["bentoml", "onnxruntime", "tokenizers"]),
        "cpu": {"name": verification.get("cpu", "unknown"), "flags": verification.get("cpu_flags", [])},
        # What else a verification says stands above.
        "verification": {
            key: value
            for key, value in verification.items()
            if key not in ("identity", "source", "versions", "cpu", "cpu_flags")
        },
        "quality": report.get("quality"),
        "training": report.get("training"),
    }
    without: dict[str, Any] = _without_nulls(known)
    return without


def _without_nulls(value: Any) -> Any:
    """``value`` without the keys that have none: the store's metadata cannot hold a null."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value if one is not None]
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help=f"name of a folder in models/ with a {SPEC_FILE}")
    options = args.parse_args(arguments)
    try:
        print(save(ModelFiles.of(options.model)))
    except (ModelingError, SpecError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
