"""The number of cores available to this process, which in a container may be fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the affinity mask and the cgroup's CPU quota, at least 1.

    Under a quota, thread pools sized by the machine's cores are throttled heavily (onnxruntime#29510).
    Quotas round up: ``cpus=1.5`` gives 2 threads, which together use the whole quota.

    Args:
        cgroup: mount point of the process's cgroup, version 2 (``cpu.max``) or 1.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
