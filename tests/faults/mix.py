"""Half an hour of every attack, in random order, against one service with 512 MB and one core.

    python -m tests.faults.mix [--minutes 30] [--seed N] [--process] [--only NAME …]

The service is a container of ``IMAGE`` (textserve:latest), or with ``--process`` a process of this machine in a memory
cgroup, on one core. Honest clients beside it send five requests a second over HTTP and gRPC. Prints the figures, and
writes them to build/mix.json. The seed fixes which attacks come in which order; it is printed.

Exit codes: 0 if the service ran on, lost no honest request other than by 429 or 503, and its memory did not grow in the
last two thirds of the time; else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.faults.attacks import ATTACKS
from tests.faults.contained import MEMORY_BYTES, contained
from tests.faults.honest import Seen, beside
from tests.faults.sending import Target
from tests.server import ROOT, save_model

FILE = ROOT / "build" / "mix.json"
# Two protocols, each so often, are five requests a second.
INTERVAL = "0.4"
ATTACKERS = 2
PAUSE_SECONDS = 2.0
SAMPLE_SECONDS = 2.0
# The least memory of each of so many parts of the time is compared: what is in use for a moment is no growth.
PARTS = 30
# As in `make promises`.
MOST_GROWTH = 0.05


@dataclass(frozen=True)
class Service:
    """The service under attack: where, whether it has run all the time, and its memory in bytes."""

    target: Target
    running: Callable[[], bool]
    memory: Callable[[], int]
    described: str


@contextlib.contextmanager
def process() -> Iterator[Service]:
    """The command of the image as a process of this machine, on its first core."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        core = min(psutil.Process().cpu_affinity() or [0])
        with contained(Path(folder), core=core) as served:
            limit = "a memory cgroup" if served.group else "no memory cgroup"
            yield Service(
                served.target, lambda: served.state() == "running", served.rss_bytes, f"process on a core, {limit}"
            )


@contextlib.contextmanager
def container() -> Iterator[Service]:
    """A container with the limits."""
    from tests.image.containers import IMAGE, running

    with running(f"--memory={MEMORY_BYTES}", f"--memory-swap={MEMORY_BYTES}", "--cpus=1") as found:
        first = found.state()

        def runs() -> bool:
            state = found.state()
            return bool(state["Status"] == "running" and state["Pid"] == first["Pid"])

        def memory() -> int:
            with contextlib.suppress(psutil.Error):
                of = psutil.Process(first["Pid"])
                return sum(each.memory_info().rss for each in (of, *of.children(recursive=True)))
            return 0

        target = Target(int(found.url.rsplit(":", 1)[1]), int(found.grpc_address.rsplit(":", 1)[1]))
        yield Service(target, runs, memory, f"{found.engine.program} container of {IMAGE}")


def run(service: Service, minutes: float, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Attack the service for so long by the attacks of these names, and return the figures."""
    start = time.monotonic()
    ended = threading.Event()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in names}
    lock = threading.Lock()

    def attack(number: int) -> None:
        choices = random.Random(seed * ATTACKERS + number)
        while not ended.wait(choices.uniform(0, PAUSE_SECONDS)):
            name = choices.choice(names)
            try:
                found = ATTACKS[name].run(service.target)
            except OSError as error:
                found = Counter([type(error).__name__])
            with lock:
                outcomes[name] += found

    samples: list[tuple[float, int]] = []
    attackers = [threading.Thread(target=attack, args=(number,)) for number in range(ATTACKERS)]
    with beside(service.target.port, service.target.grpc_port, "--grpc", "--interval", INTERVAL) as seen:
        for attacker in attackers:
            attacker.start()
        try:
            while (passed := time.monotonic() - start) < 60 * minutes and service.running():
                samples.append((round(passed, 1), service.memory()))
                time.sleep(SAMPLE_SECONDS)
        finally:
            ended.set()
            for attacker in attackers:
                attacker.join()
        restarted = not service.running()
    return figures(seen, samples, restarted=restarted) | {
        "service": service.described,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "seed": seed,
        "attacks": {name: dict(found) for name, found in outcomes.items() if found},
    }


def figures(seen: Seen, samples: Sequence[tuple[float, int]], *, restarted: bool) -> dict[str, Any]:
    """What the honest clients saw, the memory, and the verdicts."""
    slope, growth = memory_growth(samples)
    honest = seen.summary()
    return {
        "verdicts": {
            "never restarted": not restarted,
            "no honest request lost": honest["lost"] == 0 and len(seen.requests) > 0,
            "memory does not grow": growth < MOST_GROWTH,
        },
        "honest": honest,
        "memory_slope_mb_a_minute": round(slope * 60 / 2**20, 3),
        "memory_growth": round(growth, 4),
        "memory_peak_mb": round(max(size for _, size in samples) / 2**20, 1),
        "memory_mb": [(at, round(size / 2**20, 1)) for at, size in samples],
    }


def memory_growth(samples: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The slope of the memory over the last two thirds, in bytes a second, and its growth there as a share."""
    late = [sample for sample in samples if sample[0] >= samples[-1][0] / 3]
    parts = [part for part in np.array_split(np.array(late, dtype=float), PARTS) if len(part)]
    if len(parts) < 2:
        return 0.0, 0.0
    least = [part[part[:, 1].argmin()] for part in parts]
    times, sizes = np.array(least).T
    slope = float(np.polyfit(times, sizes, 1)[0])
    return slope, slope * (late[-1][0] - late[0][0]) / statistics.fmean(sizes)


def main() -> int:
    """Run the mix and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--process", action="store_true", help="a process of this machine in place of a container")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS), metavar="NAME")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with process() if options.process else container() as service:
        found = run(service, options.minutes, options.seed, options.only)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, value in found.items():
        if name not in ("attacks", "memory_mb"):
            say(f"{name}: {value}")
    return 0 if all(found["verdicts"].values()) else 1


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201  # the result of the run


if __name__ == "__main__":
    sys.exit(main())
