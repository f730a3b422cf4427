"""Whether an answer depends on concurrent texts: 2,000 texts one by one, then in 20 random groupings."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

TEXTS = 2000
GROUPINGS = 20
LARGEST_GROUP = 100


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts; ``seconds`` is unused, because every text is classified."""
    sample = list(texts[:TEXTS])
    settings = {"TEXTSERVE_MAX_QUEUE_SECONDS": "600"}  # no rejections on a slow processor
    with textserve_service(cores=sorted({*cores, *load.cores}), env=settings) as server:
        alone = _results(server.url, load, [[text] for text in sample], connections=1)
        flips, largest = 0, 0.0
        for seed in range(GROUPINGS):
            generator = random.Random(seed)
            order = generator.sample(range(TEXTS), TEXTS)
            groups = list(_groups(order, generator))
            answers = _results(
                server.url, load, [[sample[index] for index in group] for group in groups], connections=16
            )
            for index, answer in zip(order, answers, strict=True):
                flips += answer["label"] != alone[index]["label"]
                largest = max(
                    largest, *(abs(answer["scores"][label] - score) for label, score in alone[index]["scores"].items())
                )
    figures: dict[str, Any] = {
        "texts": TEXTS,
        "groupings": GROUPINGS,
        "label_flips": flips,
        "largest_score_difference": largest,
    }
    return [("exactness", figures, {"no label flips": flips == 0, "scores within 1e-4": largest <= 1e-4})]


def _groups(order: Sequence[int], generator: random.Random) -> Sequence[Sequence[int]]:
    groups, start = [], 0
    while start < len(order):
        size = generator.randint(1, LARGEST_GROUP)
        groups.append(order[start : start + size])
        start += size
    return groups


def _results(url: str, load: LoadGenerator, groups: Sequence[Sequence[str]], connections: int) -> list[dict[str, Any]]:
    answers = load.post(url + URL_PATH, [body(group) for group in groups], connections)
    contents = [json.loads(answer.body) for answer in answers]
    if rejected := [content for content in contents if "results" not in content]:
        raise RuntimeError(f"{len(rejected)} of {len(contents)} requests were rejected; the first: {rejected[0]}")
    return [result for content in contents for result in content["results"]]
