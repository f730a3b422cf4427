"""The gates that a model must pass before promotion: evaluate.py prints them, promote.py enforces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modeling.evaluation import fidelity
from modeling.evaluation.names import LOSS, MAIN, TITLES
from modeling.spec import Gates, ModelSpec
from modeling.texts import SEVERAL

# On few texts even a perfectly calibrated model has a calibration error: with 15 bins about 0.03 on 500 texts.
MIN_CALIBRATION_TEXTS = 500
# The limits of a metric and of the lower end of its interval.
LIMITS: Mapping[str, Callable[[Gates], tuple[float, float]]] = {
    "macro_f1": lambda gates: (gates.min_macro_f1, gates.min_macro_f1_bound),
    "micro_f1": lambda gates: (gates.min_micro_f1, gates.min_micro_f1_bound),
    "rank_correlation": lambda gates: (gates.min_rank_correlation, gates.min_rank_correlation_bound),
}


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
        """Whether the gate passes; if it applies, a missing measurement fails."""
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
        *_against(report, spec),
    ]


def _quality(quality: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    found = [gate for language in _measured(quality, spec) for gate in _scores(quality, spec, language)]
    if spec.problem_type != "single_label_classification" or spec.activation == "none":
        return found
    # On few texts the calibration error is mostly chance.
    calibrated = {
        language: measured["ece"]
        for language, measured in quality["languages"].items()
        if "ece" in measured and measured["texts"] >= MIN_CALIBRATION_TEXTS
    }
    if not calibrated:
        note = f"requires {MIN_CALIBRATION_TEXTS} labelled texts of a language"
        return [*found, Gate("calibration error", None, spec.gates.max_ece, at_most=True, applies=False, note=note)]
    return found + [
        Gate(f"calibration error, {language}", ece, spec.gates.max_ece, at_most=True)
        for language, ece in calibrated.items()
    ]


def _measured(quality: dict[str, Any], spec: ModelSpec) -> list[str]:
    """The languages of the model; SEVERAL stands for all that were only measured together."""
    several = SEVERAL in quality["languages"]
    keys = (SEVERAL if several and each not in quality["languages"] else each for each in spec.languages)
    return list(dict.fromkeys(keys))


def _scores(quality: dict[str, Any], spec: ModelSpec, language: str) -> list[Gate]:
    key, gates, measured = MAIN[spec.problem_type], spec.gates, quality["languages"].get(language)
    name, least, bound = f"{TITLES[key]}, {language}", *LIMITS[key](gates)
    note = "" if measured else f"no labelled texts; write models/{spec.name}/test-{language}.jsonl"
    score, low = (measured[key], measured[f"{key}_interval"][0]) if measured else (None, None)
    found = [
        Gate(name, score, least, at_most=False, note=note),
        Gate(f"{name}, lower end", low, bound, at_most=False, note=note),
    ]
    if spec.problem_type == "regression" and gates.max_rmse is not None:
        error = measured and measured["rmse"]
        found.append(Gate(f"{TITLES['rmse']}, {language}", error, gates.max_rmse, at_most=True, note=note))
    return found


def _behaviour(behaviour: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    limits = {kind.replace("_", " "): limit for kind, limit in spec.gates.max_failure_rate.model_dump().items()}
    found = []
    for language in spec.languages:
        tested = language not in behaviour["not_tested"]
        note = "" if tested else f"behaviour.yaml has no tests for the language {language}"
        rates = behaviour["failure_rates"].get(language, {})
        for kind, limit in limits.items():
            # A task has tests of every kind; a model without a task chooses what to test.
            applies = tested and (kind in rates or spec.task is not None)
            why = note if applies or note else "behaviour.yaml has no tests of this kind"
            name = f"{kind}, {language}, failures"
            found.append(Gate(name, rates.get(kind), limit, at_most=True, applies=applies, note=why))
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


def _against(report: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    performance = report["performance"]
    gates, against = spec.gates, performance["against"]
    none = "" if against else "no model in use to compare with"
    megabytes = sum(performance["bytes"].values()) / 1e6
    found = [Gate("megabytes", megabytes, gates.max_megabytes, at_most=True)]
    key, title = LOSS[spec.problem_type], TITLES[MAIN[spec.problem_type]]
    limit = gates.max_rank_correlation_loss if spec.problem_type == "regression" else gates.max_f1_loss
    for language in _measured(report["quality"], spec):
        lost = against["languages"].get(language, {}).get(key) if against else None
        applies, name = lost is not None, f"{title} lost, {language}"
        note = none or ("" if applies else f"the model in use was not measured on {language}")
        found.append(Gate(name, lost, limit, at_most=True, applies=applies, note=note))
    speed, limit = against["relative_speed"] if against else None, gates.min_relative_speed
    return [*found, Gate("relative speed", speed, limit, at_most=False, applies=bool(against), note=none)]
