"""A pytest plugin: a tiny checkpoint of each kind of answer, as `make new` and all that follows must read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_checkpoints import SPECIAL_TOKENS, attend, random_network, word_tokenizer

# The network of each kind of answer, and its configuration.
SHAPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "topics": ("roberta", {"id2label": {0: "sport", 1: "money", 2: "weather"}}),
    "intents": ("distilbert", {"id2label": {index: f"intent_{index}" for index in range(150)}}),
    "emotions": (
        "bert",
        {
            "id2label": {index: f"emotion {index}" for index in range(28)},
            "problem_type": "multi_label_classification",
        },
    ),
    "harms": (
        "distilbert",
        {
            "id2label": {index: f"harm_{index}" for index in range(6)},
            "problem_type": "multi_label_classification",
        },
    ),
    "grade": ("bert", {"id2label": {0: "LABEL_0"}, "problem_type": "regression"}),
    "inference": ("bert", {"id2label": {0: "contradiction", 1: "entailment", 2: "neutral"}}),
    "reranker": (
        "bert",
        {
            "id2label": {0: "LABEL_0"},
            "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.1.0"},
        },
    ),
}
ANCHORS = 24


@pytest.fixture(scope="session")
def make_shape(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``make_shape(name)``: a folder with a tiny random checkpoint of :data:`SHAPES` that decides clearly.

    Its vocabulary is that of the everyday texts in ``modeling/new``; its head is fitted to every third of them.
    """

    def make(name: str) -> Path:
        import torch

        from modeling.new import golden

        torch.set_num_threads(1)
        torch.manual_seed(4)
        architecture, answers = SHAPES[name]
        kind = "pair" if name in ("inference", "reranker") else "text"
        texts, words = golden.examples(["en"], kind), everyday_words(kind)
        tokenizer = word_tokenizer(words, with_types=architecture == "bert")
        network = random_network(architecture, len(SPECIAL_TOKENS) + len(words), **answers)
        columns = [[text] if isinstance(text, str) else list(text) for text in texts]
        _decide(network, [tokenizer(*row, return_tensors="pt", truncation=True) for row in columns])
        folder = tmp_path_factory.mktemp(name)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def everyday_words(kind: str) -> list[str]:
    """The vocabulary of these checkpoints: the words and the punctuation of the everyday texts."""
    from modeling.new import golden

    texts = golden.examples(["en"], kind)
    joined = " ".join(text if isinstance(text, str) else " ".join(text) for text in texts)
    return list(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", joined)))


def _decide(network: Any, inputs: list[Any]) -> None:
    """Fit the last layer by least squares so that some of the ``inputs`` get clear and different answers."""
    import torch

    linears = {name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)}
    head = list(linears.values())[-1]
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, found: read.append(found[0].detach()[0]))
    with torch.no_grad():
        attend(linears)
        for tensors in inputs:
            network(**tensors)
        hook.remove()
        features, outputs = torch.stack(read), head.out_features
        anchors = torch.arange(0, len(inputs), max(1, len(inputs) // ANCHORS))
        places = torch.arange(len(anchors))
        if outputs == 1:
            wanted = (places % 2 * 8.0 - 4.0)[:, None]
        elif network.config.problem_type == "multi_label_classification":
            wanted = torch.full((len(anchors), outputs), -4.0)
            for step, logit in ((1, 8.0), (2, 4.0)):  # of two labels each
                wanted[places, (places + step) % outputs] = logit
        else:
            labels = places * max(1, outputs // len(anchors)) % outputs
            wanted = torch.nn.functional.one_hot(labels, outputs) * 8.0
        centre = features.mean(dim=0)
        weight = torch.linalg.pinv(features[anchors] - centre, rtol=0.02) @ (wanted - wanted.mean(dim=0))
        head.weight.copy_(weight.T)
        head.bias.copy_(wanted.mean(dim=0) - weight.T @ centre)
