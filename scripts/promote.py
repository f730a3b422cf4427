"""Put the evaluated version of a model into use, if every gate of its spec holds; or go back to the one before.

    python -m scripts.promote sentiment-en-head
    python -m scripts.promote sentiment-en-head --rollback

Moves the alias "staging" to "champion" in the registry (MLFLOW_TRACKING_URI, or build/mlflow.db). Refused is a model

- that scripts/evaluate.py has not measured, or that changed since;
- for which a gate does not hold: each is named, with what was measured and by how much it misses;
- that comes from another version than the one that has "staging" now, or was verified beside another checkpoint;
- that was compared with another version than the one that has "champion" now.

The version gets tags that say who, when, instead of which version, on which report (its SHA-256) and commit; what is
served, the report and its page go to the artifacts of its run. modeling/registry/champion.py has the tags, and what
several roll backs in a row do.

Exit codes: 0 done, 1 something is missing, changed or not reached, 2 a gate does not hold.
"""

from __future__ import annotations

import getpass
import os
import sys
from datetime import UTC, datetime
from typing import Any

from modeling.environment import commit
from modeling.errors import ModelingError
from modeling.evaluation import fidelity, gates
from modeling.evaluation.gates import Gate
from modeling.files import REPORT_FILE, ModelFiles, sha256
from modeling.registry import champion, served
from modeling.registry.versions import CHAMPION, Registry, Version
from scripts.command import parser
from textserve.spec import SpecError

SECTIONS = ("quality", "behaviour", "performance", "evaluation")


class GatesError(Exception):
    """Gates that do not hold."""

    def __init__(self, failed: list[Gate]) -> None:
        super().__init__("\n".join(f"{gate.name}: {gate.verdict}" for gate in failed))


def promote(files: ModelFiles, registry: Registry, *, by: str, at: str) -> Version:
    """Move the aliases and record it, and return the version that is in use now.

    Raises:
        ModelingError: if something is missing, changed or not reached.
        GatesError: if gates do not hold.
        SpecError: if the spec is not valid.
    """
    spec, report = files.spec(), files.report()
    again = f"run python -m scripts.evaluate {spec.name}"
    if not all(section in report for section in SECTIONS):
        raise ModelingError(f"{files.folder / REPORT_FILE}: the model was not evaluated; {again}")
    evaluation = report["evaluation"]
    for key, now in fidelity.identity(spec, files.digests()).items():
        if evaluation["identity"].get(key) != now:
            raise ModelingError(f"{files.folder}: {key} changed after the model was evaluated; {again}")
    if failed := [gate for gate in gates.check(report, spec) if not gate.holds]:
        raise GatesError(failed)
    version = _evaluated(registry, evaluation, spec.name)
    served.check_origin(version, report)
    _check_compared(registry.version_of(version.name, CHAMPION), report["performance"]["against"], again)
    champion.check(registry, version)
    digest = sha256(files.folder / REPORT_FILE)
    tags = {
        "champion.report": digest,
        champion.FILES: served.upload(registry, version, files, digest),
        **{f"champion.{key}": value for key, value in commit().items()},
    }
    champion.promote(registry, version, by=by, at=at, tags=tags)
    return version


def _evaluated(registry: Registry, evaluation: dict[str, Any], model: str) -> Version:
    registered = evaluation["registered"]
    if registered is None:
        raise ModelingError(
            f"models/{model} does not come from a registered version; train it, or download models:/NAME@staging"
        )
    version = registry.version(registered["name"], registered["version"])
    if version is None:
        raise ModelingError(f"{registry.uri} has no version {registered['version']} of {registered['name']}")
    return version


def _check_compared(in_use: Version | None, against: dict[str, Any] | None, again: str) -> None:
    """Refuse a comparison with another version than the one in use; one without its files cannot be compared with."""
    if in_use is None or champion.FILES not in in_use.tags:
        return
    compared = against["version"] if against else None
    if compared != in_use.number:
        what = f"version {compared}" if compared else "another model" if against else "nothing"
        raise ModelingError(f"{in_use.name}: compared with {what}, but version {in_use.number} is in use; {again}")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--rollback", action="store_true", help="give champion back to the version that had it before")
    options = args.parse_args(arguments)
    who, now = _user(), datetime.now(UTC).isoformat(timespec="seconds")
    try:
        files = ModelFiles.of(options.model)
        registry = Registry.connect(files.build.parents[1])
        if options.rollback:
            name = (served.origin(files) or {"name": options.model})["name"]
            old, new = champion.roll_back(registry, name, by=who, at=now)
            print(f"{name}: {CHAMPION} is version {new.number} again, no longer version {old.number}")
        else:
            version = promote(files, registry, by=who, at=now)
            print(f"{version.name}: {CHAMPION} is version {version.number}")
    except GatesError as error:
        for line in str(error).splitlines():
            print(f"REFUSED  {line}", file=sys.stderr)
        return 2
    except (ModelingError, SpecError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _user() -> str:
    """Whom the registry knows, or else the system."""
    return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()


if __name__ == "__main__":
    sys.exit(main())
