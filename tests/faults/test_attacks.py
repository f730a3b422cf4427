"""What one client sends, beside a client that means well, within the memory of the container: `make test-faults`.

Times are reported, and asserted with room for a busy machine: the limit of the issue times ``ROOM``, and of the longest
pauses in all rounds of an attack the median.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.attacks import ATTACKS
from tests.faults.contained import Contained, contained
from tests.faults.honest import Seen, beside, median_pause
from tests.faults.report import Record
from tests.faults.sending import Outcomes, described

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

ROUNDS = 3
# How much longer a round is than its attack, which may be over before the honest client has asked again.
BESIDE_SECONDS = 0.5
# How often a pause may exceed its limit on a machine that does other work too. Before the limits were built, pauses
# were from 8 times as long as the limit to 120 times.
ROOM = 3
# The event loop may stand still so long, whatever the body.
PAUSE_SECONDS = 0.05
READY_SECONDS = 0.1
PROBE_SECONDS = 0.02
SHORT = ("1",)
READY = ("4", "4b")


def attack(
    served: Contained, name: str, record: Record, *options: str
) -> tuple[Outcomes, Seen, list[tuple[float, float]]]:
    """Run the rounds of an attack beside an honest client, until both have ended; fills the record."""
    chosen = ATTACKS[name]
    outcomes: Outcomes = Counter()
    rounds = []
    options = (*options, *(["--grpc"] if chosen.grpc else []))
    with beside(served.server.port, served.server.grpc_port, *options) as seen:
        for _ in range(ROUNDS):
            if served.state() != "running":
                break
            start = time.monotonic()
            outcomes += chosen.run(served.target)
            time.sleep(BESIDE_SECONDS)
            rounds.append((start, time.monotonic()))
    record.row, record.name = chosen.row, name
    state = served.state()
    record.happened = described(outcomes) if state == "running" else f"{state}; {described(outcomes)}"
    record.saw(seen, served.peak_bytes)
    record.figures = {"outcomes": dict(outcomes), "median_pause_ms": round(1000 * median_pause(seen, rounds), 1)}
    return outcomes, seen, rounds


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack(home: Path, record: Record, name: str) -> None:
    chosen = ATTACKS[name]
    with contained(home, TEXTSERVE_THREADS="1") as served:
        options = ["--probe", str(PROBE_SECONDS)] if chosen.row in SHORT else []
        outcomes, seen, rounds = attack(served, name, record, *options)
        served.check(seen)
    if chosen.right:
        assert set(outcomes) <= chosen.right
    if chosen.row in SHORT:
        assert median_pause(seen, rounds) < ROOM * PAUSE_SECONDS
    if chosen.row in READY:
        assert median_pause(seen, rounds) < ROOM * READY_SECONDS
