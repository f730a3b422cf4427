"""Models of every shape, and stand-ins for the service's answers about them; their scores follow from the words."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page, Route

from tests.asgi import FakeRunner, described, fake_application
from textserve.http.ui import description
from textserve.prediction import Prediction
from textserve.spec import Input, ModelSpec

WORD = re.compile(r"\w+")


def spec(name: str, **sections: Any) -> ModelSpec:
    """A spec; its golden texts have no meaning."""
    pair = {"text_pair": "Another text."} if sections.get("input") == "pair" else {}
    answers: list[dict[str, Any]] = [{"score": 0.2}, {"score": 0.8}]
    if sections.get("problem_type") != "regression":
        names = [label if isinstance(label, str) else label.get("label", label["name"]) for label in sections["labels"]]
        several = sections.get("problem_type") == "multi_label_classification"
        answers = [{"labels": [names[0]]}, {"labels": []}] if several else [{"label": names[0]}, {"label": names[1]}]
    golden = [{"text": f"Example {index}.", **pair, **answer} for index, answer in enumerate(answers)]
    content = {"name": name, "description": f"About {name}.", "tokenization": {"pad_id": 0, "max_tokens": 512}}
    return ModelSpec.model_validate({**content, "golden": golden, **sections})


SEVERAL = {"problem_type": "multi_label_classification", "threshold": 0.7}
SHAPES = {
    "topics": spec("topics", labels=[f"topic {index}" for index in range(150)]),
    "emotions": spec("emotions", **SEVERAL, labels=[*(f"emotion {index}" for index in range(27)), "joy"]),
    "nli": spec(
        "nli",
        input="pair",
        labels=[
            {"name": "contradiction", "tone": "red"},
            {"name": "neither", "tone": "gray"},
            {"name": "entailment", "tone": "green"},
        ],
    ),
    "reranker": spec("reranker", problem_type="regression", activation="sigmoid", input="pair", labels=["relevance"]),
    "rating": spec("rating", problem_type="regression", labels=["stars"]),
    "raw": spec("raw", activation="none", labels=["low", "middle", "high"]),
}


class StandIn:
    """Answers the page in place of the service: ``StandIn(page, spec)``.

    Attributes:
        requests: the bodies of the requests by path.
    """

    def __init__(self, page: Page, spec: ModelSpec, weights: Mapping[tuple[str, str], float] | None = None) -> None:
        """``weights`` has what a word adds to the logit of a label; without them, its letters give a number."""
        self.spec, self.weights = spec, weights
        self.requests: dict[str, list[dict[str, Any]]] = {"classify": [], "explain": []}
        model = description(fake_application(described(spec), FakeRunner([]), {"max_texts": 40, "max_characters": 500}))
        page.route("**/ui/model.json", lambda route: route.fulfill(json=model))
        page.route("**/classify", self._classify)
        page.route("**/explain", self._explain)
        page.reload()

    def predict(self, text: Input) -> Prediction:
        """The prediction for a text or a pair."""
        words = WORD.findall(text if isinstance(text, str) else " ".join(text))
        logits = [sum(self._weight(word, label) for word in words) for label in self.spec.label_names]
        scores = logits
        if self.spec.activation == "softmax":
            total = sum(map(math.exp, logits))
            scores = [math.exp(logit) / total for logit in logits]
        if self.spec.activation == "sigmoid":
            scores = [1 / (1 + math.exp(-logit)) for logit in logits]
        return Prediction(self.spec, scores, tokens=len(words) + 2, truncated=False, logits=logits)

    def result(self, text: Input) -> dict[str, Any]:
        """One result, as ``/classify`` has it."""
        prediction = self.predict(text)
        rest = {"tokens": prediction.tokens, "truncated": False}
        if self.spec.problem_type == "regression":
            return {"score": prediction.score, **rest}
        scores = {"scores": dict(zip(self.spec.label_names, prediction.scores, strict=True)), **rest}
        if self.spec.problem_type == "multi_label_classification":
            return {"labels": prediction.labels, **scores}
        return {"label": prediction.label, "score": prediction.score, **scores}

    def explanation(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of ``/explain``."""
        texts: dict[str, str] = {key: body[key] for key in ("text", "text_pair") if key in body}
        whole = self.predict(_input(texts))
        explained = body.get("labels") or self._explained(whole)
        words = []
        for key, text in texts.items():
            for found in WORD.finditer(text):
                without = self.predict(_input(texts | {key: text[: found.start()] + text[found.end() :]}))
                influences = {label: self._influence(whole, without, label) for label in explained}
                word = {"text": found[0], "in": key, "start": found.start(), "end": found.end()}
                more = {"labels": influences} if len(explained) > 1 else {}
                words.append({**word, **influences[explained[0]], **more})
        return {"model": f"{self.spec.name}:1", **self.result(_input(texts)), "explained": explained, "words": words}

    def _weight(self, word: str, label: str) -> float:
        if self.weights is not None:
            return self.weights.get((word, label), 0.0)
        return zlib.crc32(f"{word} {label}".encode()) % 2000 / 1000 - 1

    def _explained(self, whole: Prediction) -> list[str]:
        several = self.spec.problem_type == "multi_label_classification"
        return (whole.labels if several else []) or [whole.label]

    def _influence(self, whole: Prediction, without: Prediction, label: str) -> dict[str, float]:
        index = self.spec.label_names.index(label)
        influence = {"influence": whole.scores[index] - without.scores[index]}
        if self.spec.activation == "none":
            return influence
        odds = [math.log(one.scores[index] / (1 - one.scores[index])) for one in (whole, without)]
        return {**influence, "log_odds": odds[0] - odds[1]}

    def _classify(self, route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        self.requests["classify"].append(body)
        results = [self.result(text if isinstance(text, str) else _input(text)) for text in body["texts"]]
        route.fulfill(json={"model": f"{self.spec.name}:1", "results": results})

    def _explain(self, route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        self.requests["explain"].append(body)
        route.fulfill(json=self.explanation(body))


def _input(texts: Mapping[str, str]) -> Input:
    return (texts["text"], texts["text_pair"]) if "text_pair" in texts else texts["text"]
