"""Speed of ONNX files beside each other, fed and run as the service does it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from textserve.classifier import batch_feeds, load_tokenizer, open_session
from textserve.spec import ModelSpec

__all__ = ["Feeds", "feeds", "load_tokenizer", "open_session", "texts_per_second"]

Feeds = Mapping[str, npt.NDArray[np.int64]]


def feeds(spec: ModelSpec, tokenizer: Tokenizer, text: str) -> Feeds:
    """What the graph is fed with for one text: int64 arrays of shape ``[1, tokens]``."""
    return batch_feeds(spec, [tokenizer.encode(text).ids])


def texts_per_second(files: Sequence[Path], inputs: Sequence[Feeds], rounds: int = 5) -> list[float]:
    """Speed of each file, one text at a time on one thread: the median of ``rounds``, taken in turns.

    Turns, because a machine that others share changes its speed from minute to minute: only ratios within one call
    mean anything.
    """
    sessions = [open_session(file) for file in files]
    seconds: list[list[float]] = [[] for _ in files]
    for _ in range(rounds + 1):
        for times, session in zip(seconds, sessions, strict=True):
            started = time.perf_counter()
            for values in inputs:
                session.run(None, dict(values))
            times.append(time.perf_counter() - started)
    return [len(inputs) / float(np.median(times[1:])) for times in seconds]
