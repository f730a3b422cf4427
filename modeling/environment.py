"""The environment of a build or a measurement: package versions, processor and commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from modeling.files import ROOT

# Prefixes of vector instruction names on x86-64 and ARM.
VECTOR_FLAGS = ("amx", "avx", "f16c", "fma", "sse", "ssse", "asimd", "bf16", "i8mm", "sve")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of installed ``packages``."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def cpu_name() -> str:
    """The name of the processor."""
    return _cpuinfo("model name") or platform.processor() or "unknown"


def cpu_flags() -> list[str]:
    """The vector instructions of the processor by their Linux names, sorted; empty where Linux does not list them."""
    return sorted({flag for flag in _cpuinfo("flags", "Features").split() if flag.startswith(VECTOR_FLAGS)})


def _cpuinfo(*keys: str) -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)), "")


def commit(root: Path = ROOT) -> dict[str, str]:
    """The ``commit`` checked out in ``root`` and the number of ``changed_files``; empty outside a git repository."""
    try:
        head, changes = (
            subprocess.check_output(["git", "-C", str(root), *command], stderr=subprocess.DEVNULL, text=True).strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": head, "changed_files": str(len(changes.splitlines()))}
