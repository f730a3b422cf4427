"""Memory growth and the longest pause of the event loop, over 200,000 requests, and 40,000 with a full cache.

Pauses are measured from outside: a client probes ``/livez``, which needs no model, every 5 ms; its latency is the time
that the event loop was blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

REQUESTS, REQUESTS_CACHED = 200_000, 40_000
# The share of requests after which the service is warm: memory growth is measured from there.
WARM = 0.1
CONNECTIONS = 32
# Short texts, because requests count here, not tokens.
LONGEST_CHARACTERS = 40
# The cache is full before the service is warm: an entry has more than 300 bytes.
CACHE_MEGABYTES = "1"


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts; with less than 5 ``seconds``, a tenth of the requests."""
    scale = 1 if seconds >= 5 else 10
    short = [text for text in texts if len(text) <= LONGEST_CHARACTERS]
    # All texts differ, so that new answers replace older answers in the cache all the time.
    new = [f"{short[number % len(short)]} {number}" for number in range(REQUESTS_CACHED)]
    cached = {"TEXTSERVE_CACHE_MEGABYTES": CACHE_MEGABYTES}
    return [
        _soak("soak", short, REQUESTS // scale, {}, load, cores),
        _soak("soak, cache full", new, REQUESTS_CACHED // scale, cached, load, cores),
    ]


def _soak(
    title: str,
    texts: Sequence[str],
    requests: int,
    settings: dict[str, str],
    load: LoadGenerator,
    cores: Collection[int],
) -> tuple[str, dict[str, Any], dict[str, bool]]:
    bodies = [body([text]) for text in texts]
    with (
        textserve_service(cores=cores, env={"TEXTSERVE_THREADS": "1"} | settings) as server,
        LoadGenerator(load.cores) as prober,
        ThreadPoolExecutor(1) as pool,
    ):
        url = server.url + URL_PATH
        done, errors = 0, 0
        resident: list[tuple[int, int]] = []
        pauses = []
        while done < requests:
            probe = pool.submit(prober.probe, server.url + "/livez", 10.0)
            part = load.closed_loop(url, bodies[done % len(bodies) :], CONNECTIONS, 10.0)
            done += len(part.answers)
            errors += part.errors.total()
            pauses.append(probe.result())
            resident.append((done, server.rss_bytes()))
    warm = next(size for count, size in resident if count >= WARM * requests)
    growth = resident[-1][1] / warm - 1
    figures: dict[str, Any] = {
        "requests": done,
        "errors": errors,
        "resident_mib": [(count, round(size / 2**20, 1)) for count, size in resident],
        "growth_after_warm_up": growth,
        "probe_p50_ms": pauses[len(pauses) // 2].percentile(50),
        "probe_p99_ms": max(pause.percentile(99) for pause in pauses),
        "longest_pause_ms": max(pause.percentile(100) for pause in pauses),
    }
    verdicts = {
        "memory grows < 5 %": growth < 0.05,
        "longest pause <= 50 ms": figures["longest_pause_ms"] <= 50,
        "no errors": errors == 0,
    }
    return title, figures, verdicts
