"""Compile the modules that the service loads, and no others, while its image is built.

    python -m textserve.bento.bytecode

A container with a read-only root would compile the same modules at every start, which takes longer than the rest of the
start; the bytecode of all installed modules would be twice as large. This imports the service and compiles every module
that is then loaded. Python never checks this bytecode against its source: the files of an image do not change. Those of
a working copy do, so this fails outside an image.
"""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from pathlib import Path

from textserve.bento import unused

# The service, and the modules that BentoML 1.4.39 and uvicorn 0.54 import late: by name, or at the first request. No
# public API lists them. A test finds those that no longer exist; a test of the image finds those that are missing.
MODULES = (
    "service",
    "textserve.bento.start",
    "textserve.bento.health",
    "_bentoml_impl.loader",
    "_bentoml_impl.serde",
    "_bentoml_impl.server.app",
    "_bentoml_impl.worker.service",
    "anyio.from_thread",
    "anyio._core._sockets",
    "anyio._core._streams",
    "anyio.streams.stapled",
    "anyio.streams.tls",
    "bentoml._internal.bento",
    "bentoml._internal.log",
    "bentoml._internal.runner.container",
    "bentoml._internal.server.http.traffic",
    "bentoml._internal.utils.telemetry",
    "bentoml.container",
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.sdk.trace.export",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


def main() -> None:
    """Import the modules and write the bytecode of every module that is then loaded."""
    if "BENTO_PATH" not in os.environ:
        sys.exit("textserve.bento.bytecode is for an image that is being built: Python would ignore later changes")
    unused.leave_out()
    for name in MODULES:
        importlib.import_module(name)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for file in sorted(file for file in files if file and Path(file).suffix == ".py"):
        py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
