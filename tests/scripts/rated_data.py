"""A stand-in for the data package, with enough texts of every label to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modeling.tasks.sentiment import dataset

RATINGS = (-2.0, 0.0, 2.0)


def write_rated_data(folder: Path, write_data: Callable[..., Path], words: list[str], texts: int) -> Path:
    """Write ``texts`` different texts per domain into ``folder`` with the fixture ``write_data``.

    The first word of a text determines its label, so that it can be learned.
    """
    known = [words[label :: len(RATINGS)] for label in range(len(RATINGS))]
    ratings = {}
    for domain, name in enumerate(dataset.DOMAINS.values()):
        rows = [
            f"{number}\t{RATINGS[number % 3]}\t{known[number % 3][number % len(known[-1])]} {domain} {number}"
            for number in range(texts)
        ]
        ratings[name] = "\n".join(rows).encode()
    return write_data(folder, ratings)
