"""The gates that a model must pass before promotion: evaluate.py prints them, promote.py enforces them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modeling.evaluation import fidelity
from modeling.spec import ModelSpec

# On few texts even a perfectly calibrated model has a calibration error: with 15 bins about 0.03 on 500 texts.
MIN_CALIBRATION_TEXTS = 500


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit of the spec and the measured value; ``note`` says why it does not apply (is skipped), or why it fails."""

    name: str
    measured: float | None
    limit: float
    at_most: bool
    applies: bool = True
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the gate passes. A value that should have been measured and was not fails."""
        if not self.applies:
            return True
        if self.measured is None:
            return False
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    @property
    def verdict(self) -> str:
        """The measured value, the limit and, if the gate fails, the distance between them."""
        if not self.applies:
            return f"skipped: {self.note}"
        limit = f"must be at {'most' if self.at_most else 'least'} {self.limit:g}"
        if self.measured is None:
            return f"not measured, {limit}" + (f": {self.note}" if self.note else "")
        text = f"{self.measured:.4g}, {limit}"
        if not self.holds:
            text += f", {'over' if self.at_most else 'short'} by {abs(self.measured - self.limit):.2g}"
        return f"{text} ({self.note})" if self.note else text


def check(report: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    """Every gate of ``spec``, on a report with the sections of evaluate.py, and of verify.py if it has run."""
    return [
        *_quality(report["quality"], spec),
        *_behaviour(report["behaviour"], spec),
        _verification(report, spec),
        *_against(report["performance"], spec),
    ]


def _quality(quality: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    gates, found = spec.gates, []
    for language in spec.languages:
        measured = quality["languages"].get(language)
        note = "" if measured else f"no labelled texts; write models/{spec.name}/test-{language}.jsonl"
        score = measured and measured["macro_f1"]
        bound = measured and measured["macro_f1_interval"][0]
        found += [
            Gate(f"macro-F1, {language}", score, gates.min_macro_f1, at_most=False, note=note),
            Gate(f"macro-F1, {language}, lower end", bound, gates.min_macro_f1_bound, at_most=False, note=note),
        ]
    calibration = quality.get("calibration")
    enough = bool(calibration and calibration["texts"] >= MIN_CALIBRATION_TEXTS)
    note = "" if enough else f"requires {MIN_CALIBRATION_TEXTS} labelled texts of a language"
    ece = calibration["ece"] if calibration else None
    return [*found, Gate("calibration error", ece, gates.max_ece, at_most=True, applies=enough, note=note)]


def _behaviour(behaviour: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    limits = {kind.replace("_", " "): limit for kind, limit in spec.gates.max_failure_rate.model_dump().items()}
    found = []
    for language in spec.languages:
        tested = language not in behaviour["not_tested"]
        note = "" if tested else f"behaviour.yaml has no tests for the language {language}"
        rates = behaviour["failure_rates"].get(language, {})
        found += [
            Gate(f"{kind}, {language}, failures", rates.get(kind), limit, at_most=True, applies=tested, note=note)
            for kind, limit in limits.items()
        ]
    return found


def _verification(report: dict[str, Any], spec: ModelSpec) -> Gate:
    verification = report.get("verification")
    name = "failed fidelity limits"
    if verification is None:
        return Gate(name, None, 0, at_most=True, note=f"run python -m scripts.verify {spec.name}")
    problems = fidelity.problems(verification, spec)
    if verification["identity"] != report["evaluation"]["identity"]:
        problems.append(f"the verified files are not the evaluated ones; run python -m scripts.verify {spec.name}")
    return Gate(name, len(problems), 0, at_most=True, note="; ".join(problems))


def _against(performance: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    gates, against = spec.gates, performance["against"]
    none = "" if against else "no model in use to compare with"
    megabytes = sum(performance["bytes"].values()) / 1e6
    found = [Gate("megabytes", megabytes, gates.max_megabytes, at_most=True)]
    for language in spec.languages:
        lost = against["languages"].get(language, {}).get("f1_loss") if against else None
        applies, name = lost is not None, f"macro-F1 lost, {language}"
        note = none or ("" if applies else f"the model in use was not measured on {language}")
        found.append(Gate(name, lost, gates.max_f1_loss, at_most=True, applies=applies, note=note))
    speed, limit = against["relative_speed"] if against else None, gates.min_relative_speed
    return [*found, Gate("relative speed", speed, limit, at_most=False, applies=bool(against), note=none)]
