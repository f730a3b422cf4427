"""The machine of a measurement: processor, cores, package versions and load."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from modeling.environment import cpu_flags, cpu_name
from modeling.evaluation.fidelity import DOT_PRODUCTS
from modeling.files import ROOT

RESULTS = ROOT / "benchmarks" / "results"

# Instructions that determine the speed of 8-bit matrix products.
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp")
BUSY_SHARE = 0.1

_VERSIONS = (
    "import json, importlib.metadata as m;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


def results() -> Path:
    """The folder for results that depend on the instructions of this processor for 8-bit matrix products."""
    flags = set(cpu_flags())
    return RESULTS / ("" if "amx_int8" in flags else "without-amx" if flags & DOT_PRODUCTS else "without-vnni")


def describe() -> dict[str, Any]:
    """The machine and the current time; sizes in bytes."""
    flags = cpu_flags()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def busy_share(seconds: float = 1.0) -> float:
    """The share of all cores, from 0 to 1, in use during ``seconds``; compare with ``BUSY_SHARE``."""
    return float(psutil.cpu_percent(interval=seconds)) / 100


def versions(environment: Path) -> dict[str, str]:
    """Version of every package in the virtual environment; empty if it does not exist."""
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))
