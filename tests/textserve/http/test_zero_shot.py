"""Zero-shot classification over Hugging Face's protocol, with the scores of transformers' pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.asgi import Serve
from tests.specs import SPECS, predictions, spec
from textserve.classifier import softmax
from textserve.http.huggingface import HUGGINGFACE

# Logits of contradiction, entailment and neither, for two candidates with each of two texts.
LOGITS = [[2.0, -1.0, 0.5], [-3.0, 2.5, 1.0], [0.0, 1.0, 4.0], [1.0, 0.5, -2.0]]
ROWS = np.array(LOGITS, dtype=np.float32)
TEXTS = ["Dogs bark.", "It rains."]


def asked(labels: Any, **parameters: Any) -> dict[str, Any]:
    return {"inputs": TEXTS, "parameters": {"candidate_labels": labels, **parameters}}


def test_candidate_labels_compete_for_each_text(serve: Serve) -> None:
    client = serve(HUGGINGFACE, predictions(SPECS["pair"], *LOGITS), SPECS["pair"])
    answers = client.post("/", asked(["weather", "pets"])).json()
    wanted = softmax(ROWS[:, 1].reshape(2, 2))
    hypotheses = ["This example is weather.", "This example is pets."]
    assert client.runner.asked == [[(text, hypothesis) for text in TEXTS for hypothesis in hypotheses]]
    assert answers == [
        {"sequence": TEXTS[0], "labels": ["pets", "weather"], "scores": pytest.approx(wanted[0][::-1], abs=1e-6)},
        {"sequence": TEXTS[1], "labels": ["weather", "pets"], "scores": pytest.approx(wanted[1], abs=1e-6)},
    ]


@pytest.mark.parametrize(("labels", "more"), [(["weather", "pets"], {"multi_label": True}), (["weather"], {})])
def test_each_candidate_label_has_a_probability_of_its_own_if_several_apply_or_there_is_one(
    serve: Serve, labels: list[str], more: dict[str, bool]
) -> None:
    rows = LOGITS[: 2 * len(labels)]
    client = serve(HUGGINGFACE, predictions(SPECS["pair"], *rows), SPECS["pair"])
    answers = client.post("/", asked(labels, **more)).json()
    wanted = softmax(ROWS[: len(rows), :2])[:, 1].reshape(2, len(labels))
    for answer, scores in zip(answers, wanted, strict=True):
        found = dict(zip(answer["labels"], answer["scores"], strict=True))
        assert [found[label] for label in labels] == pytest.approx(scores, abs=1e-6)
        assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_a_model_of_two_labels_tells_entailment_from_its_negation(serve: Serve) -> None:
    two = spec(["not_entailment", "entailment"], "entailment", "not_entailment", input="pair")
    client = serve(HUGGINGFACE, predictions(two, [0.0, 2.0]), two)
    answer = client.post("/", {"inputs": "a", "parameters": {"candidate_labels": ["b"]}}).json()
    assert answer == {"sequence": "a", "labels": ["b"], "scores": [pytest.approx(0.880797, abs=1e-6)]}


def test_the_hypothesis_is_the_clients(serve: Serve) -> None:
    client = serve(HUGGINGFACE, predictions(SPECS["pair"], *LOGITS[:2]), SPECS["pair"])
    parameters = {"candidate_labels": ["{0}"], "hypothesis_template": "To jest {}!", "top_k": 1}
    assert client.post("/", {"inputs": TEXTS, "parameters": parameters}).status_code == 200
    assert client.runner.asked == [[(text, "To jest {0}!") for text in TEXTS]]


@pytest.mark.parametrize(("asked_for", "truncation"), [({}, "right"), ({"truncation": False}, None)])
def test_long_texts_are_rejected_on_request(serve: Serve, asked_for: dict[str, bool], truncation: str | None) -> None:
    client = serve(HUGGINGFACE, predictions(SPECS["pair"], *LOGITS), SPECS["pair"])
    assert client.post("/", asked(["weather", "pets"], **asked_for)).status_code == 200
    assert client.runner.truncations == [truncation]


@pytest.mark.parametrize(
    ("name", "content", "status", "where"),
    [
        ("single", asked(["a"]), 400, "`parameters.candidate_labels` needs a model that tells"),
        ("pair number", asked(["a"]), 400, "`parameters.candidate_labels` needs a model that tells"),
        ("pair", asked([]), 400, "`parameters.candidate_labels` is empty"),
        ("pair", asked("a"), 400, "`parameters.candidate_labels`"),
        ("pair", asked(["a"], hypothesis_template="about"), 400, "`parameters.hypothesis_template` must contain {}"),
        ("pair", asked(["a"], function_to_apply="none"), 400, "`parameters.function_to_apply` does not apply"),
        (
            "pair",
            asked([str(number) for number in range(101)]),
            413,
            "`parameters.candidate_labels` times the texts are",
        ),
        ("pair", asked(["a", "b", "c"]) | {"inputs": ["fine", " "]}, 400, "`inputs[1]` is empty"),
        ("pair", asked(["a", "b", "c"]) | {"inputs": ""}, 400, "`inputs` is empty"),
        ("pair", asked(["a", "b", "c"]) | {"inputs": []}, 400, "`inputs` is empty"),
        ("pair", asked(["a", " "], hypothesis_template="{}"), 400, "`parameters.candidate_labels[1]` is empty"),
        ("pair", asked(["a"]) | {"inputs": [{"text": "a", "text_pair": "b"}]}, 400, "`inputs[0]` must be a string"),
    ],
)
def test_what_cannot_be_classified_is_named(serve: Serve, name: str, content: Any, status: int, where: str) -> None:
    answer = serve(HUGGINGFACE, predictions(SPECS["pair"], *LOGITS), SPECS[name], max_texts=200).post("/", content)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(where)
