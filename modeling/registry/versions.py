"""MLflow: training runs, and the registry of model versions.

``MLFLOW_TRACKING_URI`` is a server or a database; the default is ``build/mlflow.db`` with files in ``build/mlflow``.
MLflow also reads ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``. The alias :data:`STAGING` marks the
latest trained version, :data:`CHAMPION` the version in use.

Errors that the user can fix (no server, wrong password, no write access) are a one-line :class:`ModelingError`.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

# Set before MLflow is imported: by default it sends usage statistics, retries an unreachable server for minutes, and
# adds everything in uv.lock to the requirements of a logged model.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")

import mlflow

with warnings.catch_warnings():
    # About a type hint in MLflow.
    warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
    import mlflow.pyfunc

import pandas
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT
from requests.exceptions import RequestException

from modeling.environment import commit
from modeling.errors import ModelingError, masked
from modeling.files import ROOT

STAGING = "staging"
CHAMPION = "champion"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
# Artifact folders of a logged model and of the Hugging Face checkpoint inside.
MODEL = "model"
CHECKPOINT = "checkpoint"
MODEL_CODE = Path(__file__).with_name("logged_model.py")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "text")]),
    outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
)
EXAMPLE = "What a wonderful evening, thank you all!"
DENIED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version of a model, logged by one run."""

    name: str
    number: str
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """``models:/NAME/NUMBER``, which does not move as an alias does."""
        return f"models:/{self.name}/{self.number}"


class Registry:
    """Runs and registered versions at one tracking URI; create it with :meth:`connect`.

    Attributes:
        uri: the tracking URI with user and password masked, for messages.
    """

    def __init__(self, uri: str) -> None:
        self.uri = masked(uri)
        self._client = mlflow.MlflowClient(tracking_uri=uri)

    @classmethod
    def connect(cls, root: Path = ROOT) -> Registry:
        """Point MLflow, globally, at the URI; raises :class:`ModelingError` if it does not answer or denies access."""
        uri = os.environ.get(URI_VARIABLE) or f"{SQLITE}{root / 'build' / 'mlflow.db'}"
        # Otherwise they log every table they create and every version they wait for.
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if uri.startswith(SQLITE):
            _check_database(uri)
        with plain_errors(uri):
            mlflow.set_tracking_uri(uri)
            registry = cls(uri)
            registry._client.search_registered_models(max_results=1)
        return registry

    def version_of(self, name: str, alias: str) -> Version | None:
        """The version of ``name`` with ``alias``; None if there is no such model or alias."""
        model = self._found(lambda: self._client.get_registered_model(name))
        number = model.aliases.get(alias) if model else None
        return None if number is None else self.version(name, str(number))

    def version(self, name: str, number: str) -> Version | None:
        """A version by number; None if it does not exist."""
        found = self._found(lambda: self._client.get_model_version(name, number))
        return _version(found) if found else None

    def versions(self, name: str) -> list[Version]:
        """All versions of ``name``, oldest first; empty if there is no such model."""
        with plain_errors(self.uri):
            found = self._client.search_model_versions(f"name='{name}'")
        return sorted(map(_version, found), key=lambda version: int(version.number))

    def register(self, name: str, run_id: str, model_uri: str, tags: Mapping[str, str]) -> Version:
        """Register the model that a run logged at ``model_uri`` as the next version of ``name``."""
        with plain_errors(self.uri):
            made = mlflow.register_model(model_uri, name, tags=dict(tags))
        return Version(name, str(made.version), run_id, dict(tags))

    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Move ``alias`` to a version."""
        with plain_errors(self.uri):
            self._client.set_registered_model_alias(name, alias, number)

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove ``alias``, if it is set."""
        with plain_errors(self.uri):
            self._client.delete_registered_model_alias(name, alias)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags on a version and keep its other tags."""
        with plain_errors(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, version.number, key, value)

    @contextmanager
    def run(self, experiment: str, name: str) -> Iterator[str]:
        """Record a run, to which ``mlflow.log_params`` and others write; yields its id. An exception fails the run."""
        found = commit()
        git = {MLFLOW_GIT_COMMIT: found["commit"], "git.changed_files": found["changed_files"]} if found else {}
        with plain_errors(self.uri):
            if self._client.get_experiment_by_name(experiment) is None:
                # A server has its own artifact location; with a database MLflow would use the current folder.
                local = self.uri.startswith(SQLITE)
                location = Path(self.uri.removeprefix(SQLITE)).absolute().with_suffix("").as_uri() if local else None
                self._client.create_experiment(experiment, artifact_location=location)
            mlflow.set_experiment(experiment)
            with mlflow.start_run(run_name=name, tags=git) as run:
                yield run.info.run_id

    def _found(self, get: Callable[[], Any]) -> Any:
        with plain_errors(self.uri):
            try:
                return get()
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise


def log_checkpoint(checkpoint: Path, max_tokens: int) -> str:
    """Log a checkpoint as the model of the current run, a pyfunc with :data:`SIGNATURE`, and return its URI."""
    logged = mlflow.pyfunc.log_model(
        name=MODEL,
        python_model=str(MODEL_CODE),
        artifacts={CHECKPOINT: str(checkpoint)},
        model_config={"max_tokens": max_tokens},
        signature=SIGNATURE,
        input_example=pandas.DataFrame({"text": [EXAMPLE]}),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("mlflow", "torch", "transformers")],
    )
    return str(logged.model_uri)


@contextmanager
def plain_errors(uri: str) -> Iterator[None]:
    """Turn MLflow's errors, and those of its HTTP client, into a :class:`ModelingError` of one line with the fix."""
    try:
        yield
    except (MlflowException, RequestException) as error:
        # MLflow's own message may have the address too.
        raise ModelingError(masked(_explain(uri, error))) from error


def _explain(uri: str, error: MlflowException | RequestException) -> str:
    user, code = os.environ.get("MLFLOW_TRACKING_USERNAME"), getattr(error, "error_code", None)
    if code == "PERMISSION_DENIED":
        return f"MLflow at {uri}: the user {user} has no write access; request it from the administrator"
    if code in DENIED:
        rejected = f"the password of the user {user}" if user else "requests without a user"
        return f"MLflow at {uri} rejects {rejected}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    silent = isinstance(error, RequestException) or isinstance(error.__context__, RequestException)
    if silent or "failed with exception" in str(error):
        return f"MLflow at {uri} does not answer; start it, set {URI_VARIABLE} to another, or unset it to use build/"
    return f"MLflow at {uri}: {str(error).splitlines()[0]}"


def _check_database(uri: str) -> None:
    """Check that SQLite can open the database: MLflow would retry for minutes."""
    file = Path(uri.removeprefix(SQLITE))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("pragma schema_version")
    except (OSError, sqlite3.Error) as error:
        raise ModelingError(f"MLflow at {uri}: {error}; set {URI_VARIABLE} to a writable database") from error


def _version(found: ModelVersion) -> Version:
    return Version(found.name, str(found.version), found.run_id or None, dict(found.tags or {}))
