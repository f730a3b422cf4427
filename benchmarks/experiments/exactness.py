"""Whether an answer depends on concurrent texts, on threads, or on the cache.

Classifies 2,000 texts one by one, then in random groups: on all cores, on one thread, and with the cache.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmarks.experiments import Findings
from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

TEXTS = 2000
LARGEST_GROUP = 100
# Settings of the service, and the number of groupings, by title.
CASES: Mapping[str, tuple[dict[str, str], int]] = {
    "exactness": ({}, 20),
    "exactness, one thread": ({"TEXTSERVE_THREADS": "1"}, 5),
    "exactness, with the cache": ({"TEXTSERVE_CACHE_MEGABYTES": "64"}, 20),
}


def measure(texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float) -> Findings:
    """Name, figures and verdicts; ``seconds`` is unused, because every text is classified."""
    sample = list(dict.fromkeys(texts))[:TEXTS]
    findings: Findings = []
    alone: list[dict[str, Any]] = []
    for title, (settings, groupings) in CASES.items():
        patient = {"TEXTSERVE_MAX_QUEUE_SECONDS": "600"}  # no rejections on a slow processor
        with textserve_service(cores=sorted({*cores, *load.cores}), env=settings | patient) as server:
            one_by_one = _results(server.url, load, [[text] for text in sample], connections=1)
            alone = alone or one_by_one
            flips, largest = _differences(alone, range(TEXTS), one_by_one)
            for seed in range(groupings):
                generator = random.Random(seed)
                order = generator.sample(range(TEXTS), TEXTS)
                groups = [[sample[index] for index in group] for group in _groups(order, generator)]
                changed, difference = _differences(alone, order, _results(server.url, load, groups, connections=16))
                flips, largest = flips + changed, max(largest, difference)
        figures = {"texts": TEXTS, "groupings": groupings, "label_flips": flips, "largest_score_difference": largest}
        findings.append((title, figures, {"no label flips": flips == 0, "scores within 1e-4": largest <= 1e-4}))
    return findings


def _differences(
    alone: Sequence[dict[str, Any]], order: Sequence[int], answers: Sequence[dict[str, Any]]
) -> tuple[int, float]:
    """Number of labels that differ from ``alone`` at the indices ``order``, and the largest difference of scores."""
    pairs = [(alone[index], answer) for index, answer in zip(order, answers, strict=True)]
    differences = (
        abs(answer["scores"][label] - score) for known, answer in pairs for label, score in known["scores"].items()
    )
    return sum(known["label"] != answer["label"] for known, answer in pairs), max(differences)


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
