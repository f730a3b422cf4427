"""Promote a model: check its gates and its report, record the promotion and move the aliases."""

from __future__ import annotations

from typing import Any

from modeling.environment import commit
from modeling.errors import ModelingError
from modeling.evaluation import gates
from modeling.evaluation.gates import Gate
from modeling.files import ModelFiles, check_identity, sha256
from modeling.registry import champion, served
from modeling.registry.versions import CHAMPION, Registry, Version

SECTIONS = ("quality", "behaviour", "performance", "evaluation")


class GatesError(Exception):
    """The gates that fail, one per line."""

    def __init__(self, failed: list[Gate]) -> None:
        super().__init__("\n".join(f"FAIL  {gate.name}: {gate.verdict}" for gate in failed))


def promote(files: ModelFiles, registry: Registry, *, by: str, at: str) -> Version:
    """Make the evaluated version the champion by user ``by`` at ``at`` (UTC, ISO 8601), and return that version.

    Raises :class:`GatesError` if gates fail, and :class:`ModelingError` if the report is missing or outdated, the
    version is not the candidate, or the registry fails.
    """
    spec, report = files.spec(), files.report()
    if not all(section in report for section in SECTIONS):
        raise ModelingError(
            f"{files.report_file}: the model is not evaluated; run python -m scripts.evaluate {spec.name}"
        )
    evaluation = report["evaluation"]
    check_identity(files, evaluation, "evaluate")
    if failed := [gate for gate in gates.check(report, spec) if not gate.holds]:
        raise GatesError(failed)
    registered = evaluation["registered"]
    if registered is None:
        raise ModelingError(
            f"models/{spec.name} does not come from a registered version; train it, or download models:/NAME@staging"
        )
    version = registry.version(registered["name"], registered["version"])
    if version is None:
        raise ModelingError(f"{registry.uri} has no version {registered['version']} of {registered['name']}")
    served.check_origin(version, report)
    _check_compared(registry.version_of(version.name, CHAMPION), report["performance"]["against"], spec.name)
    champion.check(registry, version)
    digest = sha256(files.report_file)
    tags = {
        "champion.report": digest,
        champion.FILES: served.upload(registry, version, files, digest),
        **{f"champion.{key}": value for key, value in commit().items()},
    }
    champion.promote(registry, version, by=by, at=at, tags=tags)
    return version


def _check_compared(in_use: Version | None, against: dict[str, Any] | None, model: str) -> None:
    """Reject a comparison with any version but the champion. A champion without stored files cannot be compared."""
    if in_use is None or champion.FILES not in in_use.tags:
        return
    compared = against["version"] if against else None
    if compared != in_use.number:
        other = f"version {compared}" if compared else "another model" if against else "nothing"
        raise ModelingError(
            f"{in_use.name}: compared with {other}, but the {CHAMPION} is version {in_use.number}; "
            f"run python -m scripts.evaluate {model}"
        )
