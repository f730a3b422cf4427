"""What is freed goes back to the system, so that memory does not grow with the input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bulk.conftest import Write
from tests.server import LIMIT_SECONDS, ROOT

# malloc_info lists the arenas that threads have used.
SCRIPT = """
import ctypes, sys
from scripts import score

score.main(sys.argv[1:])
import pyarrow

print(pyarrow.default_memory_pool().backend_name, flush=True)
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
output = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, output)
library.fflush(output)
"""


def test_arrow_and_all_threads_use_one_arena_of_malloc(
    tmp_path: Path, lines: Write, tiny: Callable[[str], str]
) -> None:
    source = lines("in.jsonl", [{"text": f"emotion{index % 9}"} for index in range(5000)])
    given = [str(source), str(tmp_path / "out.parquet"), "--model", tiny("several"), "--quiet"]
    command = [sys.executable, "-c", SCRIPT, *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    pool, *information = done.stdout.splitlines()
    assert pool == "system"
    assert sum("<heap " in line for line in information) == 1
