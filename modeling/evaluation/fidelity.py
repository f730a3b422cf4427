"""The limits of fidelity to the source: verify.py measures and checks it, save.py and the gates check it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modeling.evaluation.names import MAIN, TITLES
from modeling.spec import Fidelity, ModelSpec

# Linux' names of the instructions that multiply 8-bit integers and add the products in one step: VNNI on x86-64, SDOT
# and UDOT on ARM. Without them ONNX Runtime's 8-bit kernels need several steps.
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})


def speedup_limit(limits: Fidelity, cpu_flags: Iterable[str]) -> tuple[str, float]:
    """The key of the spec with the required speed-up on a processor with these instructions, and its value."""
    if DOT_PRODUCTS.isdisjoint(cpu_flags) and limits.min_speedup_without_vnni < limits.min_speedup:
        return "min_speedup_without_vnni", limits.min_speedup_without_vnni
    return "min_speedup", limits.min_speedup


def advice(problems: Sequence[str]) -> str:
    """What to change in model.yaml so that a model with these ``problems`` may pass."""
    tries = []
    if any(word in problem for problem in problems for word in ("agreement", "-F1", "rank correlation", "source by")):
        tries += [
            "more calibration texts like those to serve (quantization.calibration_texts, --texts of export)",
            "a lower quantization.outlier_ratio, which computes more channels in float",
            "quantization.method: none, which serves the float32 graph",
        ]
    if any("speed-up" in problem for problem in problems):
        tries.append("an idle machine; or a lower limit in the fidelity section, if this speed is enough for you")
    if any("compared on" in problem for problem in problems):
        tries.append("more labelled texts, in models/NAME/test.jsonl or test-LANGUAGE.jsonl, or --texts of verify")
    if any("a batch changes" in problem for problem in problems):
        tries.append("the other tokenization.padding_side")
        tries.append("graph.attention_mask: null, if the network ignores its mask")
    return "Try " + ";\n    or ".join(tries)


def problems(verification: dict[str, Any], spec: ModelSpec) -> list[str]:
    """One line per limit of ``spec.fidelity`` that the model violates; empty if it may be used."""
    limits, texts, speedup = spec.fidelity, verification["texts"], verification["speedup"]
    key, min_speedup = speedup_limit(limits, verification.get("cpu_flags", []))
    change, max_change = verification["batches"]["largest_difference"], limits.max_batch_difference
    # A model served in float has no speed-up.
    quantized = verification.get("quantized", spec.quantization.method != "none")
    fast = speedup >= min_speedup or not quantized
    checks = [
        (texts >= limits.texts, f"compared on {texts} texts, fidelity.texts requires {limits.texts}"),
        *(_number(verification, limits) if spec.problem_type == "regression" else _labels(verification, spec)),
        (fast, f"speed-up is {speedup:.2f}, {key} is {min_speedup}"),
        (change <= max_change, f"a batch changes a probability by {change:.1e}, max_batch_difference is {max_change}"),
    ]
    return [problem for holds, problem in checks if not holds]


def _labels(verification: dict[str, Any], spec: ModelSpec) -> list[tuple[bool, str]]:
    limits, loss = spec.fidelity, verification.get("f1_loss", 0.0)
    average = TITLES[MAIN[spec.problem_type]]
    # With few texts of a language, a single changed answer could exceed the limit.
    parts = {
        f"agreement in {name}": found["agreement"]
        for name, found in verification.get("languages", {}).items()
        if found["texts"] >= limits.texts
    }
    return [
        *(
            (agreement >= limits.min_agreement, f"{name} is {agreement:.4f}, min_agreement is {limits.min_agreement}")
            for name, agreement in {"agreement": verification["agreement"], **parts}.items()
        ),
        (loss <= limits.max_f1_loss, f"{average} lost is {loss:.4f}, max_f1_loss is {limits.max_f1_loss}"),
    ]


def _number(verification: dict[str, Any], limits: Fidelity) -> list[tuple[bool, str]]:
    ranks, most = verification["rank_correlation"], limits.max_difference
    difference = verification["largest_difference"]
    return [
        (
            ranks >= limits.min_rank_correlation,
            f"rank correlation with the source is {ranks:.4f}, min_rank_correlation is {limits.min_rank_correlation}",
        ),
        (
            most is None or difference <= most,
            f"differs from the source by {difference:.3g} at most, max_difference is {most}",
        ),
    ]
