from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.evaluation import gates
from modeling.files import ModelFiles
from modeling.spec import ModelSpec

IDENTITY = {"sha256": {"model.onnx": "a"}}
FAILURES = {"minimum functionality": 0.25, "invariance": 0.15, "direction": 0.15}
MORE_FAILURES = FAILURES | {"minimum functionality": 0.3}
# Every value exactly at the default limit, which passes.
AT_THE_LIMITS: dict[str, Any] = {
    "quality": {
        "languages": {
            "en": {"macro_f1": 0.6, "macro_f1_interval": [0.5, 0.7], "texts": 500, "ece": 0.05},
            "pl": {"macro_f1": 0.6, "macro_f1_interval": [0.5, 0.7], "texts": 700, "ece": 0.05},
        },
    },
    "behaviour": {
        "failure_rates": {"en": FAILURES, "pl": dict(FAILURES)},
        "not_tested": [],
    },
    "verification": {
        "identity": IDENTITY,
        "texts": 50,
        "agreement": 0.95,
        "speedup": 0.0,
        "batches": {"largest_difference": 1e-4},
    },
    "performance": {
        "bytes": {"model.onnx": 590_000_000, "tokenizer.json": 10_000_000},
        "against": {"languages": {"en": {"f1_loss": 0.02}, "pl": {"f1_loss": 0.02}}, "relative_speed": 0.8},
    },
    "evaluation": {"identity": IDENTITY},
}


