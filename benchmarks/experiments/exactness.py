"""Whether an answer depends on what else is asked: 2,000 texts one by one, and again in 20 random groupings."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from typing import Any

from benchmarks.load import LoadGenerator
from benchmarks.requests import URL_PATH, body
from benchmarks.servers import textserve_service

TEXTS = 2000
GROUPINGS = 20
LARGEST_GROUP = 100


def measure(
    texts: Sequence[str], load: LoadGenerator, cores: Collection[int], seconds: float
) -> list[tuple[str, dict[str, Any], dict[str, bool]]]:
    """Name, figures and verdicts; ``seconds`` is not used, since every text is asked for."""
    asked = list(texts[:TEXTS])
    settings = {"TEXTSERVE_MAX_QUEUE_SECONDS": "600"}  # a slow processor must not reject a part of the texts
    with textserve_service(cores=sorted({*cores, *load.cores}), env=settings) as server:
        alone = _results(server.url, load, [[text] for text in asked], connections=1)
        flips, largest = 0, 0.0
        for seed in range(GROUPINGS):
            chance = random.Random(seed)
            order = chance.sample(range(TEXTS), TEXTS)
            groups = list(_groups(order, chance))
            answers = _results(
                server.url, load, [[asked[place] for place in group] for group in groups], connections=16
            )
            for place, answer in zip(order, answers, strict=True):
                flips += answer["label"] != alone[place]["label"]
                largest = max(
                    largest, *(abs(answer["scores"][label] - score) for label, score in alone[place]["scores"].items())
                )
    figures: dict[str, Any] = {
        "texts": TEXTS,
        "groupings": GROUPINGS,
        "label_flips": flips,
        "largest_score_difference": largest,
    }
    return [("exactness", figures, {"no label flips": flips == 0, "scores within 1e-4": largest <= 1e-4})]


def _groups(order: Sequence[int], chance: random.Random) -> Sequence[Sequence[int]]:
    groups, start = [], 0
    while start < len(order):
        size = chance.randint(1, LARGEST_GROUP)
        groups.append(order[start : start + size])
        start += size
    return groups


def _results(url: str, load: LoadGenerator, groups: Sequence[Sequence[str]], connections: int) -> list[dict[str, Any]]:
    answers = load.ask(url + URL_PATH, [body(group) for group in groups], connections)
    contents = [json.loads(answer.body) for answer in answers]
    if rejected := [content for content in contents if "results" not in content]:
        raise RuntimeError(f"{len(rejected)} of {len(contents)} requests were rejected, such as with {rejected[0]}")
    return [result for content in contents for result in content["results"]]
