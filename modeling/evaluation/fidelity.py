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
    limits, batches = spec.fidelity, verification["batches"]
    found = []
    if verification["texts"] < limits.texts:
        found.append(f"compared on {verification['texts']} texts, fidelity.texts requires {limits.texts}")
    if verification["agreement"] < limits.min_agreement:
        found.append(f"agreement is {verification['agreement']:.4f}, min_agreement is {limits.min_agreement}")
    if verification.get("f1_loss", 0.0) > limits.max_f1_loss:
        found.append(f"macro-F1 lost is {verification['f1_loss']:.4f}, max_f1_loss is {limits.max_f1_loss}")
    key, min_speedup = speedup_limit(limits, verification.get("cpu_flags", []))
    if verification["speedup"] < min_speedup:
        found.append(f"speed-up is {verification['speedup']:.2f}, {key} is {min_speedup}")
    if batches["largest_difference"] > limits.max_batch_difference:
        found.append(
            f"a batch changes a probability by {batches['largest_difference']:.1e}, "
            f"max_batch_difference is {limits.max_batch_difference}"
        )
    return found
