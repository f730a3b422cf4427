"""Measure what the passes over the graph are worth: time before and after, and whether answers stay the same.

    git show 5ac52f7:models/sentiment-pl-en/model.onnx > build/before.onnx
    python -m benchmarks.graph build/before.onnx
    python -m benchmarks.graph MODEL_FILE --mask attention_mask

Applies modeling/export/optimization.py to a quantized graph that was exported before it existed; one exported since has
nothing left to measure. Runs both in turn on one thread, on random token ids. Prints, by shape, the ratio of thread
time (the median over the rounds; below 1 is faster) and the largest difference of a logit; then the largest difference
between a text alone and in a padded batch, before and after. Takes a minute, and needs the export environment.

Exit codes: 0 measured, 1 no pass fits the graph, 2 bad arguments.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from benchmarks import machine
from modeling.errors import ModelingError
from modeling.export.optimization import optimize
from scripts.command import command, parser
from textserve.graph import open_session

# Texts, tokens, and runs of each graph in turn.
SHAPES = ((1, 20, 60), (16, 20, 12), (1, 128, 20), (1, 512, 6))
ROUNDS = 5
BATCHED = 48
LARGEST_BATCH = 32
SEED = 0

Feeds = dict[str, npt.NDArray[np.int64]]


def feeds(session: ort.InferenceSession, mask: str, lengths: list[int], rows: npt.NDArray[np.int64]) -> Feeds:
    """The inputs of a batch: the first ``lengths`` tokens of each of ``rows``, padded to the longest."""
    longest = max(lengths)
    visible = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    names = [argument.name for argument in session.get_inputs()]
    found = {name: np.zeros_like(visible) for name in names}
    return found | {names[0]: rows[:, :longest] * visible, mask: visible}


def thread_seconds(session: ort.InferenceSession, given: Feeds, runs: int) -> float:
    """Seconds of this thread for ``runs``, in which nothing else counts that uses the machine."""
    started = time.thread_time()
    for _ in range(runs):
        session.run(None, given)
    return time.thread_time() - started


def largest_in_batches(session: ort.InferenceSession, mask: str, rows: npt.NDArray[np.int64]) -> float:
    """The largest difference of a logit when texts of 3 to 60 tokens are computed in random batches, not alone."""
    random = np.random.default_rng(SEED)
    lengths = random.integers(3, 61, len(rows)).tolist()
    alone = [session.run(None, feeds(session, mask, [n], rows[[i]]))[0] for i, n in enumerate(lengths)]
    order, largest = list(random.permutation(len(rows))), 0.0
    while order:
        size = int(random.integers(2, LARGEST_BATCH + 1))
        batch, order = order[:size], order[size:]
        found = session.run(None, feeds(session, mask, [lengths[i] for i in batch], rows[batch]))[0]
        largest = max(largest, float(np.abs(found - np.concatenate([alone[i] for i in batch])).max()))
    return largest


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    options = parser(__doc__)
    options.add_argument("file", type=Path, metavar="MODEL_FILE")
    options.add_argument("--mask", default="attention_mask", help="name of the attention mask")
    options.add_argument("--vocabulary", type=int, default=10_000, help="random token ids are below this")
    given = options.parse_args(arguments)
    optimized, changed = optimize(onnx.load(given.file), given.mask)
    if not any(changed.values()):
        raise ModelingError(f"{given.file}: no pass fits this graph, or it has been through them; give one from before")
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(optimized, Path(folder, "model.onnx"))
        before, after = open_session(given.file), open_session(Path(folder, "model.onnx"))
    print(", ".join(f"{name}: {count}" for name, count in changed.items()))
    print(machine.describe()["cpu"], f"other programs use {machine.busy_share():.0%} of the machine", sep="; ")
    random = np.random.default_rng(SEED)
    print("texts x tokens   time after / before   largest difference of a logit")
    for texts, tokens, runs in SHAPES:
        batch = feeds(before, given.mask, [tokens] * texts, random.integers(5, given.vocabulary, (texts, tokens)))
        difference = np.abs(before.run(None, batch)[0] - after.run(None, batch)[0]).max()
        pairs = [(thread_seconds(after, batch, runs), thread_seconds(before, batch, runs)) for _ in range(ROUNDS)]
        ratio = statistics.median(new / old for new, old in pairs)
        print(f"{f'{texts} x {tokens}':>14}   {ratio:>19.3f}   {difference:>29.1e}")
    rows = random.integers(5, given.vocabulary, (BATCHED, 60))
    alike = [f"{largest_in_batches(session, given.mask, rows):.1e}" for session in (before, after)]
    print(f"largest difference of a logit in random batches: before {alike[0]}, after {alike[1]}")


if __name__ == "__main__":
    sys.exit(main())
