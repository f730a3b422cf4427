"""The same model in a loop of one process, with no server around it: what there is to lose, or to win.

    python -m benchmarks.bare MODEL_FOLDER DATA_FOLDER --mix short --texts 600 --labels 50

Prints one JSON object: ``labels`` of the first texts, one by one, and for each loop texts a second and CPU milliseconds
a text. Every loop tokenizes and classifies the same texts, and its time includes the tokenizing and the sorting.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import texts
from textserve.classifier import TOKENIZER_FILE, Classifier

WARM_UP_TEXTS = 64


@dataclass(frozen=True)
class Loop:
    """A way to go through texts: ``size`` at a time, in the order of their length or as they come."""

    name: str
    size: int
    by_length: bool = False


LOOPS = (
    Loop("one by one", 1),
    Loop("batches of 32, padded", 32),
    Loop("batches of 8, by length", 8, by_length=True),
    Loop("batches of 16, by length", 16, by_length=True),
    Loop("batches of 32, by length", 32, by_length=True),
)


@dataclass(frozen=True)
class Speed:
    """Texts a second, and milliseconds of CPU a text."""

    texts_per_second: float
    cpu_ms: float


def classify(classifier: Classifier, batch: Sequence[str], loop: Loop) -> None:
    """Tokenize and classify ``batch`` as ``loop`` says; one by one it is also tokenized one by one."""
    if loop.size == 1:
        for text in batch:
            classifier.predict(classifier.encode([text]))
        return
    encodings = classifier.encode(batch)
    if loop.by_length:
        encodings.sort(key=lambda encoding: len(encoding.ids))
    for start in range(0, len(encodings), loop.size):
        classifier.predict(encodings[start : start + loop.size])


def measure(classifier: Classifier, batch: Sequence[str], loop: Loop) -> Speed:
    """How fast a loop goes through ``batch``, after a few texts to warm up."""
    classify(classifier, batch[:WARM_UP_TEXTS], loop)
    used, start = time.process_time(), time.perf_counter()
    classify(classifier, batch, loop)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return Speed(len(batch) / seconds, used * 1000 / len(batch))


def labels(classifier: Classifier, batch: Sequence[str]) -> list[str]:
    """The label of each text, computed one by one."""
    return [
        classifier.spec.meanings[int(classifier.predict([encoding]).argmax())] for encoding in classifier.encode(batch)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", type=Path, help="folder of the model")
    args.add_argument("data", type=Path, help="folder of the data packages")
    args.add_argument("--mix", choices=texts.MIXES, default="short")
    args.add_argument("--texts", type=int, default=600, help="how many each loop goes through; 0 for the labels alone")
    args.add_argument("--labels", type=int, default=50, help="of how many texts the labels are wanted")
    options = args.parse_args(arguments)
    loaded = texts.load(options.mix, options.data, options.model / TOKENIZER_FILE)
    classifier = Classifier(options.model)
    speeds = {loop.name: vars(measure(classifier, loaded[: options.texts], loop)) for loop in LOOPS if options.texts}
    print(json.dumps({"labels": labels(classifier, loaded[: options.labels]), "loops": speeds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
