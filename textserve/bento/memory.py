"""The memory that the C library takes for this process."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # <malloc.h> of the GNU C library


def share_arena() -> None:
    """Let all threads share one arena of malloc; call it before threads start.

    By default the GNU C library gives each thread its own, up to eight for each core, and what is freed in one is not
    used by the others: under a flood of requests the process grows by 160 MB instead of 40. ONNX Runtime computes in
    memory that it keeps, so the threads rarely wait for each other here.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries do not have it
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
