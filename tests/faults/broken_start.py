"""Starts the service as the image does, with parts that break when a file says so: what fails inside, for the tests.

    FAULT_FILE=FILE python -m tests.faults.broken_start

The file's first word is the fault, one of ``FAULTS``; with the second word ``once`` it happens once, and the file is
removed. Without the file nothing is broken.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

FILE = Path(os.environ["FAULT_FILE"])
# Fault: the function or method that has it, as pkgutil.resolve_name reads it.
FAULTS = {
    "hang": "textserve.classifier:Classifier.logits",
    "raise": "textserve.classifier:Classifier.logits",
    "exit": "textserve.classifier:Classifier.logits",
    "nan": "textserve.classifier:Classifier.logits",
    "infinity": "textserve.classifier:Classifier.logits",
    "take": "textserve.batching:BatchQueue.take",
    "deliver": "textserve.runner:deliver",
    "histograms": "prometheus_client:Histogram.observe",
    "counters": "prometheus_client:Counter.inc",
    "gauges": "prometheus_client:Gauge.set",
}
CHECK_SECONDS = 0.05
_lock = threading.Lock()


class InjectedError(RuntimeError):
    """The fault of a test."""


def asked() -> str | None:
    """The fault that the file names now, if any."""
    with _lock:
        try:
            fault, _, count = FILE.read_text(encoding="ascii").strip().partition(":")
        except OSError:
            return None
        if count == "once":
            FILE.unlink()
        return fault


def breaking(original: Callable[..., Any], faults: set[str]) -> Callable[..., Any]:
    """``original``, which has one of these faults while the file names it."""

    def method(*arguments: Any, **options: Any) -> Any:
        # A file that names the fault of another method stays.
        if not FILE.exists() or FILE.read_text(encoding="ascii").partition(":")[0].strip() not in faults:
            return original(*arguments, **options)
        fault = asked()
        if fault == "hang":
            threading.Event().wait()
        if fault == "exit":
            raise SystemExit(7)
        if fault in ("nan", "infinity"):
            answer = original(*arguments, **options)
            return np.full_like(answer, np.nan if fault == "nan" else np.inf)
        if fault is None:
            return original(*arguments, **options)
        raise InjectedError(fault)

    return method


def close_grpc_when_asked() -> None:
    """Shut down the socket that gRPC listens on once the file says ``grpc``, as if its listener had died."""
    port = int(os.environ["TEXTSERVE_GRPC_PORT"])
    pause = threading.Event()
    while not pause.wait(CHECK_SECONDS):
        if FILE.exists() and FILE.read_text(encoding="ascii").startswith("grpc"):
            break
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # no socket, or closed meanwhile
        with found:
            listens = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
            if listens and found.getsockname()[1] == port and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.shutdown(socket.SHUT_RDWR)
                FILE.unlink(missing_ok=True)


def main() -> None:
    """Break what the faults name, and serve."""
    from textserve.bento.start import main as serve

    for place in set(FAULTS.values()):
        faults = {fault for fault, found in FAULTS.items() if found == place}
        owner, _, name = place.replace(":", ".").rpartition(".")
        setattr(resolve_name(owner), name, breaking(resolve_name(place), faults))
    threading.Thread(target=close_grpc_when_asked, daemon=True).start()
    serve()


if __name__ == "__main__":
    main()
