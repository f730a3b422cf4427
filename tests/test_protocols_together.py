"""All protocols at once give the same answers.

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

# Protocols and clients.
ASKED = 12
MIXED_REQUESTS = int(os.environ.get("MIXED_REQUESTS", "240"))


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    # No request times out on a slow machine.
    seconds = "600"
    with serve(
        store,
        AIP_PREDICT_ROUTE="/predict",
        TEXTSERVE_MAX_QUEUE_SECONDS=seconds,
        TEXTSERVE_REQUEST_SECONDS=seconds,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: Server) -> list[list[float]]:
    """The scores of each text in a batch of its own."""
    scores = []
    for text in TEXTS:
        (result,) = httpx.post(f"{server.url}/classify", json={"texts": [text]}, timeout=600).json()["results"]
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
def test_all_requests_succeed(server: Server, mixed: Any) -> None:
    assert mixed["errors"] == []
    assert sum(mixed["asked"].values()) == MIXED_REQUESTS
    assert min(mixed["asked"].values()) >= MIXED_REQUESTS // ASKED
    metrics = httpx.get(f"{server.url}/metrics").text
    requests = [line for line in metrics.splitlines() if line.startswith("textserve_requests_total{")]
    assert [line for line in requests if 'outcome="ok"' not in line] == []
    protocols = {"native", "explain", "huggingface", "tei", "oip", "grpc", "vllm", "kserve-v1", "vertex", "invocations"}
    assert {name for name in protocols if f'protocol="{name}"' in "".join(requests)} == protocols
    assert "Traceback" not in server.log()


def test_all_protocols_give_a_text_the_same_scores(alone: list[list[float]], mixed: Any) -> None:
    assert {index for _, index, _ in mixed["rows"]} == set(range(len(TEXTS)))
    worst: Counter[str] = Counter()
    for name, index, scores in mixed["rows"]:
        difference = max(abs(score - expected) for score, expected in zip(scores, alone[index], strict=True))
        worst[name] = max(worst[name], difference)
    assert len(worst) == ASKED
    assert max(worst.values()) <= 1e-4, worst
