"""Counts denormal numbers as zero.

The softmax of attention gives padding a weight of about 1e-39: too small to change a bit of an answer, but an Intel
processor multiplies such numbers many times slower than others. ONNX Runtime's own option changes the thread that loads
a model permanently, and so every number that Python computes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from collections.abc import Iterator

# Of fenv_t on x86-64: the x87 unit's 28 bytes, then MXCSR, in the GNU C library (<bits/fenv.h>) and in musl.
ENVIRONMENT_BYTES, MXCSR = 32, 28
# Bits of MXCSR: denormal results become zero, and denormal operands count as zero (Intel SDM, volume 1, 10.2.3).
AS_ZERO = 1 << 15 | 1 << 6

# A handle of the whole process, whose functions are called with the GIL held. A Python without libm has no fesetenv.
PROCESS = ctypes.pythonapi
SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64" and hasattr(PROCESS, "fesetenv")


@contextlib.contextmanager
def as_zero() -> Iterator[None]:
    """Within the block, this thread counts denormal numbers as zero, on Linux on x86-64; elsewhere nothing changes."""
    if not SUPPORTED:
        yield
        return
    before = ctypes.create_string_buffer(ENVIRONMENT_BYTES)
    PROCESS.fegetenv(before)
    mxcsr = int.from_bytes(before.raw[MXCSR:], "little") | AS_ZERO
    PROCESS.fesetenv(before.raw[:MXCSR] + mxcsr.to_bytes(4, "little"))
    try:
        yield
    finally:
        PROCESS.fesetenv(before)
