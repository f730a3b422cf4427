"""Measure the model in a single-process loop without a server: the baseline of the comparison.

    python -m benchmarks.bare MODEL_FOLDER DATA_FOLDER --mix short --texts 600 --labels 50

Prints one JSON object: ``labels`` of the first texts, classified one by one, and each loop's texts per second and CPU
milliseconds per text. Every loop processes the same texts; tokenization and sorting are included.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import texts
from scripts.command import parser
from textserve.classifier import TOKENIZER_FILE, Classifier

WARM_UP_TEXTS = 32


@dataclass(frozen=True)
class Loop:
    """A loop over at most ``most`` texts in batches of ``size``, in input order or sorted by length."""

    name: str
    size: int
    by_length: bool = False
    most: int | None = None


LOOPS = (
    Loop("one by one", 1),
    # Every text is padded to the longest of its batch: with texts of all lengths, a second for 8 of them.
    Loop("batches of 32, padded", 32, most=64),
    Loop("batches of 8, by length", 8, by_length=True),
    Loop("batches of 16, by length", 16, by_length=True),
    Loop("batches of 32, by length", 32, by_length=True),
)


@dataclass(frozen=True)
class Speed:
    """Texts per second, and CPU milliseconds per text."""

    texts_per_second: float
    cpu_ms: float


def classify(classifier: Classifier, batch: Sequence[str], loop: Loop) -> None:
    """Tokenize and classify ``batch``; a loop of size 1 also tokenizes one text at a time."""
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
    """The speed of a loop over ``batch``, after a warm-up."""
    batch = batch[: loop.most]
    classify(classifier, batch[:WARM_UP_TEXTS], loop)
    used, start = time.process_time(), time.perf_counter()
    classify(classifier, batch, loop)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return Speed(len(batch) / seconds, used * 1000 / len(batch))


def labels(classifier: Classifier, batch: Sequence[str]) -> list[str]:
    """The label of each text, classified one by one."""
    return [
        classifier.spec.label_names[int(classifier.predict([encoding]).argmax())]
        for encoding in classifier.encode(batch)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", type=Path, help="folder of the model")
    args.add_argument("data", type=Path, help="folder of the data packages")
    args.add_argument("--mix", choices=texts.MIXES, default="short")
    args.add_argument("--texts", type=int, default=600, help="texts per loop; 0 prints labels only")
    args.add_argument("--labels", type=int, default=50, help="number of texts to print the labels of")
    options = args.parse_args(arguments)
    loaded = texts.load(options.mix, options.data, options.model / TOKENIZER_FILE)
    classifier = Classifier(options.model)
    speeds = {loop.name: vars(measure(classifier, loaded[: options.texts], loop)) for loop in LOOPS if options.texts}
    print(json.dumps({"labels": labels(classifier, loaded[: options.labels]), "loops": speeds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
