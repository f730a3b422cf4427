"""Serve the Bento of this container in one process: what the image starts.

    python -m textserve.bento.start

`bentoml serve` runs a supervisor beside the serving process. In a container that is only a cost: the supervisor loads
BentoML and the model a second time before it starts the worker, and outlives the process that it supervises. Here the
container is the serving process: when it exits, the container exits, and the orchestrator starts another.

``BENTO_PATH`` is the Bento, or any other target of `bentoml serve`. ``PORT``, or else Vertex AI's ``AIP_HTTP_PORT``, is
the HTTP port, 3000 by default.
Exit codes: 0 stopped by a signal, 1 a setting is wrong (the message says which), 3 the model cannot be loaded, or gRPC
cannot listen (the log says why).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from textserve import ports
from textserve.bento import unused
from textserve.bento.health import http_port
from textserve.environment import unset_empty
from textserve.memory import return_freed

BACKLOG = 2048  # maximum connections that wait to be accepted: BentoML's default


def models(bento: str) -> list[Path]:
    """The folders with the files of a Bento's models; this Bento has one."""
    from textserve.spec import STORED_FOLDER

    return sorted(Path(bento, "models").glob(f"*/*/{STORED_FOLDER}"))


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    # The first process of a container ignores signals that it does not handle, and uvicorn installs its handlers late.
    # Slow imports are therefore made below this line.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    # Loaded modules and the model are never garbage. The application collects once, after everything is loaded.
    gc.disable()
    return_freed()
    unset_empty("BENTOML_")
    bento = os.environ.get("BENTO_PATH")
    if not bento:
        sys.exit("BENTO_PATH is not set: name the folder of a Bento, or service:TextClassifier")
    if ":" not in bento and not Path(bento).is_dir():
        sys.exit(f"BENTO_PATH: {bento} is not the folder of a Bento")
    from textserve.loading import load_early
    from textserve.settings import Settings

    try:
        settings = Settings.read()
        ports.check_distinct(http_port(), settings.grpc_port)
        # A container's port is reached from outside, so this listens on every address.
        listening = ports.listen("0.0.0.0", http_port(), name="HTTP", advice="set PORT to another one", backlog=BACKLOG)  # noqa: S104
    except (ValueError, ports.PortError) as error:
        sys.exit(str(error))
    for folder in models(bento):
        load_early(folder, settings.batch_threads)
    run_worker(bento, listening, settings.tls_certificate, settings.tls_key)


def run_worker(bento: str, listening: socket.socket, certificate: Path | None, key: Path | None) -> None:
    """Run the worker that BentoML's supervisor would start, in this process, on a socket that listens.

    Checked with BentoML 1.4.39. Its public ways to serve, `bentoml serve` and ``bentoml.serve``, start a supervisor.
    """
    unused.leave_out()
    from _bentoml_impl.worker.service import main as work

    options = ["--fd", str(listening.detach()), "--backlog", str(BACKLOG), "--worker-id", "1"]
    if certificate:
        options += ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
    work([bento, *options])


def _exit(number: int, frame: FrameType | None) -> None:
    # Does not wait for threads that are still loading. Once uvicorn serves, it has shut down before this runs.
    os._exit(0)


if __name__ == "__main__":
    main()
