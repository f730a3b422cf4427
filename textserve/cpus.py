"""The number of cores available to this process, which in a container may be fewer than the machine has."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the affinity mask and the CPU quota of the mounted ``cgroup``, version 2 or 1; at least 1.

    Under a quota, thread pools sized by the machine's cores are throttled heavily (onnxruntime#29510).
    Quotas round up: ``cpus=1.5`` gives 2 threads, which together use the whole quota.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _quota(cgroup: Path) -> float | None:
    # Without a quota, version 2 has "max" instead of a number, and version 1 has -1.
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
