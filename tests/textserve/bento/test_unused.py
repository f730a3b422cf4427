from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import psutil

from tests.server import ROOT, Server
from textserve.bento.unused import STAND_INS


def test_bentoml_and_httpx_still_have_what_is_left_out() -> None:
    missing = [
        f"{name}.{member}"
        for name, members in STAND_INS.items()
        for member in members
        if not hasattr(import_module(name), member)
    ]
    assert missing == [], "these moved: find their successors and change textserve.bento.unused.STAND_INS"


def test_the_serving_process_loads_none_of_their_packages(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    libraries = {part for mapped in process.memory_maps() for part in mapped.path.split("/")}
    assert "onnxruntime" in libraries
    # All have compiled modules.
    assert not libraries & {"aiohttp", "multidict", "tornado", "zmq"}


def test_httpx_works_without_its_command_line() -> None:
    program = "from textserve.bento import unused; unused.leave_out(); import httpx, sys; httpx.Client(); "
    program += "sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
