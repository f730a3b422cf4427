"""The served files of a registered version: their origin, and storage with the champion.

A registered version is a checkpoint. A promotion stores the files made from it (quantized graph, tokenizer, spec) as
artifacts of its run, so that the next candidate is measured against exactly the files in use, on any machine.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlflow

from modeling.errors import ModelingError
from modeling.evaluation.performance import InUse
from modeling.files import ModelFiles
from modeling.registry.champion import FILES
from modeling.registry.versions import CHAMPION, Registry, Version, plain_errors
from textserve.spec import SPEC_FILE

DIGEST_DIGITS = 16
WEIGHTS = "model.safetensors"
# Training sets this tag.
WEIGHTS_TAG = f"sha256.{WEIGHTS}"


def origin(files: ModelFiles) -> dict[str, str] | None:
    """``name`` and ``version`` of the registered version that the model was downloaded or trained as, if any."""
    report = files.report()
    downloaded = report.get("verification", {}).get("source", report.get("source", {}))
    if "version" in downloaded:
        return {"name": downloaded["name"], "version": downloaded["version"]}
    trained = report.get("training", {}).get("mlflow")
    return {"name": trained["model"], "version": trained["version"]} if trained else None


def check_origin(version: Version, report: dict[str, Any]) -> None:
    """Raise a :class:`ModelingError` unless the files were verified against the checkpoint of ``version``."""
    verified = report["verification"].get("source", {}).get("sha256", {})
    if version.tags.get(WEIGHTS_TAG, verified.get(WEIGHTS)) != verified.get(WEIGHTS):
        raise ModelingError(
            f"models/{version.name}: was not verified against the checkpoint of {version.uri}; "
            "export, verify and evaluate it again"
        )


def upload(registry: Registry, version: Version, files: ModelFiles, digest: str) -> str:
    """Store the served files and the report in the version's run, under the report's ``digest``; returns the path.

    Raises :class:`ModelingError` if the version has no run, or the registry rejects the files.
    """
    if version.run_id is None:
        raise ModelingError(f"{version.uri} was registered without a run; register the model that a run logged")
    path = f"served/{digest[:DIGEST_DIGITS]}"
    served = [files.folder / SPEC_FILE, files.model, files.tokenizer, files.report_file]
    with plain_errors(registry.uri):
        for file in (*served, files.build / "report.html"):
            if file.exists():
                mlflow.MlflowClient().log_artifact(version.run_id, str(file), path)
    return path


def champion_files(registry: Registry, name: str, build: Path) -> InUse | None:
    """The champion's files, downloaded to ``build``; None without one. Raises :class:`ModelingError` if that fails."""
    version = registry.version_of(name, CHAMPION)
    if version is None:
        return None
    fix = "give its folder with --against NAME, or skip the comparison with --against none"
    if FILES not in version.tags or version.run_id is None:
        raise ModelingError(f"{version.uri} has the alias {CHAMPION}, which scripts.promote did not set; {fix}")
    folder = build / CHAMPION
    with tempfile.TemporaryDirectory(dir=build) as temporary:
        with plain_errors(registry.uri):
            fetched = mlflow.artifacts.download_artifacts(
                f"runs:/{version.run_id}/{version.tags[FILES]}", dst_path=temporary
            )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fetched, folder)
    return InUse(folder, f"{name}, version {version.number}", version.number)
