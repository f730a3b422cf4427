"""Tune batch size, batch wait and threads for this machine, and print the best settings.

    make tune                                    # maximize throughput with a p99 latency of at most 250 ms
    python -m benchmarks.tune --p99-ms 50 --connections 16 --mix mixed

Settings are tuned one after another; the best values so far are kept. The service and the clients share the cores of
this process, unless --service-cores reserves some for the service. Takes about 2 minutes. The result is the fastest
trial within the latency target, or else the trial closest to the target.

Exit codes: 0 success, 1 no trial met the target, 2 bad arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from benchmarks import machine, texts
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import DEFAULT_MODEL, textserve_service
from modeling.files import ROOT
from scripts import command

BATCH_TOKENS = (128, 256, 512, 1024)
WAIT_SECONDS = (0.0, 0.001, 0.003)

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Trial:
    """Result of a trial: texts per second, and p99 latency in milliseconds."""

    settings: Settings
    texts_per_second: float
    p99_ms: float

    def better_than(self, other: Trial | None, target_ms: float) -> bool:
        """Whether to prefer this trial over ``other``."""
        if other is None or (self.p99_ms <= target_ms) != (other.p99_ms <= target_ms):
            return other is None or self.p99_ms <= target_ms
        if self.p99_ms > target_ms:
            return self.p99_ms < other.p99_ms
        return self.texts_per_second > other.texts_per_second


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = command.parser(__doc__)
    parser.add_argument("--p99-ms", type=float, default=250.0, help="p99 latency target in milliseconds (default: 250)")
    parser.add_argument("--connections", type=int, default=32, help="clients with one request each (default: 32)")
    parser.add_argument("--mix", choices=texts.MIXES, default="short")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of a trial (default: 5)")
    parser.add_argument("--service-cores", type=int, nargs="+", metavar="CORE")
    options = parser.parse_args(arguments)
    allowed = set(os.sched_getaffinity(0))
    service_cores = set(options.service_cores or allowed)
    if not service_cores <= allowed:
        parser.error(f"--service-cores: this process may use {sorted(allowed)} only")
    load_cores = (allowed - service_cores) or allowed
    console = Console()
    loaded = texts.load(options.mix, ROOT / "build" / "data", DEFAULT_MODEL / "tokenizer.json")
    bodies = [body([text]) for text in loaded]
    if (share := machine.busy_share()) > machine.BUSY_SHARE:
        console.print(f"[bold red]Other programs use {share:.0%} of this machine: the result may be unreliable.")

    best: Trial | None = None
    candidates: dict[str, list[str]] = {
        "TEXTSERVE_MAX_BATCH_TOKENS": [str(tokens) for tokens in BATCH_TOKENS],
        "TEXTSERVE_BATCH_WAIT_SECONDS": [str(seconds) for seconds in WAIT_SECONDS],
        "TEXTSERVE_THREADS": [str(threads) for threads in range(len(service_cores), 0, -1)],
    }
    tried: set[tuple[tuple[str, str], ...]] = set()
    with LoadGenerator(load_cores) as load:
        for name, values in candidates.items():
            for value in values:
                defaults = {other: choices[0] for other, choices in candidates.items()}
                settings = {**defaults, **(best.settings if best else {}), name: value}
                if (key := tuple(sorted(settings.items()))) in tried:
                    continue
                tried.add(key)
                with textserve_service(cores=service_cores, env=settings) as server:
                    load.closed_loop(server.url + URL_PATH, bodies, options.connections, 1.5)
                    found = load.closed_loop(server.url + URL_PATH, bodies, options.connections, options.seconds)
                trial = Trial(settings, found.per_second, found.percentile(99))
                chosen = trial.better_than(best, options.p99_ms)
                best = trial if chosen else best
                console.print(
                    f"{name}={value:<6} {trial.texts_per_second:7.0f} texts/s   p99 {trial.p99_ms:6.0f} ms"
                    f"{'   best so far' if chosen else ''}",
                    highlight=False,
                )
    if best is None:
        return 1
    kept = best.p99_ms <= options.p99_ms
    console.print(f"\n{'Use' if kept else 'No trial met the target; the closest:'}")
    for name, value in best.settings.items():
        console.print(f"  {name}={value}", highlight=False)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
