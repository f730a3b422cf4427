"""Latency of single-text requests while another client keeps requests of 1,000 texts in flight."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

BULK_TEXTS = 1000
BULK_CLIENTS = 2
SINGLE_CLIENTS = (1, 4, 16)


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts for each number of single-text clients."""
    singles = [body([text]) for text in texts]
    bulks = [body(texts[first : first + BULK_TEXTS]) for first in range(0, len(texts) - BULK_TEXTS, BULK_TEXTS)]
    found: Findings = []
    with (
        textserve_service(cores=cores, env={"TEXTSERVE_THREADS": "1"}) as server,
        LoadGenerator(load.cores) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        url = server.url + URL_PATH
        load.closed_loop(url, singles, 4, 2.0)
        for clients in SINGLE_CLIENTS:
            alone = load.closed_loop(url, singles, clients, seconds)
            bulk = pool.submit(other.closed_loop, url, bulks, BULK_CLIENTS, seconds + 2)
            load.closed_loop(url, singles, clients, 1.0)
            beside = load.closed_loop(url, singles, clients, seconds)
            done = bulk.result()
            figures: dict[str, Any] = {
                "single_clients": clients,
                "bulk_clients": BULK_CLIENTS,
                "alone_p50_ms": alone.percentile(50),
                "alone_p99_ms": alone.percentile(99),
                "beside_p50_ms": beside.percentile(50),
                "beside_p99_ms": beside.percentile(99),
                "p99_ratio": beside.percentile(99) / alone.percentile(99),
                "bulk_requests_answered": len(done.answers),
                "errors": dict(alone.errors + beside.errors + done.errors),
            }
            verdicts = {
                "p99 <= 5 x without": figures["p99_ratio"] <= 5,
                "bulk requests are answered too": len(done.answers) > 0,
                "no errors": not figures["errors"],
            }
            found.append((f"fairness, {clients} single clients", figures, verdicts))
    return found
