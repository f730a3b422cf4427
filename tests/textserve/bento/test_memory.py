from __future__ import annotations

import subprocess
import sys

import pytest

# Threads that hold memory at the same time; malloc_info lists the arenas that they use.
SCRIPT = """
import ctypes, threading
from textserve.bento.memory import return_freed

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
