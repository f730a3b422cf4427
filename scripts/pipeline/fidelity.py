"""What a verified model must be, decided in one place for verify.py, which measures, and save.py, which refuses."""

from __future__ import annotations

from typing import Any

from sentiment.spec import ModelSpec


def identity(spec: ModelSpec, digests: dict[str, str]) -> dict[str, Any]:
    """What a verification holds for: the files that answer, and the keys of the spec that say how to read them."""
    keys = spec.model_dump(mode="json", include={"labels", "tokenization", "graph"})
    return {"sha256": {name: digest for name, digest in digests.items() if not name.endswith(".yaml")}, **keys}


def problems(verification: dict[str, Any], spec: ModelSpec) -> list[str]:
    """What is outside the limits of ``spec.fidelity``, a line each; empty if the model may be used."""
    limits, batches = spec.fidelity, verification["batches"]
    found = []
    if verification["texts"] < limits.texts:
        found.append(f"compared on {verification['texts']} texts, fidelity.texts asks for {limits.texts}")
    if verification["agreement"] < limits.min_agreement:
        found.append(f"agreement is {verification['agreement']:.4f}, min_agreement is {limits.min_agreement}")
    if verification.get("f1_loss", 0.0) > limits.max_f1_loss:
        found.append(f"macro-F1 lost is {verification['f1_loss']:.4f}, max_f1_loss is {limits.max_f1_loss}")
    if verification["speedup"] < limits.min_speedup:
        found.append(f"speed-up is {verification['speedup']:.2f}, min_speedup is {limits.min_speedup}")
    if batches["largest_difference"] > limits.max_batch_difference:
        found.append(
            f"a batch changes a probability by {batches['largest_difference']:.1e}, "
            f"max_batch_difference is {limits.max_batch_difference}"
        )
    return found
