"""What is served of a registered version: from which version a model's files come, and the files of the champion.

A registered version is what training logged, a checkpoint. What is served is made of it: the quantized graph with its
tokenizer and spec. A promotion puts these among the artifacts of the version's run, so that the next candidate can be
measured beside the very files that are in use, on any machine that reaches the registry.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlflow

from modeling.errors import ModelingError
from modeling.evaluation.performance import InUse
from modeling.files import REPORT_FILE, ModelFiles
from modeling.registry.champion import FILES
from modeling.registry.versions import CHAMPION, Registry, Version, plain_errors

DIGEST_DIGITS = 16
WEIGHTS = "model.safetensors"
# train.py writes it.
WEIGHTS_TAG = f"sha256.{WEIGHTS}"


def origin(files: ModelFiles) -> dict[str, str] | None:
    """``name`` and ``version`` of the registered version that the files come from; None if they come from elsewhere.

    As the report has it: of what download.py took from MLflow, or of what train.py registered.
    """
    report = files.report()
    downloaded = report.get("verification", {}).get("source", report.get("source", {}))
    if "version" in downloaded:
        return {"name": downloaded["name"], "version": downloaded["version"]}
    trained = report.get("training", {}).get("mlflow")
    return {"name": trained["model"], "version": trained["version"]} if trained else None


def check_origin(version: Version, report: dict[str, Any]) -> None:
    """Refuse files that were verified beside another checkpoint than the one of ``version``.

    Raises:
        ModelingError: saying how to make them from the right one.
    """
    verified = report["verification"].get("source", {}).get("sha256", {})
    if version.tags.get(WEIGHTS_TAG, verified.get(WEIGHTS)) != verified.get(WEIGHTS):
        raise ModelingError(
            f"models/{version.name}: was not verified beside the checkpoint of {version.uri}, but beside another; "
            "export, verify and evaluate it again"
        )


def upload(registry: Registry, version: Version, files: ModelFiles, digest: str) -> str:
    """Put what is served, its report and its page among the artifacts of the version's run, and return where.

    Args:
        registry: where the version is registered.
        version: which was evaluated.
        files: of the model made of it.
        digest: SHA-256 of the report, which names the place: another evaluation of the same version has another.

    Raises:
        ModelingError: if the version has no run, or the registry refuses the files.
    """
    if version.run_id is None:
        raise ModelingError(f"{version.uri} was registered without a run; register the model that a run logged")
    place = f"served/{digest[:DIGEST_DIGITS]}"
    page = files.build / "report.html"
    with plain_errors(registry.uri):
        for file in [*(files.folder / name for name in files.digests()), files.folder / REPORT_FILE, page]:
            if file.exists():
                mlflow.MlflowClient().log_artifact(version.run_id, str(file), place)
    return place


def champion_files(registry: Registry, name: str, build: Path) -> InUse | None:
    """The files of the champion of the registered model ``name``, in a folder below ``build``; None if there is none.

    Raises:
        ModelingError: if they cannot be had.
    """
    version = registry.version_of(name, CHAMPION)
    if version is None:
        return None
    again = "name its folder with --against NAME, or compare with nothing by --against none"
    if FILES not in version.tags or version.run_id is None:
        raise ModelingError(f"{version.uri} has the alias {CHAMPION}, but scripts.promote did not give it; {again}")
    folder = build / CHAMPION
    with tempfile.TemporaryDirectory(dir=build) as temporary:
        with plain_errors(registry.uri):
            fetched = Path(
                mlflow.artifacts.download_artifacts(
                    run_id=version.run_id, artifact_path=version.tags[FILES], dst_path=temporary
                )
            )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fetched, folder)
    return InUse(folder, f"{name}, version {version.number}", version.number)
