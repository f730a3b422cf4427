"""Measure after how many texts drift is noticed, and false alarms, on streams of texts through the service's window.

    python -m benchmarks.drift
    python -m benchmarks.drift --texts 1000 --seeds 2

The model is sentiment-pl-en; the alert is the one in deploy/alerts.yaml. No stream has a text of the reference. A
stream draws its texts at random, with replacement, from:

    known           English tweets of the test part and composed Polish sentences, in a share that each seed draws
    German news     sentences composed here
    legal text      the sentences of LICENSE
    capitals        the known texts in capitals
    the same text   one tweet, as from a broken client

Writes benchmarks/results/drift.json: for each stream and seed, the number of texts after which the alert first fires,
and the statistics that have drifted. Exit codes: 0 as expected, 2 a false alarm, or drift not noticed in 1,000 texts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.machine import describe
from modeling.evaluation.reference import predictions
from modeling.files import ROOT, ModelFiles
from modeling.rows import read_lines
from modeling.tasks.sentiment import dataset
from textserve.classifier import Classifier
from textserve.drift import LEVEL, MIN_PSI, Reference, Window
from textserve.prediction import Prediction

MODEL = "sentiment-pl-en"
RESULT = ROOT / "benchmarks" / "results" / "drift.json"
KNOWN = "known"
WINDOW_TEXTS = 1000
NOTICED_WITHIN = 1000
# Who, what they did, and where: 512 sentences of German news.
NEWS = (
    ("Die Bundesregierung", "Der Stadtrat", "Das Verfassungsgericht", "Die Europäische Zentralbank"),
    ("hat am Dienstag", "wird voraussichtlich im Frühjahr", "will noch vor der Sommerpause", "hat überraschend"),
    ("über den Haushalt", "über die Zinsen", "über das neue Gesetz", "über die Rentenerhöhung"),
    ("entschieden, teilte ein Sprecher mit", "beraten, berichten mehrere Zeitungen"),
    ("in München.", "in Düsseldorf.", "am späten Nachmittag.", "nach einer mehrstündigen Sitzung."),
)


def tweets() -> list[str]:
    """English tweets of the test part."""
    rows = dataset.english(dataset.fetch(ModelFiles.of(MODEL).data))
    return [row.text for row in dataset.select(rows, "test") if row.domain == "tweets"]


def sentences() -> list[str]:
    """Composed Polish sentences that are not in the reference."""
    rows = read_lines(ROOT / "models" / MODEL / "composed.jsonl")
    polish = [row.get("text") for row in rows if row.get("lang") == "pl"]
    return [text for text in polish if dataset.part_of(text) == "test"]


def licence() -> list[str]:
    """The sentences of LICENSE."""
    text = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split())
    return [sentence for sentence in re.split(r"(?<=[.;:]) ", text) if len(sentence) > 20]


def noticed(reference: Reference, stream: Sequence[Prediction]) -> dict[str, Any]:
    """The number of texts until the alert fires, and the drifted statistics; else ``None`` and the largest index."""
    window = Window(reference, WINDOW_TEXTS)
    for count, prediction in enumerate(stream, start=1):
        window.add([prediction])
        if drifted := [name for name, distance in window.distances.items() if distance.drifted]:
            return {"texts": count, "statistics": drifted}
    largest = max(window.distances.values(), key=lambda distance: distance.psi)
    return {"texts": None, "largest_psi": round(largest.psi, 3)}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return its exit code."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=int, default=5000, help="number of known texts per seed (default: 5000)")
    args.add_argument("--seeds", type=int, default=10, help="how often each stream is drawn (default: 10)")
    options = args.parse_args(arguments)
    files = ModelFiles.of(MODEL)
    classifier, reference = Classifier(files.folder), Reference.load(files.folder)
    if reference is None:
        raise SystemExit(f"{files.reference_file} does not exist or is not valid; run make reference")
    english, polish = tweets(), sentences()
    news = [" ".join(parts) for parts in itertools.product(*NEWS)]
    texts = {
        "German news": news,
        "legal text": licence(),
        "capitals": [text.upper() for text in (*english, *polish)],
        "the same text": english[:1],
    }
    pools = {name: predictions(classifier, pool) for name, pool in texts.items()}
    languages = [predictions(classifier, pool) for pool in (english, polish)]
    streams: dict[str, list[dict[str, Any]]] = {name: [] for name in (KNOWN, *pools)}
    for seed in range(options.seeds):
        random = np.random.default_rng(seed)
        share = random.random()
        chosen = [languages[int(random.random() > share)] for _ in range(options.texts)]
        known = [pool[random.integers(len(pool))] for pool in chosen]
        streams[KNOWN].append({"english": round(share, 2)} | noticed(reference, known))
        for name, pool in pools.items():
            stream = [pool[random.integers(len(pool))] for _ in range(NOTICED_WITHIN)]
            streams[name].append(noticed(reference, stream))
    result = {
        "machine": describe(),
        "alert": {"p_value": LEVEL, "psi": MIN_PSI, "window_texts": WINDOW_TEXTS},
        "different_texts": {KNOWN: len(english) + len(polish)} | {name: len(pool) for name, pool in texts.items()},
        "known_texts": options.texts,
        "streams": streams,
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    wrong = [name for name, runs in streams.items() for run in runs if (run["texts"] is None) != (name == KNOWN)]
    for name, runs in streams.items():
        print(f"{name:<16}", *(run["texts"] or "none" for run in runs))
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
