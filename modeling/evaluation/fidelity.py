"""The limits of fidelity to the source: verify.py measures and checks them, save.py and the gates check them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modeling.spec import Fidelity, ModelSpec

# Linux' names of the instructions that multiply 8-bit integers and add the products in one step: VNNI on x86-64, SDOT
# and UDOT on ARM. Without them ONNX Runtime's 8-bit kernels need several steps.
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})


def speedup_limit(limits: Fidelity, cpu_flags: Iterable[str]) -> tuple[str, float]:
    """The key of the spec with the required speed-up on a processor with these instructions, and its value."""
    if DOT_PRODUCTS.isdisjoint(cpu_flags) and limits.min_speedup_without_vnni < limits.min_speedup:
        return "min_speedup_without_vnni", limits.min_speedup_without_vnni
    return "min_speedup", limits.min_speedup


def problems(verification: dict[str, Any], spec: ModelSpec) -> list[str]:
    """A line for each limit of ``spec.fidelity`` that fails; empty if the model may be used."""
    limits, texts, agreement = spec.fidelity, verification["texts"], verification["agreement"]
    loss, speedup = verification.get("f1_loss", 0.0), verification["speedup"]
    key, min_speedup = speedup_limit(limits, verification.get("cpu_flags", []))
    change, max_change = verification["batches"]["largest_difference"], limits.max_batch_difference
    checks = [
        (texts >= limits.texts, f"compared on {texts} texts, fidelity.texts requires {limits.texts}"),
        (agreement >= limits.min_agreement, f"agreement is {agreement:.4f}, min_agreement is {limits.min_agreement}"),
        (loss <= limits.max_f1_loss, f"macro-F1 lost is {loss:.4f}, max_f1_loss is {limits.max_f1_loss}"),
        (speedup >= min_speedup, f"speed-up is {speedup:.2f}, {key} is {min_speedup}"),
        (change <= max_change, f"a batch changes a probability by {change:.1e}, max_batch_difference is {max_change}"),
    ]
    return [problem for holds, problem in checks if not holds]
