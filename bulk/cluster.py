"""Runs a job on Ray Data: tasks read the windows, a pool of actors scores them, and this process keeps the results.

Each row of the data set is a window, so an actor works on a few thousand texts at a time and the parts are the same
as in a run without Ray. Ray limits how far the readers get ahead of the actors, repeats the work of a lost node on
another, and places an actor on each core. All nodes must be able to read the input; only this process writes.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray

from bulk.addresses import Source
from bulk.errors import BulkError
from bulk.parts import Key
from bulk.progress import Summary
from bulk.reading import Reading
from bulk.run import Job, run, unfinished
from bulk.scorer import Scored, Scorer

# Blocks of about one window: larger blocks would keep some actors busy while others wait.
BLOCK_BYTES = 1 << 17
# An actor computes on one core, and shares it with a reader, which is idle most of the time.
ACTOR_CORES, READER_CORES = 0.9, 0.1


def run_on_ray(job: Job, address: str | None = None) -> Summary:
    """Score ``job`` on the Ray cluster at ``address``, or by default on a new cluster on this machine.

    Raises:
        BulkError: see :func:`bulk.run.run`; also if the cluster cannot be reached, or the input is standard input.
    """
    try:
        here: dict[str, Any] = {} if address else {"include_dashboard": False}
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BulkError(f"--ray-address {address}: cannot be reached: {str(error).splitlines()[0]}") from None
    try:
        return run(job, score, int(ray.cluster_resources().get("CPU", 1)))
    except ray.exceptions.RayError as error:
        if (cause := _cause(error)) is not None:
            raise cause from None
        raise
    finally:
        ray.shutdown()


def score(
    files: Sequence[Source], reading: Reading, finished: Mapping[Key, str], scorer: Scorer
) -> Iterator[tuple[Key, int, str, Scored]]:
    """The :data:`bulk.run.Engine` of the Ray cluster that this process is connected to.

    Raises:
        BulkError: if the input is standard input.
    """
    if files[0].place is None:
        raise BulkError("standard input: the nodes of a cluster cannot read it; name a file")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.target_max_block_size = BLOCK_BYTES
    cores = int(ray.cluster_resources().get("CPU", 1))
    rows = [
        {"file": pickle.dumps((index, source, {key: each for key, each in finished.items() if key[0] == index}))}
        for index, source in enumerate(files)
    ]
    windows = ray.data.from_items(rows).flat_map(_Windows(reading), num_cpus=READER_CORES)
    scored = windows.map_batches(
        _Actor,
        fn_constructor_args=(scorer,),
        batch_size=1,
        num_cpus=ACTOR_CORES,
        compute=ray.data.ActorPoolStrategy(size=cores),
    )
    for row in scored.iter_rows():
        yield pickle.loads(row["scored"])  # noqa: S301  # made by _Actor of this run


def _cause(error: BaseException | None) -> BulkError | None:
    """The :class:`BulkError` that Ray has wrapped in one or two errors of its own, or ``None``."""
    if error is None or isinstance(error, BulkError):
        return error
    return _cause(getattr(error, "cause", None)) or _cause(error.__cause__)


class _Windows:
    """Yields the unfinished windows of a file; runs in a Ray task."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __call__(self, row: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
        index, source, finished = pickle.loads(row["file"])  # noqa: S301  # made by score() of this run
        for window in unfinished(index, source, self._reading, finished):
            yield {"window": pickle.dumps(window)}


class _Actor:
    """Scores windows; Ray runs it in a process of its own and passes it one window at a time."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        scored = []
        for content in batch["window"]:
            window = pickle.loads(content)  # noqa: S301  # made by _Windows of this run
            answered = self._scorer.score(window)
            scored.append(pickle.dumps((window.key, window.position, window.digest(), answered)))
        return {"scored": scored}
