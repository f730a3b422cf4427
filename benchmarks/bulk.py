"""Compare bulk scoring with bare loops, with a process per core, with Ray, and with transformers' pipeline.

    make benchmark-bulk                 # hours on two cores without VNNI
    make benchmark-bulk ONLY=rates      # or memory, each about half of the time; results of the other are kept
    make benchmark-bulk ONLY=memory TEXTS=100000

The texts are those of the mix "mixed" of benchmarks/texts.py, repeated and shuffled: 10 % have 200 to 400 tokens. Each
copy ends with its number, because textserve would compute equal texts of a window only once, unlike the others. Every
contender uses all cores, runs in a process of its own and reads a Parquet file.

Rates: the bare loops are compared once, on a sample. In every round, textserve scores 20,000 texts, or 60,000 on Ray,
because the start of Ray's actors counts; the best loop scores whole windows, the slow contenders samples. The figure of
a promise is the median of the ratios within the rounds. Memory: textserve scores 20,000 texts and then 200,000 or
TEXTS; that is also the rate for an archive. Memory is the largest resident memory of the main process of a contender.
Writes texts a second and memory to benchmarks/results/bulk.json, with TEXTS to build/benchmark/.

Exit codes: 0 within the promises, 1 a promise is not kept, 2 bad arguments.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine, texts
from benchmarks.servers import DEFAULT_MODEL
from bulk.addresses import sources
from bulk.reading import Reading, read
from bulk.run import Job, run
from bulk.scorer import Scorer
from bulk.windows import WINDOW_ROWS
from modeling.files import ROOT, sha256
from scripts import score
from scripts.command import parser
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier
from textserve.cpus import available_cpus

RESULTS = ROOT / "benchmarks" / "results" / "bulk.json"
PARTIAL_RESULTS = ROOT / "build" / "benchmark" / "bulk.json"
RATES, MEMORY = "rates", "memory"
TEXTS, FEWER, ON_RAY_TEXTS = 200_000, 20_000, 60_000
LOOP, SAMPLE, SMALL_SAMPLE = 4 * WINDOW_ROWS, WINDOW_ROWS, 500
ROUNDS = 2
OURS, ON_RAY, PROCESSES = "textserve", "textserve on Ray", "textserve, a process a core"
PIPELINE, PLAIN_RAY = "transformers.pipeline", "Ray, plain function"
BARE, BARE_BATCHES = "bare loop, batches of", (8, 16, 32)
PADDED = 32
Start: TypeAlias = Callable[[str, int], dict[str, float]]
COUNTS = {OURS: FEWER, ON_RAY: ON_RAY_TEXTS, PROCESSES: 2 * SAMPLE, PLAIN_RAY: SMALL_SAMPLE, PIPELINE: SMALL_SAMPLE}


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("--only", choices=(RATES, MEMORY), help="measure one, and keep earlier results of the other")
    args.add_argument("--texts", type=int, default=TEXTS, help="number of texts for the measurement of memory")
    args.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds for the measurement of rates")
    args.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help="run one contender and print its figures")
    options = args.parse_args(arguments)
    if options.one:
        print(json.dumps(_measure(*options.one)))
        return 0
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        start = partial(_start, Path(folder))
        if options.only != MEMORY:
            measured[RATES] = _rates(start, options.rounds)
        if options.only != RATES:
            measured[MEMORY] = _memory(start, options.texts)
    target = RESULTS if options.texts == TEXTS else PARTIAL_RESULTS
    target.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(target.read_text(encoding="utf-8")) if options.only and target.exists() else {}
    target.write_text(json.dumps(before | measured, indent=2) + "\n", encoding="utf-8")
    promises = [promise for part in measured.values() for promise in part["promises"]]
    for promise in promises:
        print(f"{'kept' if promise['kept'] else 'NOT KEPT':<9} {promise['measured']:.2f}  {promise['promise']}")
    return 0 if all(promise["kept"] for promise in promises) else 1


def _about() -> dict[str, Any]:
    return {
        "machine": machine.describe(),
        "versions": machine.versions(ROOT / ".venv-benchmark"),
        "model_sha256": sha256(DEFAULT_MODEL / MODEL_FILE),
    }


def _rates(start: Start, number: int) -> dict[str, Any]:
    figures = {name: start(name, SAMPLE) for name in CONTENDERS if name.startswith(BARE)}
    best = max(figures, key=lambda name: _rate(figures[name]))
    counts = {best: LOOP} | COUNTS
    rounds = [{name: start(name, count) for name, count in counts.items()} for _ in range(number)]
    figures |= {name: _median([each[name] for each in rounds]) for name in counts}

    def times(name: str, of: str, least: float) -> dict[str, Any]:
        ratio = statistics.median(_rate(each[name]) / _rate(each[of]) for each in rounds)
        return {"promise": f"{name}: {least:g} times {of}", "measured": ratio, "kept": ratio >= least}

    asked = [(OURS, best, 0.95), (OURS, PIPELINE, 6), (OURS, PLAIN_RAY, 1.5), (ON_RAY, OURS, 0.9)]
    return _about() | {"figures": figures, "rounds": rounds, "promises": [times(*each) for each in asked]}


def _memory(start: Start, count: int) -> dict[str, Any]:
    few, many = start(OURS, FEWER), start(OURS, count)
    ratio = many["rss_mb"] / few["rss_mb"]
    promise = f"{OURS}: the same memory for {count:,} texts as for {FEWER:,}, within 5 %"
    return _about() | {
        "figures": [few, many],
        "promises": [{"promise": promise, "measured": ratio, "kept": abs(ratio - 1) <= 0.05}],
    }


def _rate(found: Mapping[str, float]) -> float:
    return found["texts_per_second"]


def _median(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {figure: statistics.median(each[figure] for each in found) for figure in found[0]}


def _write(file: Path, count: int) -> None:
    found = texts.load("mixed", ROOT / "build" / "data", DEFAULT_MODEL / TOKENIZER_FILE)
    repeated = [f"{text} {copy}" for copy in range(count // len(found) + 1) for text in found][:count]
    random.Random(count).shuffle(repeated)
    pq.write_table(pa.table({"text": repeated}), file)


def _start(folder: Path, name: str, count: int) -> dict[str, float]:
    file = folder / f"{count}.parquet"
    if not file.exists():
        _write(file, count)
    command = [sys.executable, "-m", "benchmarks.bulk", "--one", name, str(file)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(_line(name, found), file=sys.stderr, flush=True)
    return found


def _line(name: str, found: Mapping[str, float]) -> str:
    return f"{name:<32} {found['texts_per_second']:>8.0f} texts a second  {found['rss_mb']:>6.0f} MB"


def _measure(name: str, file: str) -> dict[str, float]:
    count = pq.read_metadata(file).num_rows
    with _ray() if name in (ON_RAY, PLAIN_RAY) else contextlib.nullcontext():
        start = time.perf_counter()
        CONTENDERS[name](file)
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"texts_per_second": count / seconds, "rss_mb": memory, "texts": count}


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    """Run a Ray cluster on this machine within the block."""
    import ray

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield
    ray.shutdown()


def _texts(file: str) -> list[str]:
    found: list[str] = pq.read_table(file)["text"].to_pylist()
    return found


def _textserve(file: str) -> None:
    score.main([file, f"{file}.out.parquet", "--model", str(DEFAULT_MODEL), "--quiet"])
    Path(f"{file}.out.parquet").unlink()


def _on_ray(file: str) -> None:
    from bulk import cluster

    run(Job(file, f"{file}.out.parquet", str(DEFAULT_MODEL), quiet=True), cluster.score, available_cpus())
    Path(f"{file}.out.parquet").unlink()


def _processes(file: str) -> None:
    scorer = Scorer(str(DEFAULT_MODEL))
    with ProcessPoolExecutor(available_cpus(), initializer=_share, initargs=(scorer,)) as pool:
        for _ in pool.map(_score, read(sources(file), Reading())):
            pass


_shared: list[Scorer] = []


def _share(scorer: Scorer) -> None:
    _shared.append(scorer)


def _score(window: Any) -> Any:
    return _shared[0].score(window)


def _bare(size: int, file: str) -> None:
    classifier, found, cores = Classifier(DEFAULT_MODEL), _texts(file), available_cpus()
    with ThreadPoolExecutor(cores) as pool:
        parts = [found[core::cores] for core in range(cores)]
        list(pool.map(lambda part: classifier.predict_many(part, size), parts))


class _Plain:
    """The simplest implementation: batches in the order of the input, padded to the longest text."""

    def __init__(self) -> None:
        self._classifier = Classifier(DEFAULT_MODEL)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        scores = self._classifier.predict(self._classifier.encode(list(batch["text"])))
        return {**batch, "label": scores.argmax(axis=1)}


def _plain_ray(file: str) -> None:
    import ray

    pool = ray.data.ActorPoolStrategy(size=available_cpus())
    # Read before: the actors take all cores, so they would wait forever for a task that reads.
    data = ray.data.read_parquet(file).repartition(available_cpus()).materialize()
    data.map_batches(_Plain, batch_size=PADDED, compute=pool).materialize()


def _pipeline(file: str) -> None:
    import torch

    from benchmarks.torch_pipeline import load

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    classify, _ = load(DEFAULT_MODEL, ROOT / "build" / DEFAULT_MODEL.name / "checkpoint")
    classify(_texts(file), batch_size=PADDED, truncation=True)


CONTENDERS: Mapping[str, Callable[[str], None]] = {
    OURS: _textserve,
    PROCESSES: _processes,
    ON_RAY: _on_ray,
    **{f"{BARE} {size}": partial(_bare, size) for size in BARE_BATCHES},
    PLAIN_RAY: _plain_ray,
    PIPELINE: _pipeline,
}


if __name__ == "__main__":
    sys.exit(main())
