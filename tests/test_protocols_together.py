"""Every protocol at once: the same answers behind all of them.

MIXED_REQUESTS=5000 .venv/bin/pytest tests/test_protocols_together.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mixed_requests import LABELS, TEXTS
from tests.server import ROOT, Server, environment, serve

# The issue asks for 5,000; a multiple of eight, the number of protocols and clients.
MIXED_REQUESTS = int(os.environ.get("MIXED_REQUESTS", "400"))


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    # A slow machine is no error: what waits is answered.
    with serve(store, TEXTSERVE_MAX_QUEUE_SECONDS="120", TEXTSERVE_REQUEST_SECONDS="120") as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: Server) -> list[list[float]]:
    """The scores of each text, asked by itself before there is anything else to compute."""
    scores = []
    for text in TEXTS:
        (result,) = httpx.post(f"{server.url}/classify", json={"texts": [text]}, timeout=30).json()["results"]
        scores.append([result["scores"][label] for label in LABELS])
    return scores


@pytest.fixture(scope="module")
def mixed(server: Server, alone: list[list[float]]) -> Any:
    addresses = [server.url, f"127.0.0.1:{server.grpc_port}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.mixed_requests", "sentiment-pl-en", *addresses, str(MIXED_REQUESTS)],
        cwd=ROOT,
        env=environment(server.home),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(1800)
def test_all_are_answered_and_none_with_an_error(server: Server, mixed: Any) -> None:
    assert mixed["errors"] == []
    assert sum(mixed["asked"].values()) == MIXED_REQUESTS
    assert min(mixed["asked"].values()) >= MIXED_REQUESTS // 8
    metrics = httpx.get(f"{server.url}/metrics").text
    requests = [line for line in metrics.splitlines() if line.startswith("textserve_requests_total{")]
    assert [line for line in requests if 'outcome="ok"' not in line] == []
    protocols = {"native", "explain", "huggingface", "tei", "oip", "grpc"}
    assert {one for one in protocols if f'protocol="{one}"' in "".join(requests)} == protocols
    assert "Traceback" not in server.log()


def test_a_text_has_the_same_answer_from_all_of_them(alone: list[list[float]], mixed: Any) -> None:
    assert {place for _, place, _ in mixed["rows"]} == set(range(len(TEXTS)))
    worst: Counter[str] = Counter()
    for name, place, scores in mixed["rows"]:
        difference = max(abs(one - other) for one, other in zip(scores, alone[place], strict=True))
        worst[name] = max(worst[name], difference)
    assert len(worst) == 8
    assert max(worst.values()) <= 1e-4, worst
