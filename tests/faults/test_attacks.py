"""What one client sends, beside a client that means well, within the memory of the container: `make test-faults`.

Times are reported, and asserted with room for a busy machine: the limit of the issue times ``ROOM``, and of the longest
pauses in all rounds of an attack the median.
"""

from __future__ import annotations

import time
from collections import Counter
from math import inf
from pathlib import Path

import pytest

from tests.faults.attacks import ATTACKS
from tests.faults.contained import contained
from tests.faults.honest import beside, median_pause
from tests.faults.report import Record
from tests.faults.sending import Outcomes, described

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

ROUNDS = 3
# How much longer a round is than its attack, which may be over before the honest client has asked again.
BESIDE_SECONDS = 0.5
# How often a pause may exceed its limit on a machine that does other work too. Before the limits were built, pauses
# were from 8 times as long as the limit to 120 times.
ROOM = 3
# How long the event loop may stand still, by row: whatever the body, and until `/readyz` answers.
PAUSES = {"1": 0.05, "4": 0.1, "4b": 0.1}
PROBE_SECONDS = 0.02
# gRPC keeps some 70 MB that it took for answers which a flood does not read, and uses them again.
MOST_GROWTH_BYTES = 96 * 2**20


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack(home: Path, record: Record, name: str) -> None:
    attack = ATTACKS[name]
    record.row, record.name = attack.row, name
    outcomes: Outcomes = Counter()
    rounds: list[tuple[float, float]] = []
    options = ["--grpc"] if attack.grpc else []
    if attack.row == "1":
        options += ["--probe", str(PROBE_SECONDS)]
    with contained(home, TEXTSERVE_THREADS="1") as served:
        sizes = [served.rss_bytes()]
        with beside(served.server.port, served.server.grpc_port, *options) as seen:
            while len(rounds) < ROUNDS and served.state() == "running":
                start = time.monotonic()
                outcomes += attack.run(served.target)
                time.sleep(BESIDE_SECONDS)
                rounds.append((start, time.monotonic()))
                sizes.append(served.rss_bytes())
        pause = median_pause(seen, rounds)
        ended = "" if served.state() == "running" else f"{served.state()}; "
        record.happened = ended + described(outcomes)
        record.saw(seen, served.peak_bytes)
        record.figures = {
            "outcomes": dict(outcomes),
            "median_pause_ms": round(1000 * pause, 1),
            "rss_mb": [round(size / 2**20, 1) for size in sizes],
        }
        served.check(seen)
    assert not attack.right or set(outcomes) <= attack.right
    assert pause < ROOM * PAUSES.get(attack.row, inf)
    # The first round takes what the others reuse.
    assert attack.row != "held" or sizes[-1] - sizes[1] < MOST_GROWTH_BYTES
