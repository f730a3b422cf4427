"""The speedup from a second core.

Requests carry 32 texts to keep the load of the clients, which share the cores, negligible.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

TEXTS_A_REQUEST = 32
CONNECTIONS = 8


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts; two threads use ``cores`` and the cores of ``load``."""
    bodies = [body(texts[first : first + TEXTS_A_REQUEST]) for first in range(0, len(texts) - 32, TEXTS_A_REQUEST)]
    both = sorted({*cores, *load.cores})[:2]
    per_second: dict[int, list[float]] = {1: [], 2: []}
    with (
        textserve_service(cores=both[:1], env={"TEXTSERVE_THREADS": "1"}) as single,
        textserve_service(cores=both, env={"TEXTSERVE_THREADS": "2"}) as dual,
    ):
        # Alternate, because the background load of the machine varies.
        for _ in range(3):
            for threads, server in ((1, single), (2, dual)):
                load.closed_loop(server.url + URL_PATH, bodies, CONNECTIONS, 1.0)
                found = load.closed_loop(server.url + URL_PATH, bodies, CONNECTIONS, seconds / 2)
                per_second[threads].append(found.per_second * TEXTS_A_REQUEST)
    ratios = sorted(dual / single for single, dual in zip(per_second[1], per_second[2], strict=True))
    figures: dict[str, Any] = {
        "one_core_texts_per_second": sorted(per_second[1])[1],
        "two_cores_texts_per_second": sorted(per_second[2])[1],
        "ratios": ratios,
        "ratio": ratios[1],
    }
    return [("two cores", figures, {">= 1.8 times one core": ratios[1] >= 1.8})]
