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
# Run in the container by Python 3.11 or later; prints bytes by part. A file is in the part of the first pattern that
# matches it; `*` in the name of a part stands for the first group.
SIZES = """
import json, os, re, sys
patterns = [(re.compile(pattern), part) for part, pattern in json.loads(sys.argv[1])]
sizes = {}
for folder, folders, names in os.walk("/"):
    if os.stat(folder).st_dev != os.stat("/").st_dev:  # /proc and the like
        folders.clear()
        continue
    for name in names:
        path = os.path.join(folder, name)
        matches = ((pattern.match(path), part) for pattern, part in patterns)
        match, part = next((match, part) for match, part in matches if match)
        part = part.replace("*", match[1]) if "*" in part else part
        sizes[part] = sizes.get(part, 0) + os.lstat(path).st_size
print(json.dumps(sizes))
"""
PARTS = [
    ("model", r"/home/bentoml/bento/models/"),
    ("service", r"/home/bentoml/"),
    ("bytecode of the packages", r"/app/.*/__pycache__/"),
    ("package *", r"/app/\.venv/lib/python3\.\d+/site-packages/([A-Za-z0-9_]+)"),
    ("other packages", r"/app/"),
    ("Python", r"/usr/(local/)?(lib|bin)/(x86_64-linux-gnu/|aarch64-linux-gnu/)?(lib)?python3"),
    ("system", r"/"),
]
# Smaller packages are added up.
LEAST_BYTES = 1_000_000


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


def by_size(parts: dict[str, int]) -> dict[str, int]:
    """``parts`` in bytes, the largest first; packages below :data:`LEAST_BYTES` are added to the other packages."""
    small = {part for part, size in parts.items() if part.startswith("package ") and size < LEAST_BYTES}
    others = sum(parts[part] for part in small) + parts.get("other packages", 0)
    kept = {part: size for part, size in parts.items() if part not in small} | {"other packages": others}
    return dict(sorted(kept.items(), key=lambda item: -item[1]))


def measure(container_engine: Engine, image: str, starts: int) -> dict[str, Any]:
    """Sizes of the image and its parts in bytes, and startup times in seconds.

    Raises:
        ReleaseError: if the image does not exist, or does not become ready.
    """
    with _running(container_engine, image) as (name, _):
        found = json.loads(container_engine.run("exec", "--user=root", name, "python", "-c", SIZES, json.dumps(PARTS)))
    tries = []
    for _ in range(starts):
        load = machine.busy_share()
        with _running(container_engine, image) as (_, seconds):
            tries.append({"seconds": round(seconds, 3), "busy_share": round(load, 2)})
    return {
        "bytes": {"image": container_engine.size(image), **by_size(found)},
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
        print(f"{part:28}{size / 1e6:6.1f} MB")
    tries = [start["seconds"] for start in figures["starts"]]
    print(f"ready after {figures['median_seconds']:.2f} s, {min(tries):.2f} to {max(tries):.2f} in {len(tries)} starts")
    about = {"machine": machine.describe(), "engine": f"{found.program} {version}"}
    (RESULTS / f"image-{found.program}.json").write_text(json.dumps(about | figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
