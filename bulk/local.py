"""Scores windows on this machine: a thread a core, each with a window of its own, all with one model.

Threads share nothing but the model: ONNX Runtime and the tokenizer release the GIL while they compute, on their own
thread only. A process a core would hold the model once each; benchmarks/bulk.py compares the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from bulk.scorer import Scored, Scorer
from bulk.windows import Window


def score(scorer: Scorer, windows: Iterable[Window], threads: int) -> Iterator[tuple[Window, Scored]]:
    """Each window with its answers, in order; a few are read ahead.

    Raises:
        BulkError: see :meth:`Scorer.score`, and whatever ``windows`` raises.
    """
    waiting: deque[tuple[Window, Future[Scored]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    try:
        for window in windows:
            waiting.append((window, pool.submit(scorer.score, window)))
            if len(waiting) > threads + 1:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _next(waiting: deque[tuple[Window, Future[Scored]]]) -> tuple[Window, Scored]:
    window, scored = waiting.popleft()
    return window, scored.result()
