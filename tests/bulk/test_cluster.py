"""Runs on a real Ray cluster of two nodes on loopback: `make test-ray`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import LIMIT_SECONDS, ROOT, environment

pytestmark = pytest.mark.ray
WINDOW = 2048
# Two nodes share the cores with other work: Ray's own limits are for idle machines.
PATIENCE = {"RAY_raylet_start_wait_time_s": "300", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an input of many windows in two files, and the output of a run without Ray."""
    from tests.test_shapes import write_models

    folder = tmp_path_factory.mktemp("ray")
    write_models(folder / "models")
    generator = random.Random(2)
    (folder / "in").mkdir()
    for name in ("a", "b"):
        rows = [
            {"id": index, "text": " ".join(generator.choices(["good", "bad"], k=9)) if index % 40 else ""}
            for index in range(12 * WINDOW + 100)
        ]
        (folder / "in" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score(folder, "alone.jsonl").returncode == 3
    return folder


def command(folder: Path, output: str, *options: str) -> list[str]:
    model = ["--model", str(folder / "models" / "number")]
    return [sys.executable, "-m", "scripts.score", str(folder / "in"), str(folder / output), *model, *options]


def score(folder: Path, output: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, output, *options),
        cwd=ROOT,
        env=environment(folder / "home", **PATIENCE),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores and two nodes of one core, each with processes of its own."""
    for name, value in PATIENCE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes(timeout=LIMIT_SECONDS)
        yield cluster
    finally:
        cluster.shutdown()


def same(folder: Path, output: str) -> None:
    for suffix in ("", ".bad.jsonl"):
        assert (folder / f"{output}{suffix}").read_bytes() == (folder / f"alone.jsonl{suffix}").read_bytes()


def test_ray_on_this_machine_gives_the_same_output(folder: Path) -> None:
    done = score(folder, "embedded.jsonl", "--ray")
    assert done.returncode == 3, done.stderr
    same(folder, "embedded.jsonl")


def test_two_nodes_give_the_same_output(folder: Path, cluster: Any) -> None:
    done = score(folder, "two.jsonl", "--ray-address", cluster.address)
    assert done.returncode == 3, done.stderr
    assert "on 2 cores" in done.stderr
    same(folder, "two.jsonl")


def test_a_node_that_dies_in_the_middle_changes_nothing(folder: Path, cluster: Any) -> None:
    process = subprocess.Popen(
        command(folder, "lost.jsonl", "--ray-address", cluster.address),
        cwd=ROOT,
        env=environment(folder / "home", **PATIENCE),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + LIMIT_SECONDS
    parts = folder / ".lost.jsonl.parts"
    while len(list(parts.glob("part-*.json"))) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (worker,) = cluster.worker_nodes
    cluster.remove_node(worker, allow_graceful=False)
    _, error = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 3, error
    same(folder, "lost.jsonl")


def test_an_error_in_a_task_is_told_as_without_ray(folder: Path) -> None:
    (folder / "mixed").mkdir()
    (folder / "mixed" / "a.csv").write_text("text\ngood\n")
    (folder / "mixed" / "b.csv").write_text("id,body\n1,good\n")
    arguments = command(folder, "never.csv", "--ray")
    arguments[3] = str(folder / "mixed")
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment(folder / "home", **PATIENCE),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1
    # Ray itself logs more, before and after.
    assert "b.csv: has no column 'text'; name another by --text-column: id, body" in done.stderr
    assert not (folder / "never.csv").exists()
