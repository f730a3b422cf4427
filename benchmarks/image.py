"""Measure a container image: sizes of its parts, and startup time.

    python -m benchmarks.image textserve:latest [--starts N]

Startup time runs from the engine's command until `/readyz` returns 200. The CPU load before each start is recorded.

Prints the figures and writes them, with the machine, to benchmarks/results/image-ENGINE.json.
Exit codes: 0 success, 1 failure.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import machine
from modeling.files import ROOT
from release import engine
from release.engine import Engine
from release.errors import ReleaseError
from scripts.command import command, parser
from textserve.bento.health import ready

RESULTS = ROOT / "benchmarks" / "results"
START_SECONDS = 60.0
# Folders of the measured parts; the remainder is the operating system.
PARTS = {
    "bento": "/home/bentoml/bento",
    "packages": "/app/.venv",
    "onnxruntime": "/app/.venv/lib/python3.11/site-packages/onnxruntime",
    "numpy": "/app/.venv/lib/python3.11/site-packages/numpy*",
    "grpc": "/app/.venv/lib/python3.11/site-packages/grpc*",
    "uvloop": "/app/.venv/lib/python3.11/site-packages/uvloop",
    "tokenizers": "/app/.venv/lib/python3.11/site-packages/tokenizers",
    "bytecode": "/app/.venv/lib/**/__pycache__",
}
SIZES = """
import glob, json, os, sys
def size(folder):
    return sum(os.lstat(os.path.join(path, name)).st_size for path, _, names in os.walk(folder) for name in names)
parts = json.loads(sys.argv[1])
print(json.dumps({part: sum(map(size, glob.glob(folders, recursive=True))) for part, folders in parts.items()}))
"""


@contextlib.contextmanager
def _running(container_engine: Engine, image: str) -> Iterator[tuple[str, float]]:
    """Run a container; yield its id and startup time in seconds once it is ready, and remove it on exit."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    start = time.monotonic()
    name = container_engine.run("run", "--detach", f"--publish=127.0.0.1:{port}:3000", image)
    try:
        while not ready(port, tls=False):
            if time.monotonic() > start + START_SECONDS:
                raise ReleaseError(
                    f"{image}: not ready within {START_SECONDS:g} s; see {container_engine.program} logs"
                )
            time.sleep(0.02)
        yield name, time.monotonic() - start
    finally:
        container_engine.run("rm", "--force", name)


def measure(container_engine: Engine, image: str, starts: int) -> dict[str, Any]:
    """Sizes of the image and its parts in bytes, and startup times in seconds.

    Raises:
        ReleaseError: if the image does not exist, or does not become ready.
    """
    size = container_engine.size(image)
    with _running(container_engine, image) as (name, _):
        parts = json.loads(container_engine.run("exec", name, "python", "-c", SIZES, json.dumps(PARTS)))
    parts["system"] = size - parts["bento"] - parts["packages"]
    tries = []
    for _ in range(starts):
        load = machine.busy_share()
        with _running(container_engine, image) as (_, seconds):
            tries.append({"seconds": round(seconds, 3), "busy_share": round(load, 2)})
    return {
        "bytes": {"image": size, **parts},
        "starts": tries,
        "median_seconds": statistics.median(start["seconds"] for start in tries),
    }


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("image", help="image built by make image")
    args.add_argument("--starts", type=int, default=9, help="number of starts")
    options = args.parse_args(arguments)
    found = engine.find()
    version = found.run("version", "--format", "{{.Client.Version}}")
    figures = measure(found, options.image, options.starts)
    for part, size in figures["bytes"].items():
        print(f"{part:14}{size / 1e6:6.0f} MB")
    tries = [start["seconds"] for start in figures["starts"]]
    print(f"ready after {figures['median_seconds']:.2f} s, {min(tries):.2f} to {max(tries):.2f} in {len(tries)} starts")
    about = {"machine": machine.describe(), "engine": f"{found.program} {version}"}
    (RESULTS / f"image-{found.program}.json").write_text(json.dumps(about | figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
