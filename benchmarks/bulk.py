"""Compare bulk scoring with bare loops, with a process a core, with Ray, and with transformers' pipeline.

    make benchmark-bulk                 # 200,000 texts, hours on two cores without VNNI
    make benchmark-bulk TEXTS=20000

The texts are those of the mix "mixed" of benchmarks/texts.py, repeated and shuffled: 10 % have 200 to 400 tokens. Every
contender uses all cores, runs in a process of its own and reads a Parquet file. Only textserve and the best of the bare
loops score all texts; the loops are compared on a sample, which the pipeline and the plain Ray function, both slow,
score too, and the others score 20,000. Writes texts a second and the largest resident memory (of the process
that starts the others, where there are several) to benchmarks/results/bulk.json, with TEXTS to build/benchmark/.

Exit codes: 0 within the promises, 1 a promise is not kept, 2 bad arguments.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine, texts
from bulk.addresses import sources
from bulk.reading import Reading, read
from bulk.run import Job, run
from bulk.scorer import Scorer
from modeling.files import ROOT, sha256
from scripts.command import parser
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier
from textserve.cpus import available_cpus

MODEL = ROOT / "models" / "sentiment-pl-en"
RESULTS = ROOT / "benchmarks" / "results" / "bulk.json"
PARTIAL_RESULTS = ROOT / "build" / "benchmark" / "bulk.json"
TEXTS, FEWER, SAMPLE = 200_000, 20_000, 4_000
BARE, BARE_BATCHES = "bare loop, batches of", (8, 16, 32)
PADDED = 32


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("--texts", type=int, default=TEXTS, help="number of texts")
    args.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help="run one contender and print its figures")
    options = args.parse_args(arguments)
    if options.one:
        print(json.dumps(_measure(*options.one)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        files = {count: _write(Path(folder), count) for count in sorted({SAMPLE, FEWER, options.texts})}
        figures = {name: _start(name, files[count]) for name, (_, count) in CONTENDERS.items()}
        best = max((name for name in CONTENDERS if name.startswith(BARE)), key=lambda name: _rate(figures[name]))
        whole = {name: _start(name, files[options.texts]) for name in ("textserve", best)}
    promises = _promises(figures, *whole.values())
    figures |= {f"{name}, all texts": found for name, found in whole.items()}
    report = {
        "machine": machine.describe(),
        "versions": machine.versions(ROOT / ".venv-benchmark"),
        "model_sha256": sha256(MODEL / MODEL_FILE),
        "texts": options.texts,
        "figures": figures,
        "promises": promises,
    }
    target = RESULTS if options.texts == TEXTS else PARTIAL_RESULTS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, found in figures.items():
        print(f"{name:<32} {found['texts_per_second']:>8.0f} texts a second  {found['rss_mb']:>6.0f} MB")
    for promise, kept in promises.items():
        print(f"{'kept' if kept else 'NOT KEPT':<9} {promise}")
    return 0 if all(promises.values()) else 1


def _rate(found: Mapping[str, float]) -> float:
    return found["texts_per_second"]


def _promises(
    figures: Mapping[str, Mapping[str, float]], whole: Mapping[str, float], bare: Mapping[str, float]
) -> dict[str, bool]:
    memory = whole["rss_mb"] / figures["textserve"]["rss_mb"]
    return {
        "0.95 of the best bare loop": _rate(whole) >= 0.95 * _rate(bare),
        "6 times transformers.pipeline": _rate(whole) >= 6 * _rate(figures["transformers.pipeline"]),
        "1.5 times Ray Data with a plain function": _rate(whole) >= 1.5 * _rate(figures["Ray, plain function"]),
        "with Ray 0.9 of the speed without": _rate(figures["textserve on Ray"]) >= 0.9 * _rate(figures["textserve"]),
        "the same memory for more texts, within 5 %": abs(memory - 1) <= 0.05,
    }


def _write(folder: Path, count: int) -> Path:
    found = texts.load("mixed", ROOT / "build" / "data", MODEL / TOKENIZER_FILE)
    repeated = (found * (count // len(found) + 1))[:count]
    random.Random(count).shuffle(repeated)
    file = folder / f"{count}.parquet"
    pq.write_table(pa.table({"text": repeated}), file)
    return file


def _start(name: str, file: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bulk", "--one", name, str(file)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(name: str, file: str) -> dict[str, float]:
    count = pq.read_metadata(file).num_rows
    start = time.perf_counter()
    CONTENDERS[name][0](file)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"texts_per_second": count / seconds, "rss_mb": memory, "texts": count}


def _texts(file: str) -> list[str]:
    found: list[str] = pq.read_table(file)["text"].to_pylist()
    return found


def _textserve(file: str) -> None:
    run(Job(file, f"{file}.out.parquet", str(MODEL), quiet=True))
    Path(f"{file}.out.parquet").unlink()


def _on_ray(file: str) -> None:
    from bulk.cluster import run_on_ray

    run_on_ray(Job(file, f"{file}.out.parquet", str(MODEL), quiet=True))
    Path(f"{file}.out.parquet").unlink()


def _processes(file: str) -> None:
    scorer = Scorer(str(MODEL))
    with ProcessPoolExecutor(available_cpus(), initializer=_share, initargs=(scorer,)) as pool:
        for _ in pool.map(_score, read(sources(file), Reading())):
            pass


_shared: list[Scorer] = []


def _share(scorer: Scorer) -> None:
    _shared.append(scorer)


def _score(window: Any) -> Any:
    return _shared[0].score(window)


def _bare(size: int, file: str) -> None:
    classifier, found, cores = Classifier(MODEL), _texts(file), available_cpus()
    with ThreadPoolExecutor(cores) as pool:
        parts = [found[core::cores] for core in range(cores)]
        list(pool.map(lambda part: classifier.predict_many(part, size), parts))


class _Plain:
    """What one writes first: a batch in the order of the input, padded to its longest text."""

    def __init__(self) -> None:
        self._classifier = Classifier(MODEL)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        scores = self._classifier.predict(self._classifier.encode(list(batch["text"])))
        return {**batch, "label": scores.argmax(axis=1)}


def _plain_ray(file: str) -> None:
    import ray

    ray.init("local", include_dashboard=False, log_to_driver=False)
    pool = ray.data.ActorPoolStrategy(size=available_cpus())
    data = ray.data.read_parquet(file).repartition(available_cpus())
    data.map_batches(_Plain, batch_size=PADDED, compute=pool).materialize()
    ray.shutdown()


def _pipeline(file: str) -> None:
    import torch

    from benchmarks.torch_pipeline import load

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    classify, _ = load(MODEL, ROOT / "build" / MODEL.name / "checkpoint")
    classify(_texts(file), batch_size=PADDED, truncation=True)


# How many texts each scores, beside those that score all.
CONTENDERS: Mapping[str, tuple[Callable[[str], None], int]] = {
    "textserve": (_textserve, FEWER),
    "textserve, a process a core": (_processes, FEWER),
    "textserve on Ray": (_on_ray, FEWER),
    **{f"{BARE} {size}": (partial(_bare, size), SAMPLE) for size in BARE_BATCHES},
    "Ray, plain function": (_plain_ray, SAMPLE),
    "transformers.pipeline": (_pipeline, SAMPLE),
}


if __name__ == "__main__":
    sys.exit(main())
