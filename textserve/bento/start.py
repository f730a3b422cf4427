"""Serve the Bento of this container in one process: what the image starts.

    python -m textserve.bento.start

`bentoml serve` puts a supervisor beside the process that serves, and in a container that only costs: it loads all of
BentoML, and the model, once more before there is anything to supervise, and it outlives the process that it
supervises. Here the process that serves is the container: when it dies, so does the
container, and whoever runs that starts another.

It is BentoML's own worker that runs, as the supervisor would have started it, on a socket that is opened here.
``BENTO_PATH`` is the Bento, or what else `bentoml serve` takes; ``PORT`` the port of HTTP, 3000 where it is not set.
Exit codes: 0 told to stop, 1 refused (the message says why), 3 the model cannot be loaded, or gRPC cannot listen (the
log says why).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from textserve import ports
from textserve.bento.health import http_port

BACKLOG = 2048  # connections that wait to be accepted; as many as BentoML has by default


def models(bento: str) -> list[Path]:
    """The folders with the files of the models in a Bento's folder; of ours it is one."""
    from textserve.spec import STORED_FOLDER

    return sorted(Path(bento, "models").glob(f"*/*/{STORED_FOLDER}"))


def main() -> None:
    """Serve until told to stop."""
    # A container's first process ignores what it does not handle, and the server's own handlers come late. What takes
    # time to be loaded is therefore loaded here, and not above.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    # It is there for good, and looking through it for garbage takes time; the application does so once, when all is
    # there.
    gc.disable()
    bento = os.environ.get("BENTO_PATH")
    if not bento:
        sys.exit("BENTO_PATH is not set: name the folder of a Bento, or service:TextClassifier")
    from textserve.loading import load_early
    from textserve.settings import Settings

    try:
        settings = Settings()
        # On every address: a container's port is reached from outside.
        listening = ports.listen("0.0.0.0", http_port(), name="HTTP", advice="set PORT to another one", backlog=BACKLOG)  # noqa: S104
        options = ["--fd", str(listening.detach()), "--backlog", str(BACKLOG), "--worker-id", "1"]
    except (ValueError, ports.PortError) as error:
        sys.exit(str(error))
    if settings.tls_certificate:
        options += ["--ssl-certfile", str(settings.tls_certificate), "--ssl-keyfile", str(settings.tls_key)]
    for folder in models(bento):
        load_early(folder)
    from _bentoml_impl.worker.service import main as work

    work([bento, *options])


def _exit(number: int, frame: FrameType | None) -> None:
    # Whatever is being loaded, on this thread or another, is not waited for. Where the server was told to stop, it has
    # done so before it passes the signal on to here.
    os._exit(0)


if __name__ == "__main__":
    main()
