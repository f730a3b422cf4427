"""Speed of models side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from textserve.classifier import batch_feeds, encoded
from textserve.spec import Input, ModelSpec

ROUNDS = 7
SEED = 0
SPEED_TEXTS = 200

Feeds = Mapping[str, npt.NDArray[np.int64]]
Item = TypeVar("Item")


def sample(texts: Sequence[Item]) -> list[Item]:
    """At most SPEED_TEXTS of ``texts``, drawn with a fixed seed."""
    return [texts[index] for index in np.random.default_rng(SEED).permutation(len(texts))[:SPEED_TEXTS]]


def feeds(spec: ModelSpec, tokenizer: Tokenizer, text: Input) -> Feeds:
    """The inputs of the graph for one text, or pair, as serving builds them: int64 arrays of shape ``[1, tokens]``."""
    return batch_feeds(spec, [encoded(spec, tokenizer.encode_batch_fast([text])[0])])


def texts_per_second(
    models: Sequence[Callable[[Item], object]], texts: Sequence[Item], rounds: int = ROUNDS
) -> list[float]:
    """Texts per second of each model, one text at a time: the median of ``rounds`` rounds, in which models take turns.

    A first round only warms up. The speed of a shared machine changes from minute to minute, so only ratios within one
    call mean anything.
    """
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(rounds + 1):
        for times, answer in zip(seconds, models, strict=True):
            started = time.perf_counter()
            for text in texts:
                answer(text)
            times.append(time.perf_counter() - started)
    return [len(texts) / median(times[1:]) for times in seconds]
