"""Requests that wait for their answers, and how the worker threads deliver these.

A request receives its answers on the thread of its event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import numpy.typing as npt

from textserve.batching import Text, Work
from textserve.cache import Row
from textserve.errors import Internal


@dataclass(slots=True, eq=False)
class Request(Work):
    """Work awaited on ``loop``; ``answers``, ``[texts, 2, labels]``, has the scores and the logits of each text."""

    loop: asyncio.AbstractEventLoop = field(kw_only=True)
    done: asyncio.Future[None] = field(kw_only=True)
    arrived: float = field(kw_only=True)
    answers: npt.NDArray[np.float32] = field(kw_only=True)
    missing: int = field(kw_only=True)
    started: float = field(default=inf, init=False)

    def finish(self, error: Exception | None = None) -> None:
        """Complete ``done``, with ``error`` if given; does nothing if it is complete."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def deliver(batch: Sequence[Text[Request]], rows: Sequence[Row | None]) -> None:
    """Pass each text's row to its request; ``None`` fails the request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Text[Request], Row | None]]] = {}
    for text, row in zip(batch, rows, strict=True):
        by_loop.setdefault(text.work.loop, []).append((text, row))
    for loop, results in by_loop.items():
        # A closed event loop has no waiting requests.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_receive, results)


def internal() -> Internal:
    """The error of a request on which the model failed."""
    return Internal("the model failed on this request; the server's log says why")


def _receive(results: Sequence[tuple[Text[Request], Row | None]]) -> None:
    for text, row in results:
        request = text.work
        if row is None:
            request.finish(internal())
            continue
        request.answers[text.index] = row
        request.missing -= 1
        if request.missing == 0:
            request.finish()
