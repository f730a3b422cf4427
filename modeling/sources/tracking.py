"""A checkpoint in MLflow, by the URI of a registered version or of a run's artifacts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from modeling.errors import ModelingError
from modeling.registry.versions import Registry, Version, plain_errors
from modeling.sources.selection import ADAPTER_FILE, CONFIG_FILE

VERSION = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<number>\d+)|@(?P<alias>[^/@]+))")
RUN = re.compile(r"runs:/(?P<run_id>[^/]+)(/.+)?")


def fetch(uri: str, into: Path) -> tuple[Path, dict[str, Any]]:
    """Download ``uri`` into ``into``, and return the folder of its checkpoint, and its ``run_id``, name and version.

    Raises :class:`ModelingError` if MLflow does not answer, has no such version or run, or not exactly one checkpoint.
    """
    registered, run = VERSION.fullmatch(uri), RUN.fullmatch(uri)
    if not registered and not run:
        raise ModelingError(f"{uri}: give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/PATH")
    registry = Registry.connect()
    pinned, section = uri, run.groupdict() if run else {}
    if registered:
        version = _version(registry, registered)
        # An alias may move during the download; a number does not.
        pinned, section = version.uri, {"name": version.name, "version": version.number}
        if version.run_id:
            section["run_id"] = version.run_id
    with plain_errors(registry.uri):
        try:
            mlflow.artifacts.download_artifacts(artifact_uri=pinned, dst_path=str(into))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INTERNAL_ERROR"):
                raise
            raise ModelingError(f"{uri}: {registry.uri} has no such artifacts") from error
        except OSError as error:
            raise ModelingError(f"{uri}: its artifacts cannot be read: {error.strerror or error}") from error
    # An adapter counts here; the selection of its files refuses it.
    found = sorted(file.parent for file in [*into.rglob(CONFIG_FILE)] or into.rglob(ADAPTER_FILE))
    if len(found) != 1:
        folders = ", ".join(str(path.relative_to(into)) for path in found) or "none"
        raise ModelingError(f"{uri}: expected one folder with a {CONFIG_FILE}, found {folders}")
    return found[0], section


def _version(registry: Registry, match: re.Match[str]) -> Version:
    name, number, alias = match["name"], match["number"], match["alias"]
    version = registry.version(name, number) if number else registry.version_of(name, alias)
    if version is None:
        uris = [known.uri for known in registry.versions(name)]
        known = f"it has {', '.join(uris)}" if uris else f"it has no model {name!r}"
        raise ModelingError(f"{match[0]}: {registry.uri} has no such version; {known}")
    return version
