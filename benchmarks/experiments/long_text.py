"""The speedup of one long text by a second core, and its cost for other clients at the same time."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

# More than the model reads: the text is truncated to 512 tokens.
LONG_CHARACTERS = 8000
# The speed of a machine drifts, so ratios are taken within a round.
ROUNDS = 5
# One in so many texts is long, when two clients send short and long texts at the same time.
ONE_IN = 8
# Seconds until the second session is loaded, after the first long text.
LOADED_SECONDS = 10.0


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts; two threads use ``cores`` and the cores of ``load``."""
    joined = " ".join(texts)
    starts = range(0, min(len(joined), 20 * LONG_CHARACTERS) - LONG_CHARACTERS, LONG_CHARACTERS)
    long = [body([joined[start : start + LONG_CHARACTERS]]) for start in starts]
    mixed = [long[number % len(long)] if number % ONE_IN == 0 else body([text]) for number, text in enumerate(texts)]
    both = sorted({*cores, *load.cores})[:2]
    alone: dict[str, list[float]] = {"true": [], "false": []}
    rates: dict[str, list[float]] = {"true": [], "false": []}
    with ExitStack() as stack:
        servers = {
            spread: stack.enter_context(
                textserve_service(cores=both, env={"TEXTSERVE_THREADS": "2", "TEXTSERVE_SPREAD_BATCHES": spread})
            )
            for spread in alone
        }
        for server in servers.values():
            load.post(server.url + URL_PATH, long[:1], 1)
        time.sleep(LOADED_SECONDS)
        for _ in range(ROUNDS):
            for spread, server in servers.items():
                seen = load.closed_loop(server.url + URL_PATH, long, 1, seconds / 2)
                alone[spread].append(seen.percentile(50))
            for spread, server in servers.items():
                # A long text that starts alone takes longer if other texts arrive, at most once a second.
                load.closed_loop(server.url + URL_PATH, mixed, 2, 1.0)
                rates[spread].append(load.closed_loop(server.url + URL_PATH, mixed, 2, seconds).per_second_of_span)
    faster = [one / two for one, two in zip(alone["false"], alone["true"], strict=True)]
    others = [two / one for one, two in zip(rates["false"], rates["true"], strict=True)]
    figures: dict[str, Any] = {
        "one_core_p50_ms": median(alone["false"]),
        "two_cores_p50_ms": median(alone["true"]),
        "times_faster_by_round": faster,
        "times_faster": median(faster),
        "two_clients_by_round": others,
        "two_clients": median(others),
    }
    verdicts = {
        "alone >= 1.5 times as fast": figures["times_faster"] >= 1.5,
        "two clients, short and long: >= 0.97 of the rate": figures["two_clients"] >= 0.97,
    }
    return [("long text", figures, verdicts)]
