"""What a figure was measured on: processor, cores, software, and whether something else was running."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

# Instructions that decide how fast eight-bit products are.
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp")
BUSY_SHARE = 0.1

_VERSIONS = (
    "import json, importlib.metadata as m;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


def describe() -> dict[str, Any]:
    """The machine and the time; sizes in bytes."""
    model, flags = _processor()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def busy_share(seconds: float = 1.0) -> float:
    """The part of all cores, from 0 to 1, that others use, measured for ``seconds``; see ``BUSY_SHARE``."""
    return float(psutil.cpu_percent(interval=seconds)) / 100


def versions(environment: Path) -> dict[str, str]:
    """Version of every package of the virtual environment ``environment``; empty if there is none."""
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _processor() -> tuple[str, set[str]]:
    """Model name and flags of the first processor, as Linux tells them."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.processor() or platform.machine()), set(flags.split())
