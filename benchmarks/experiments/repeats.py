"""The gain of the cache of answers if a fifth of the texts are repeated, and its cost if none are.

Repeated texts follow Zipf's law: the r-th most frequent text has a weight of 1/r. Every new text ends with a number, so
that no other texts are equal.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

REPEATED = 0.2
REQUESTS = 20_000  # more than any machine answers in the time
CONNECTIONS = 16
CACHE_MEGABYTES = 64
# The speed of a machine drifts, so ratios are taken within a round.
ROUNDS = 5


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts."""
    rates: dict[tuple[float, int], list[float]] = {}
    with ExitStack() as stack:
        servers = {
            megabytes: stack.enter_context(
                textserve_service(
                    cores=cores, env={"TEXTSERVE_THREADS": "1", "TEXTSERVE_CACHE_MEGABYTES": str(megabytes)}
                )
            )
            for megabytes in (0, CACHE_MEGABYTES)
        }
        for number, repeated in itertools.product(range(ROUNDS), (REPEATED, 0.0)):
            bodies = [body([text]) for text in itertools.islice(stream(texts, repeated, number), REQUESTS)]
            for megabytes, server in servers.items():
                # The cache of this server has only texts of other rounds.
                seen = load.closed_loop(server.url + URL_PATH, bodies, CONNECTIONS, seconds)
                rates.setdefault((repeated, megabytes), []).append(seen.per_second)
    figures: dict[str, Any] = {
        f"texts a second, {repeated:.0%} repeated, cache of {megabytes} MB": median(found)
        for (repeated, megabytes), found in rates.items()
    }
    for name, repeated in (("times_faster", REPEATED), ("without_repeats", 0.0)):
        pairs = zip(rates[repeated, CACHE_MEGABYTES], rates[repeated, 0], strict=True)
        figures[f"{name}_by_round"] = [kept / without for kept, without in pairs]
        figures[name] = median(figures[f"{name}_by_round"])
    verdicts = {
        "a fifth repeated >= 1.2 times as fast": figures["times_faster"] >= 1.2,
        "without repeats >= 0.97 as fast": figures["without_repeats"] >= 0.97,
    }
    return [("repeats", figures, verdicts)]


def stream(texts: Sequence[str], repeated: float, seed: int) -> Iterator[str]:
    """An endless stream of texts; a share of ``repeated`` came before, and none is in the stream of another seed."""
    chance, before = random.Random(seed), list[str]()
    for number in itertools.count():
        if before and chance.random() < repeated:
            # The inverse of Zipf's distribution function, whose sum is about the logarithm.
            yield before[int(len(before) ** chance.random()) - 1]
        else:
            before.append(f"{texts[number % len(texts)]} {seed}.{repeated:g}.{number}")
            yield before[-1]
