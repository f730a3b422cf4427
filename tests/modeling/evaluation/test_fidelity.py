from __future__ import annotations

from typing import Any

import pytest

from modeling.evaluation.fidelity import advice, problems
from modeling.spec import ModelSpec

AT_THE_LIMITS: dict[str, Any] = {
    "texts": 50,
    "agreement": 0.99,
    "f1_loss": 0.005,
    "speedup": 2.5,
    "cpu_flags": ["avx2", "avx512_vnni"],
    "batches": {"largest_difference": 1e-4},
}


@pytest.fixture
def spec(spec_content: dict[str, Any]) -> ModelSpec:
    spec_content["fidelity"] = {
        "texts": 50,
        "min_agreement": 0.99,
        "max_f1_loss": 0.005,
        "min_speedup": 2.5,
        "min_speedup_without_vnni": 1.5,
        "max_batch_difference": 1e-4,
    }
    return ModelSpec.model_validate(spec_content)


def test_a_model_exactly_at_every_limit_passes(spec: ModelSpec) -> None:
    assert problems(AT_THE_LIMITS, spec) == []


@pytest.mark.parametrize(
    ("outside", "named"),
    [
        ({"texts": 49}, "fidelity.texts requires 50"),
        ({"languages": {"pl": {"texts": 50, "agreement": 0.98}}}, "agreement in pl is 0.9800, min_agreement is 0.99"),
        ({"agreement": 0.9899}, "agreement is 0.9899, min_agreement is 0.99"),
        ({"f1_loss": 0.0051}, "macro-F1 lost is 0.0051, max_f1_loss is 0.005"),
        ({"speedup": 2.49}, "speed-up is 2.49, min_speedup is 2.5"),
        ({"speedup": 2.49, "cpu_flags": ["asimd", "asimddp"]}, "speed-up is 2.49, min_speedup is 2.5"),
        ({"speedup": 1.49, "cpu_flags": ["avx2", "fma"]}, "speed-up is 1.49, min_speedup_without_vnni is 1.5"),
        ({"batches": {"largest_difference": 1.1e-4}}, "by 1.1e-04, max_batch_difference is 0.0001"),
    ],
)
def test_a_value_outside_a_limit_is_named_with_the_limit(spec: ModelSpec, outside: dict[str, Any], named: str) -> None:
    (problem,) = problems(AT_THE_LIMITS | outside, spec)
    assert named in problem


def test_the_agreement_of_a_few_texts_of_a_language_is_no_limit(spec: ModelSpec) -> None:
    assert problems(AT_THE_LIMITS | {"languages": {"pl": {"texts": 49, "agreement": 0.5}}}, spec) == []


@pytest.mark.parametrize("cpu_flags", [["avx2", "fma"], ["avx512f"], ["asimd"], []])
def test_without_dot_products_of_8_bit_integers_the_lower_speed_up_suffices(
    spec: ModelSpec, cpu_flags: list[str]
) -> None:
    assert problems(AT_THE_LIMITS | {"speedup": 1.5, "cpu_flags": cpu_flags}, spec) == []


def test_a_limit_below_the_one_without_vnni_applies_everywhere(spec_content: dict[str, Any]) -> None:
    spec = ModelSpec.model_validate(spec_content | {"fidelity": {"texts": 50, "min_speedup": 0.9}})
    slower = AT_THE_LIMITS | {"speedup": 0.95}
    assert problems(slower | {"cpu_flags": []}, spec) == []
    (problem,) = problems(slower | {"speedup": 0.8, "cpu_flags": []}, spec)
    assert "min_speedup is 0.9" in problem


def test_every_failed_limit_is_named(spec: ModelSpec) -> None:
    worst = {"texts": 1, "agreement": 0.0, "f1_loss": 1.0, "speedup": 0.0, "batches": {"largest_difference": 1.0}}
    assert len(problems(AT_THE_LIMITS | worst, spec)) == 5


def test_texts_without_labels_have_no_f1_loss(spec: ModelSpec) -> None:
    unlabelled = {key: value for key, value in AT_THE_LIMITS.items() if key != "f1_loss"}
    assert problems(unlabelled, spec) == []


@pytest.mark.parametrize(
    ("outside", "tries"),
    [
        ({"agreement": 0.5}, ["calibration_texts", "outlier_ratio", "quantization.method: none"]),
        ({"f1_loss": 0.5}, ["calibration_texts", "outlier_ratio", "quantization.method: none"]),
        ({"speedup": 0.1}, ["idle machine"]),
        ({"texts": 1}, ["test-LANGUAGE.jsonl"]),
        ({"batches": {"largest_difference": 1.0}}, ["attention_mask: null"]),
    ],
)
def test_for_every_limit_that_fails_there_is_something_to_try(
    spec: ModelSpec, outside: dict[str, Any], tries: list[str]
) -> None:
    found = advice(problems(AT_THE_LIMITS | outside, spec))
    assert [words for words in tries if words not in found] == []
    others = {"quantization.method: none", "idle machine", "test-LANGUAGE.jsonl", "attention_mask: null"} - {*tries}
    assert [words for words in others if words in found] == []


def test_what_is_served_in_float_needs_no_speedup(spec_content: dict[str, Any]) -> None:
    spec = ModelSpec.model_validate(spec_content | {"fidelity": {"texts": 50, "min_speedup": 2.5}})
    slow = AT_THE_LIMITS | {"speedup": 1.0}
    assert problems(slow | {"quantized": False}, spec) == []
    (problem,) = problems(slow | {"quantized": True}, spec)
    assert "speed-up is 1.00" in problem
