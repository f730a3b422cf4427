from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from modeling.recipes import full
from modeling.recipes.recipe import Recipe

pytestmark = [
    pytest.mark.export,
    # transformers warns that the head of the base is new, as it should be
    pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning"),
]


@pytest.mark.parametrize(
    ("rating", "expected"),
    [(-3.0, (1, 0, 0)), (0.0, (0.05, 0.9, 0.05)), (0.5, (0, 0.5, 0.5)), (3.0, (0, 0, 1))],
)
def test_a_rating_near_a_boundary_is_an_uncertain_label(rating: float, expected: tuple[float, float, float]) -> None:
    found = full.soft_label(rating)
    assert sum(found) == pytest.approx(1)
    assert found == pytest.approx(expected, abs=0.01)


def test_the_fitted_temperature_is_the_factor_by_which_logits_are_overconfident() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]
    assert full.fit_temperature(logits, labels) == pytest.approx(1, abs=0.1)
    assert full.fit_temperature(logits * 2, labels) == pytest.approx(2, abs=0.2)


def test_the_bias_corrects_a_label_that_is_answered_too_rarely() -> None:
    labels = torch.tensor([0, 1, 2] * 50)
    logits = torch.nn.functional.one_hot(labels, 3).float()
    logits[:, 1] -= 1.2
    assert (logits.argmax(dim=-1) == labels).float().mean() < 0.7
    assert ((logits + full.fit_bias(logits, labels)).argmax(dim=-1) == labels).all()


def test_lower_layers_learn_slower_and_the_head_at_its_own_rate(make_checkpoint: Callable[..., Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(make_checkpoint("bert"))
    recipe = Recipe(learning_rate=1.0, layer_decay=0.5, head_learning_rate=3.0)
    names = [name for name, _ in model.named_parameters()]
    rates = dict(zip(names, (group["lr"] for group in full.parameter_groups(model, recipe)), strict=True))
    layers = model.config.num_hidden_layers
    assert rates["classifier.weight"] == 3.0
    for layer in range(layers):
        assert rates[f"bert.encoder.layer.{layer}.attention.self.query.weight"] == 0.5 ** (layers - 1 - layer)
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.5**layers
