"""What a model must be before it is put into use, decided in one place for evaluate.py, which shows it, and promote.py,
which refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modeling.evaluation import fidelity
from modeling.spec import ModelSpec

# The calibration error of a perfectly calibrated model is not 0 on few texts: with 15 bins it is about 0.03 on 500.
MIN_CALIBRATION_TEXTS = 500


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit of the spec, and what was measured.

    ``limit`` and ``measured`` are in the unit of the spec. ``applies`` is False where there is nothing to hold it
    against, such as a model in use; ``note`` says why, or adds what the numbers do not say.
    """

    name: str
    measured: float | None
    limit: float
    at_most: bool
    applies: bool = True
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the gate is passed. What should have been measured and was not is not passed."""
        if not self.applies:
            return True
        if self.measured is None:
            return False
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    @property
    def verdict(self) -> str:
        """The measurement beside its limit and, where the gate is not passed, by how much."""
        if not self.applies:
            return f"not asked: {self.note}"
        sign = "at most" if self.at_most else "at least"
        if self.measured is None:
            return f"not measured, {sign} {self.limit:g} is asked" + (f": {self.note}" if self.note else "")
        text = f"{self.measured:.4g}, {sign} {self.limit:g} is asked"
        if not self.holds:
            text += f", {'over' if self.at_most else 'short'} by {abs(self.measured - self.limit):.2g}"
        return f"{text} ({self.note})" if self.note else text


def check(report: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    """Every gate of ``spec`` against the report of verify.py and evaluate.py.

    Raises:
        KeyError: if evaluate.py has not written its sections.
    """
    return [
        *_quality(report["quality"], spec),
        *_behaviour(report["behaviour"], spec),
        _verification(report, spec),
        *_against(report["performance"], spec),
    ]


def _quality(quality: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    gates, found = spec.gates, []
    for language in spec.languages:
        one = quality["languages"].get(language)
        note = "" if one else f"there are no labelled texts; write models/{spec.name}/test-{language}.jsonl"
        score = one and one["macro_f1"]
        bound = one and one["macro_f1_interval"][0]
        found.append(Gate(f"macro-F1, {language}", score, gates.min_macro_f1, at_most=False, note=note))
        found.append(
            Gate(f"macro-F1, {language}, lower end", bound, gates.min_macro_f1_bound, at_most=False, note=note)
        )
    calibration = quality.get("calibration")
    enough = bool(calibration and calibration["texts"] >= MIN_CALIBRATION_TEXTS)
    note = "" if enough else f"it takes {MIN_CALIBRATION_TEXTS} labelled texts of a language"
    ece = calibration["ece"] if calibration else None
    return [*found, Gate("calibration error", ece, gates.max_ece, at_most=True, applies=enough, note=note)]


def _behaviour(behaviour: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    limits = spec.gates.max_failure_rate
    kinds = {
        "minimum functionality": limits.minimum_functionality,
        "invariance": limits.invariance,
        "direction": limits.direction,
    }
    found = []
    for language in spec.languages:
        tested = language not in behaviour["not_tested"]
        note = "" if tested else f"behaviour.yaml has no tests of the language {language}"
        rates = behaviour["failure_rates"].get(language, {})
        found += [
            Gate(f"{kind}, {language}, failures", rates.get(kind), limit, at_most=True, applies=tested, note=note)
            for kind, limit in kinds.items()
        ]
    return found


def _verification(report: dict[str, Any], spec: ModelSpec) -> Gate:
    verification = report.get("verification")
    name = "limits of fidelity that do not hold"
    if verification is None:
        return Gate(name, None, 0, at_most=True, note=f"run python -m scripts.verify {spec.name}")
    problems = fidelity.problems(verification, spec)
    if verification["identity"] != report["evaluation"]["identity"]:
        problems.append(f"other files were verified than evaluated; run python -m scripts.verify {spec.name}")
    return Gate(name, len(problems), 0, at_most=True, note="; ".join(problems))


def _against(performance: dict[str, Any], spec: ModelSpec) -> list[Gate]:
    gates, against = spec.gates, performance["against"]
    none = "" if against else "there is no model in use to compare with"
    megabytes = sum(performance["bytes"].values()) / 1e6
    found = [Gate("megabytes", megabytes, gates.max_megabytes, at_most=True)]
    for language in spec.languages:
        lost = against["languages"].get(language, {}).get("f1_loss") if against else None
        note = none or ("" if lost is not None else f"the model in use was not measured on {language}")
        found.append(
            Gate(
                f"macro-F1 lost, {language}",
                lost,
                gates.max_f1_loss,
                at_most=True,
                applies=lost is not None,
                note=note,
            )
        )
    speed = against["relative_speed"] if against else None
    found.append(
        Gate("relative speed", speed, gates.min_relative_speed, at_most=False, applies=bool(against), note=none)
    )
    return found
