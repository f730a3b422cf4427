"""Starts the service as the image does, with a fault that begins when a file appears: a bad candidate, for the tests.

    FAULT=errors|slow|swapped|none FAULT_FILE=FILE python -m tests.operate.faulty_start

``errors`` fails one batch of twenty, ``slow`` takes three times as long for a request and 20 ms at least, ``swapped``
exchanges the scores of the first and the last label.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textserve.classifier import Classifier

FILE = Path(os.environ["FAULT_FILE"])
LEAST_SECONDS = 0.02
_random = random.Random(5)


class InjectedError(RuntimeError):
    """The fault of a test."""


def faulty(original: Callable[..., Any], fault: str) -> Callable[..., Any]:
    """The method that computes a batch, with the fault while the file is there."""

    def logits(*arguments: Any, **options: Any) -> Any:
        if not FILE.exists():
            return original(*arguments, **options)
        if fault == "errors" and _random.random() < 0.05:
            raise InjectedError(fault)
        began = time.monotonic()
        answer = original(*arguments, **options)
        if fault == "slow":
            threading.Event().wait(max(2 * (time.monotonic() - began), LEAST_SECONDS))
        return answer[:, ::-1] if fault == "swapped" else answer

    return logits


def main() -> None:
    """Break what ``FAULT`` names, and serve."""
    from textserve.bento.start import main as serve

    Classifier.logits = faulty(Classifier.logits, os.environ["FAULT"])  # type: ignore[method-assign]  # the fault
    serve()


if __name__ == "__main__":
    main()
