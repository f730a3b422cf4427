"""The memory that the C library takes for this process."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

# <malloc.h> of the GNU C library
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 262_144
# How often to look at the memory, in seconds, and by how much it must have grown for free pages to be returned: that
# takes some milliseconds, in which other threads wait for malloc.
TRIM_SECONDS = 10.0
GROWN_BYTES = 16 * 2**20


def return_freed() -> None:
    """Let malloc return what is freed; call it before threads start.

    By default the GNU C library gives each thread an arena of its own, up to eight for each core, and what is freed in
    one is not used by the others. And it places blocks as large as one that was freed before, such as a body of 4 MB,
    among the small ones, where they leave gaps; a fixed threshold turns that off. A flood of requests would leave the
    process several times as large. ONNX Runtime computes in memory that it keeps, and asks malloc rarely.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries do not have it
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)


async def trim_when_grown() -> None:
    """Return free pages between blocks in use, which malloc keeps, whenever the process has grown; until cancelled."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is None:
        return
    trimmed = resident_bytes()
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        if resident_bytes() > trimmed + GROWN_BYTES:
            await asyncio.to_thread(malloc_trim, 0)
            trimmed = resident_bytes()


def resident_bytes() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