@pytest.fixture
def spec(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> ModelSpec:
    return write_model(tmp_path).spec()


def changed(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(AT_THE_LIMITS)
    *above, last = path.split("/")
    section = report
    for key in above:
        section = section[key]
    section[last] = value
    return report


def failed(report: dict[str, Any], spec: ModelSpec) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in gates.check(report, spec) if not gate.holds}


def test_a_model_exactly_at_every_limit_passes(spec: ModelSpec) -> None:
    assert failed(AT_THE_LIMITS, spec) == {}


@pytest.mark.parametrize(
    ("path", "value", "name", "verdict"),
    [
        ("quality/languages/pl/macro_f1", 0.58, "macro-F1, pl", "0.58, must be at least 0.6, short by 0.02"),
        (
            "quality/languages/en/macro_f1_interval",
            [0.4, 0.8],
            "macro-F1, en, lower end",
            "0.4, must be at least 0.5, ",
        ),
        ("quality/languages/pl/ece", 0.07, "calibration error, pl", "0.07, must be at most 0.05, over by 0.02"),
        ("behaviour/failure_rates/pl/invariance", 0.2, "invariance, pl, failures", "0.2, must be at most 0.15, "),
        (
            "behaviour/failure_rates/en",
            MORE_FAILURES,
            "minimum functionality, en, failures",
            "0.3, must be at most 0.2",
        ),
        ("behaviour/failure_rates/en/direction", 0.16, "direction, en, failures", "0.16, must be at most 0.15, "),
        ("verification/agreement", 0.9, "failed fidelity limits", "1, must be at most 0, over by 1 (agreement is 0.90"),
        ("performance/bytes/model.onnx", 600_000_000, "megabytes", "610, must be at most 600, over by 10"),
        ("performance/against/languages/pl/f1_loss", 0.05, "macro-F1 lost, pl", "0.05, must be at most 0.02, "),
        ("performance/against/relative_speed", 0.5, "relative speed", "0.5, must be at least 0.8, short by 0.3"),
    ],
)
def test_a_failed_gate_is_named_with_its_distance(
    spec: ModelSpec, path: str, value: Any, name: str, verdict: str
) -> None:
    (found,) = failed(changed(path, value), spec).items()
    assert found[0] == name
    assert found[1].startswith(verdict)


def test_the_limits_are_those_of_the_spec(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> None:
    strict = {
        "min_macro_f1": 0.61,
        "min_macro_f1_bound": 0.51,
        "max_f1_loss": 0.01,
        "max_ece": 0.04,
        "max_failure_rate": {"minimum_functionality": 0.24, "invariance": 0.14, "direction": 0.14},
        "max_megabytes": 599,
        "min_relative_speed": 0.9,
    }
    found = gates.check(AT_THE_LIMITS, write_model(tmp_path, gates=strict).spec())
    assert [gate.name for gate in found if gate.holds] == ["failed fidelity limits"]


def test_a_language_without_labelled_texts_fails(spec: ModelSpec) -> None:
    report = copy.deepcopy(AT_THE_LIMITS)
    del report["quality"]["languages"]["pl"]
    found = failed(report, spec)
    assert set(found) == {"macro-F1, pl", "macro-F1, pl, lower end"}
    assert found["macro-F1, pl"].startswith("not measured, must be at least 0.6: no labelled texts")
    assert "models/tiny/test-pl.jsonl" in found["macro-F1, pl"]


def test_the_calibration_of_few_texts_is_skipped(spec: ModelSpec) -> None:
    few = changed("quality/languages/en/texts", 499)
    few["quality"]["languages"]["en"]["ece"] = 0.2
    assert failed(few, spec) == {}
    few["quality"]["languages"]["pl"]["texts"] = 499
    (gate,) = [gate for gate in gates.check(few, spec) if gate.name.startswith("calibration error")]
    assert gate.verdict == "skipped: requires 500 labelled texts of a language"


def test_a_language_without_behavioural_tests_skips_them(spec: ModelSpec) -> None:
    report = changed("behaviour", {"failure_rates": {"en": {"invariance": 0.0}}, "not_tested": ["pl"]})
    found = {gate.name: gate for gate in gates.check(report, spec)}
    assert found["direction, pl, failures"].verdict.startswith("skipped: behaviour.yaml has no tests")
    assert found["invariance, en, failures"].holds
    # But a kind without tests in a tested language was not measured.
    assert not found["direction, en, failures"].holds


def test_without_a_model_in_use_nothing_is_compared(spec: ModelSpec) -> None:
    report = changed("performance/against", None)
    assert failed(report, spec) == {}
    names = {gate.name for gate in gates.check(report, spec) if not gate.applies}
    assert names == {"macro-F1 lost, en", "macro-F1 lost, pl", "relative speed"}


def test_a_verification_that_is_missing_or_of_other_files_fails(spec: ModelSpec) -> None:
    report = copy.deepcopy(AT_THE_LIMITS)
    del report["verification"]
    assert list(failed(report, spec).values()) == ["not measured, must be at most 0: run python -m scripts.verify tiny"]
    found = failed(changed("verification/identity", {"sha256": {"model.onnx": "b"}}), spec)
    assert "the verified files are not the evaluated ones" in found["failed fidelity limits"]


def test_the_default_model_passes_its_gates_with_its_committed_report() -> None:
    files = ModelFiles.of("sentiment-pl-en")
    report = files.report()
    assert [f"{gate.name}: {gate.verdict}" for gate in gates.check(report, files.spec()) if not gate.holds] == []
    limit = files.spec().gates.max_ece
    assert all(language["ece"] <= limit for language in report["quality"]["languages"].values())
    assert report["evaluation"]["identity"]["sha256"] == files.digests()


@pytest.fixture
def spec_of(spec_content: dict[str, Any]) -> Callable[..., ModelSpec]:
    """``spec_of(problem_type, labels, answer, **sections)``: a spec without a task."""

    def make(problem_type: str, labels: list[str], answer: dict[str, Any], **sections: Any) -> ModelSpec:
        golden = [{"text": text, **answer} for text in ("x", "y")]
        changes = {"task": None, "problem_type": problem_type, "labels": labels, "golden": golden}
        return ModelSpec.model_validate(spec_content | changes | sections)

    return make


def report_of(metrics: dict[str, Any], loss: dict[str, float], likeness: dict[str, float]) -> dict[str, Any]:
    """A report on texts of several languages together."""
    verification = {**AT_THE_LIMITS["verification"], **likeness, "largest_difference": 0.3}
    return AT_THE_LIMITS | {
        "quality": {"languages": {"mul": metrics}},
        "behaviour": {"tests": [], "failure_rates": {}, "not_tested": ["en", "pl"]},
        "verification": verification,
        "performance": AT_THE_LIMITS["performance"] | {"against": {"languages": {"mul": loss}, "relative_speed": 0.8}},
    }


def test_of_several_labels_micro_f1_is_checked(spec_of: Callable[..., ModelSpec]) -> None:
    report = report_of({"micro_f1": 0.45, "micro_f1_interval": [0.4, 0.5]}, {"f1_loss": 0.03}, {})
    spec = spec_of("multi_label_classification", ["a", "b"], {"labels": ["a"]})
    assert list(failed(report, spec)) == ["micro-F1, mul", "micro-F1 lost, mul"]
    lower = {"min_micro_f1": 0.45, "max_f1_loss": 0.03}
    assert failed(report, spec_of("multi_label_classification", ["a", "b"], {"labels": ["a"]}, gates=lower)) == {}


def test_of_a_number_rank_correlation_and_if_asked_for_rmse_are_checked(spec_of: Callable[..., ModelSpec]) -> None:
    metrics = {"rank_correlation": 0.7, "rank_correlation_interval": [0.45, 0.8], "rmse": 0.9}
    report = report_of(metrics, {"rank_correlation_loss": 0.03}, {"rank_correlation": 0.98})
    spec = spec_of("regression", ["stars"], {"score": 1.0})
    found = failed(report, spec)
    assert set(found) == {"rank correlation, mul, lower end", "rank correlation lost, mul", "failed fidelity limits"}
    assert "rank correlation with the source is 0.9800" in found["failed fidelity limits"]
    limits = {"min_rank_correlation_bound": 0.4, "max_rank_correlation_loss": 0.03, "max_rmse": 0.8}
    strict = {**spec.fidelity.model_dump(), "min_rank_correlation": 0.9, "max_difference": 0.2}
    spec = spec_of("regression", ["stars"], {"score": 1.0}, gates=limits, fidelity=strict)
    found = failed(report, spec)
    assert set(found) == {"RMSE, mul", "failed fidelity limits"}
    assert "differs from the source by 0.3 at most, max_difference is 0.2" in found["failed fidelity limits"]


def test_without_a_task_a_kind_of_test_may_be_missing(spec_of: Callable[..., ModelSpec]) -> None:
    report = changed("behaviour", {"failure_rates": {"en": {"invariance": 0.2}}, "not_tested": ["pl"]})
    spec = spec_of("single_label_classification", ["a", "b"], {"label": "a"})
    assert list(failed(report, spec)) == ["invariance, en, failures"]
