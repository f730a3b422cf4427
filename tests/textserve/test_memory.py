from __future__ import annotations

import asyncio
import subprocess
import sys

import psutil
import pytest

from textserve import memory

# Threads that hold memory at the same time; malloc_info lists the arenas that they use.
SCRIPT = """
import ctypes, threading
from textserve.memory import return_freed

library, together = ctypes.CDLL(None), threading.Barrier(8)
library.malloc.restype = library.fdopen.restype = ctypes.c_void_p

def hold():
    library.malloc(ctypes.c_size_t(1000))
    together.wait()

if {shared}:
    return_freed()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
output = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, output)
library.fflush(output)
"""


@pytest.mark.parametrize("shared", [True, False])
def test_all_threads_use_one_arena(shared: bool) -> None:
    command = [sys.executable, "-c", SCRIPT.format(shared=shared)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert (done.stdout.count("<heap ") == 1) == shared


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def test_free_pages_between_blocks_in_use_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.01)

    async def run() -> None:
        trimming = asyncio.create_task(memory.trim_regularly())
        await asyncio.sleep(0)
        blocks = [bytearray(10_000) for _ in range(10_000)]
        grown = resident_bytes()
        kept = blocks[::100]
        blocks.clear()
        while resident_bytes() > grown - 50 * 2**20:
            await asyncio.sleep(0.01)
        assert len(kept) == 100
        trimming.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))
