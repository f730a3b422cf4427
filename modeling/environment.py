"""What something was made or measured with: package versions, the processor, and the commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from modeling.files import ROOT

# Beginnings of the names of vector instructions, of x86-64 and of ARM.
VECTOR_FLAGS = ("amx", "avx", "f16c", "fma", "sse", "ssse", "asimd", "bf16", "i8mm", "sve")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of installed packages, for a report."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def cpu_name() -> str:
    """The processor's name as the operating system has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def cpu_flags() -> list[str]:
    """The processor's vector instructions, as Linux names them, sorted; empty where it does not say."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = [line.split(":", 1)[1].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return sorted({flag for flag in (flags[0] if flags else []) if flag.startswith(VECTOR_FLAGS)})


def commit(root: Path = ROOT) -> dict[str, str]:
    """``commit`` of the project in ``root`` and the number of its ``changed_files``; empty outside a git repository."""
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": head, "changed_files": str(len(changes.splitlines()))}
