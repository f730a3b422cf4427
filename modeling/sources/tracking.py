"""A checkpoint that was logged to MLflow, by the URI of a registered version or of a run's artifacts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from modeling.errors import ModelingError
from modeling.registry.versions import Registry, Version, plain_errors
from modeling.sources.selection import CONFIG_FILE

VERSION = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<number>\d+)|@(?P<alias>[^/@]+))")
RUN = re.compile(r"runs:/(?P<run_id>[^/]+)(/.+)?")


def fetch(uri: str, into: Path) -> tuple[Path, dict[str, Any]]:
    """Download what ``uri`` names into ``into``.

    Returns:
        The one folder below ``into`` that holds a checkpoint, and for the report the run's id and, for a registered
        version, its name and number.

    Raises:
        ModelingError: if MLflow does not answer, has no such version or run, or there is not one checkpoint in it.
    """
    registered, run = VERSION.fullmatch(uri), RUN.fullmatch(uri)
    if not registered and not run:
        raise ModelingError(f"{uri}: give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/PATH")
    registry = Registry.connect()
    # An alias may move meanwhile; a number does not.
    uri_now, section = uri, {}
    if registered:
        version = _version(registry, registered)
        uri_now, section = version.uri, {"name": version.name, "version": version.number}
        if version.run_id:
            section["run_id"] = version.run_id
    elif run:
        section["run_id"] = run["run_id"]
    with plain_errors(registry.uri):
        try:
            mlflow.artifacts.download_artifacts(artifact_uri=uri_now, dst_path=str(into))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INTERNAL_ERROR"):
                raise
            raise ModelingError(f"{uri}: {registry.uri} has no such artifacts") from error
        except OSError as error:
            raise ModelingError(f"{uri}: its artifacts cannot be read: {error.strerror or error}") from error
    return _checkpoint(uri, into), section


def _version(registry: Registry, match: re.Match[str]) -> Version:
    name, number, alias = match["name"], match["number"], match["alias"]
    version = registry.version(name, number) if number else registry.version_of(name, alias)
    if version is None:
        there = [f"models:/{name}/{one.number}" for one in registry.versions(name)]
        known = f"there are {', '.join(there)}" if there else f"there is no model {name!r}"
        raise ModelingError(f"{match[0]}: {registry.uri} does not have it; {known}")
    return version


def _checkpoint(uri: str, folder: Path) -> Path:
    found = sorted(file.parent for file in folder.rglob(CONFIG_FILE))
    if len(found) != 1:
        places = ", ".join(str(one.relative_to(folder)) for one in found) or "none"
        raise ModelingError(f"{uri}: wanted one folder with a {CONFIG_FILE} in it, found {places}")
    return found[0]
