"""What the cache of answers is worth on a stream in which a fifth of the texts came before, and costs where none did.

Which text comes again follows Zipf's law: the r-th most frequent with a weight of 1/r. Every text has a number at its
end, so that no others are equal.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

REPEATED = 0.2
REQUESTS = 20_000  # more than any machine answers in the time
CONNECTIONS = 16
CACHE_MEGABYTES = 64
WARM_UP_SECONDS = 2.0
SEED = 0


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts."""
    rates: dict[str, float] = {}
    for repeated, megabytes in ((REPEATED, 0), (REPEATED, CACHE_MEGABYTES), (0.0, 0), (0.0, CACHE_MEGABYTES)):
        settings = {"TEXTSERVE_THREADS": "1", "TEXTSERVE_CACHE_MEGABYTES": str(megabytes)}
        with textserve_service(cores=cores, env=settings) as server:
            url = server.url + URL_PATH
            bodies = [body([text]) for text in itertools.islice(stream(texts, repeated), 2 * REQUESTS)]
            load.closed_loop(url, bodies[REQUESTS:], CONNECTIONS, WARM_UP_SECONDS)
            rates[f"{repeated:.0%} repeated, cache of {megabytes} MB"] = load.closed_loop(
                url, bodies[:REQUESTS], CONNECTIONS, seconds
            ).per_second
    without, kept, fresh_without, fresh_kept = rates.values()
    figures: dict[str, Any] = {
        **{f"texts a second, {name}": rate for name, rate in rates.items()},
        "times_faster": kept / without,
        "without_repeats": fresh_kept / fresh_without,
    }
    verdicts = {
        "a fifth repeated >= 1.2 times as fast": figures["times_faster"] >= 1.2,
        "without repeats >= 0.97 as fast": figures["without_repeats"] >= 0.97,
    }
    return [("repeats", figures, verdicts)]


def stream(texts: Sequence[str], repeated: float) -> Iterator[str]:
    """Texts without end, of which a share of ``repeated`` came before."""
    chance, before = random.Random(SEED), list[str]()
    for number in itertools.count():
        if before and chance.random() < repeated:
            # The inverse of Zipf's distribution function, whose sum is about the logarithm.
            yield before[int(len(before) ** chance.random()) - 1]
        else:
            before.append(f"{texts[number % len(texts)]} {number}")
            yield before[-1]
