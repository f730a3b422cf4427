"""Counts denormal numbers as zero.

The softmax of attention gives padding a weight of about 1e-39: too small to change a bit of an answer, but an Intel
processor multiplies such numbers many times slower than others. ONNX Runtime's own option changes the thread that loads
a model permanently, and so every number that Python computes there.
"""

from __future__ import annotations

import ctypes
import platform
import sys

# Of fenv_t on x86-64: the x87 unit's 28 bytes, then MXCSR, in the GNU C library (<bits/fenv.h>) and in musl.
ENVIRONMENT_BYTES, MXCSR = 32, 28
# Bits of MXCSR: denormal results become zero, and denormal operands count as zero (Intel SDM, volume 1, 10.2.3).
AS_ZERO = 1 << 15 | 1 << 6

# A handle of the whole process, whose functions are called with the GIL held. A Python without libm has no fesetenv.
PROCESS = ctypes.pythonapi
SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64" and hasattr(PROCESS, "fesetenv")


class AsZero:
    """Within the block, this thread counts denormal numbers as zero, on Linux on x86-64; elsewhere nothing changes."""

    def __enter__(self) -> None:
        """Change the thread's floating-point environment."""
        if SUPPORTED:
            self._before = ctypes.create_string_buffer(ENVIRONMENT_BYTES)
            PROCESS.fegetenv(self._before)
            before = self._before.raw
            mxcsr = int.from_bytes(before[MXCSR:], "little") | AS_ZERO
            PROCESS.fesetenv(before[:MXCSR] + mxcsr.to_bytes(4, "little"))

    def __exit__(self, *_: object) -> None:
        """Restore it."""
        if SUPPORTED:
            PROCESS.fesetenv(self._before)
