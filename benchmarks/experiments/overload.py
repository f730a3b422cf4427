"""Goodput, latency of rejections, and memory growth at ten times the capacity of the service.

The load is an open loop: requests are sent at a fixed rate, without waiting for earlier answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

QUEUE_SECONDS = 1.0
TIMES_CAPACITY = 10
# Texts per request. With 1, rejections can take most of the CPU time.
TEXTS_A_REQUEST = (8, 1)
TEXTS_AT_ONCE = 64


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts for each number of texts per request."""
    found: Findings = []
    for size in TEXTS_A_REQUEST:
        settings = {"TEXTSERVE_THREADS": "1", "TEXTSERVE_MAX_QUEUE_SECONDS": str(QUEUE_SECONDS)}
        with textserve_service(cores=cores, env=settings) as server:
            url = server.url + URL_PATH
            bodies = [body(texts[first : first + size]) for first in range(0, len(texts) - size, size)]
            load.closed_loop(url, bodies, TEXTS_AT_ONCE // size, 2.0)
            # Capacity is the throughput of the same requests in a closed loop, none of which is refused.
            capacity = load.closed_loop(url, bodies, TEXTS_AT_ONCE // size, max(5.0, seconds / 3)).per_second
            before = server.rss_bytes()
            flood = load.open_loop(url, bodies, TIMES_CAPACITY * capacity, seconds)
            after = server.rss_bytes()
        refused = flood.refused
        figures: dict[str, Any] = {
            "texts_a_request": size,
            "capacity_texts_per_second": capacity * size,
            "offered_texts_per_second": flood.sent / flood.seconds * size,
            "goodput_ratio": flood.answered.per_second / capacity,
            "accepted_p50_ms": flood.answered.percentile(50),
            "accepted_p99_ms": flood.answered.percentile(99),
            "queue_ms": QUEUE_SECONDS * 1000,
            "refused": len(refused.answers),
            "refused_p50_ms": refused.percentile(50),
            "refused_p99_ms": refused.percentile(99),
            "refused_max_ms": refused.percentile(100),
            "refused_without_retry_after": flood.without_retry_after,
            "errors": dict(flood.answered.errors),
            "memory_growth": after / before - 1,
            "generator_share": flood.answered.generator_share,
        }
        verdicts = {
            "goodput >= 0.95 of capacity": figures["goodput_ratio"] >= 0.95,
            "p99 of the accepted <= 2 x queue time": figures["accepted_p99_ms"] <= 2 * figures["queue_ms"],
            "p99 of a refusal <= 50 ms": figures["refused_p99_ms"] <= 50,
            "every refusal says when to come back": flood.without_retry_after == 0,
            "no errors": not flood.answered.errors,
            "memory grows < 5 %": figures["memory_growth"] < 0.05,
        }
        found.append((f"overload, {size} texts a request", figures, verdicts))
    return found
