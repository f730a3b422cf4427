"""The memory that the C library takes for this process."""

from __future__ import annotations

import asyncio
import ctypes

# <malloc.h> of the GNU C library
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 262_144
# How often to return free pages, in seconds. Other threads wait for malloc meanwhile: at most about 1 ms if there is
# little to return, and half a millisecond more for each MB.
TRIM_SECONDS = 10.0


def return_freed() -> None:
    """Let malloc return freed memory to the system; call this before threads start.

    By default the GNU C library gives each thread an arena of its own, up to eight for each core, and memory freed in
    one arena is not used by the others. And after a large block was freed, such as a body of 4 MB, it places blocks of
    that size among the small ones, where they leave gaps; a fixed threshold turns that off. A flood of requests would
    leave the process several times as large. ONNX Runtime computes in memory that it keeps, and rarely calls malloc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries do not have it
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)


async def trim_regularly() -> None:
    """Return the free pages between blocks in use, which malloc keeps, every ``TRIM_SECONDS`` until cancelled."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while malloc_trim is not None:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(malloc_trim, 0)
