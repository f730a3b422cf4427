"""Scores windows on this machine, with one thread per core; the threads share one model.

Each thread scores a window of its own. ONNX Runtime and the tokenizer release the GIL while they compute, and use only
the calling thread. With one process per core, each would hold the model; benchmarks/bulk.py compares the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from bulk.scorer import Scored, Scorer
from bulk.windows import Window


def score(scorer: Scorer, windows: Iterable[Window], threads: int) -> Iterator[tuple[Window, Scored]]:
    """Yield each window with its answers, in order; a few windows are read ahead.

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
