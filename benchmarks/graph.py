"""Measure what the passes over the graph gain: time before and after, and whether answers stay the same.

    make measure-graph [ONLY="BERT …"]

Quantizes the default model, from the float file that `make export` leaves, and random networks of other architectures,
and applies modeling/export/optimization.py. Runs both graphs in turn on one thread. Writes, for each, the ratio of
thread time by shape (median over the rounds; below 1 is faster), the agreement of labels with the float graph, and the
largest difference of a score between a text alone and in a random batch, before and after, to
benchmarks/results/graph.json, from which make docs-tables writes the table of docs/graph.md. Takes a quarter
of an hour on a slow processor.

Exit codes: 0 measured, 1 the default model is not exported, 2 bad arguments.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import transformers

from benchmarks import checkpoints, machine
from benchmarks.architectures import describe
from benchmarks.checkpoints import ARCHITECTURES, Size
from benchmarks.servers import DEFAULT_MODEL
from modeling.errors import ModelingError
from modeling.evaluation.speed import Feeds
from modeling.export.export import export, quantized
from modeling.export.optimization import optimize
from modeling.export.verification import compare_in_batches, likeness
from modeling.files import ROOT, ModelFiles
from modeling.spec import ModelSpec
from modeling.texts import calibration_texts, comparison_texts
from scripts.command import command, parser
from textserve.classifier import MODEL_FILE, Classifier, activate, batch_feeds
from textserve.graph import open_session
from textserve.spec import Input

RESULTS = ROOT / "benchmarks" / "results" / "graph.json"
# All passes apply to networks like BERT; to the last two of these, only some do.
OTHERS = ("BERT", "RoBERTa", "DistilBERT", "ModernBERT")
SIZE = Size(hidden=384, layers=6, heads=12)
# Numbers of texts, of tokens per text, and of runs of each graph in turn.
SHAPES = ((1, 20, 20), (16, 20, 4), (1, 64, 10), (1, 512, 2))
ROUNDS = 15
TEXTS, BATCHED = 300, 100
SEED = 0


def shape_feeds(spec: ModelSpec, texts: int, tokens: int) -> Feeds:
    """The inputs for a batch of random token ids, ``[texts, tokens]``."""
    rows = np.random.default_rng(SEED).integers(5, 4000, (texts, tokens))
    feeds = {spec.graph.input_ids: rows}
    if spec.graph.attention_mask:
        feeds[spec.graph.attention_mask] = np.ones_like(rows)
    if spec.graph.token_type_ids:
        feeds[spec.graph.token_type_ids] = np.zeros_like(rows)
    return feeds


def thread_seconds(session: ort.InferenceSession, given: Feeds, runs: int) -> float:
    """CPU seconds of this thread for ``runs``; other programs on the machine do not count."""
    started = time.thread_time()
    for _ in range(runs):
        session.run(None, given)
    return time.thread_time() - started


def ratios(spec: ModelSpec, before: Path, after: Path) -> dict[str, float]:
    """The ratio of thread time after the passes to before, for each of SHAPES that the model can read."""
    first, second = open_session(before), open_session(after)
    found = {}
    for texts, tokens, runs in SHAPES:
        if tokens <= spec.tokenization.max_tokens:
            given = shape_feeds(spec, texts, tokens)
            pairs = [(thread_seconds(second, given, runs), thread_seconds(first, given, runs)) for _ in range(ROUNDS)]
            found[f"{texts} x {tokens}"] = statistics.median(new / old for new, old in pairs)
    return found


def answers(files: ModelFiles, graph: Path, texts: Sequence[Input]) -> dict[str, float]:
    """The agreement of ``graph`` with the float file, and the largest difference of a score in random batches."""
    spec, model = files.spec(), files.folder / MODEL_FILE
    if graph != model:
        model.write_bytes(graph.read_bytes())
    classifier = Classifier(files.folder)
    encodings, session = classifier.encode(texts), open_session(files.float_model)
    floats = [session.run([spec.graph.logits], batch_feeds(spec, [each]))[0] for each in encodings]
    alone = np.concatenate([classifier.predict([each]) for each in encodings])
    _, largest = compare_in_batches(classifier, encodings[:BATCHED], alone)
    alike = likeness(spec, activate(spec.activation, np.concatenate(floats)), alone)
    return alike | {"largest_difference_in_batches": largest}


def measure(files: ModelFiles, calibration: Sequence[Input], texts: Sequence[Input]) -> dict[str, Any]:
    """A row of the results; ``files`` must have the float file, and its model file is overwritten."""
    spec = files.spec()
    model, _ = quantized(spec, files, calibration)
    optimized, changed = optimize(model, spec.graph.attention_mask)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(model, before)
        onnx.save(optimized, after)
        return {
            "passes": changed,
            "time": ratios(spec, before, after),
            "before": answers(files, before, texts),
            "after": answers(files, after, texts),
        }


def measure_default(root: Path) -> dict[str, Any]:
    """The row of the default model; raises :class:`ModelingError` if it is not exported."""
    here = ModelFiles.of(DEFAULT_MODEL.name)
    if not here.float_model.exists():
        raise ModelingError(f"{here.float_model} does not exist; run make export")
    folder = root / DEFAULT_MODEL.name
    shutil.copytree(DEFAULT_MODEL, folder)
    spec = here.spec()
    calibration = calibration_texts(here).texts[: spec.quantization.calibration_texts]
    texts = comparison_texts(here).texts
    return measure(ModelFiles(folder, here.build), calibration, texts[:: len(texts) // TEXTS])


def measure_random(name: str, root: Path) -> dict[str, Any]:
    """The row of a random network."""
    architecture, checkpoint = ARCHITECTURES[name], root / "checkpoint"
    texts = checkpoints.texts(SIZE, TEXTS)
    checkpoints.make(architecture, checkpoint, texts, SIZE)
    files = describe(root, architecture, checkpoint, texts)
    export(files, checkpoint, texts[:BATCHED])
    return measure(files, texts[:BATCHED], texts)


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=[DEFAULT_MODEL.name, *OTHERS], metavar="NAME")
    only = options.parse_args(arguments).only
    transformers.logging.set_verbosity_error()
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if only and RESULTS.exists() else {}
    for name in only or (DEFAULT_MODEL.name, *OTHERS):
        with tempfile.TemporaryDirectory() as root:
            rows[name] = measure_default(Path(root)) if name == DEFAULT_MODEL.name else measure_random(name, Path(root))
        print(name, json.dumps(rows[name]), flush=True)
    report = {"machine": machine.describe(), "busy": machine.busy_share(), "texts": TEXTS, "rows": rows}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
