"""Compile what the service loads, and nothing else, while its image is built.

    python -m textserve.bento.bytecode

A container whose files cannot be written would compile the same modules at every start, which takes longer than all the
rest; and bytecode of everything that is installed is twice as large. The modules are loaded, with all that these load
in their turn, whether they are packages, the service or Python's own, and those of Python files are compiled. Nothing
looks at the files again, since in an image they do not change; elsewhere they do, so elsewhere this refuses to run.
"""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from pathlib import Path

# The service, and what BentoML and uvicorn load late: by name, or once a request needs it. A test of the image finds
# what is missing here.
MODULES = (
    "service",
    "textserve.bento.start",
    "textserve.bento.health",
    "_bentoml_impl.client.proxy2",
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
    """Load the modules and write the bytecode of each that is loaded."""
    if "BENTO_PATH" not in os.environ:
        sys.exit(
            "textserve.bento.bytecode is for an image that is being built: what is changed afterwards would not be seen"
        )
    for name in MODULES:
        importlib.import_module(name)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for file in sorted(file for file in files if file and Path(file).suffix == ".py"):
        py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
