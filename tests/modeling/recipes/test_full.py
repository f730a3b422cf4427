from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from modeling.export.loading import load_tokenizer
from modeling.recipes import full
from modeling.recipes.recipe import Recipe
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText

pytestmark = [
    pytest.mark.export,
    # transformers warns that the head of the base is new, as it should be
    pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning"),
]


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
    assert ((logits + full.fit_bias([(logits, labels)])).argmax(dim=-1) == labels).all()


def test_the_bias_is_the_best_for_all_languages_together() -> None:
    labels = torch.tensor([0, 1, 2] * 50)
    logits = torch.nn.functional.one_hot(labels, 3).float()
    rare, frequent = logits.clone(), logits.clone()
    rare[:, 1] -= 1.2
    frequent[:, 1] += 1.2
    bias = full.fit_bias([(rare, labels), (rare, labels), (frequent, labels)])
    assert bias[[0, 2]].max() < 0


def test_letters_are_lowered_before_anything_else(make_checkpoint: Callable[..., Path], words: list[str]) -> None:
    tokenizer = load_tokenizer(make_checkpoint("bert"))
    plain = tokenizer(words[0])["input_ids"]
    assert tokenizer(words[0].upper())["input_ids"] != plain
    assert full.lower_letters(tokenizer)(words[0].upper())["input_ids"] == plain


def test_training_further_leaves_the_tokenizer_as_it_is(make_checkpoint: Callable[..., Path]) -> None:
    once = full.lower_letters(load_tokenizer(make_checkpoint("bert"))).backend_tokenizer.to_str()
    again = full.lower_letters(full.lower_letters(load_tokenizer(make_checkpoint("bert"))))
    assert again.backend_tokenizer.to_str() == once


def test_the_learning_rate_rises_and_falls_to_a_tenth() -> None:
    rates = [full.rate_at(step, 200) for step in range(201)]
    assert rates[0] == 0
    assert max(rates) == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(full.LAST_RATE)


def test_lower_layers_learn_slower_and_the_head_at_its_own_rate(make_checkpoint: Callable[..., Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(make_checkpoint("bert"))
    recipe = Recipe(learning_rate=1.0, layer_decay=0.5, head_learning_rate=3.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"]
        for group in full.parameter_groups(model, recipe)
        for parameter in group["params"]
    }
    assert {*names.values()} - {*rates} == {"bert.embeddings.word_embeddings.weight"}
    layers = model.config.num_hidden_layers
    assert rates["classifier.weight"] == 3.0
    for layer in range(layers):
        assert rates[f"bert.encoder.layer.{layer}.attention.self.query.weight"] == 0.5 ** (layers - 1 - layer)
    assert rates["bert.embeddings.position_embeddings.weight"] == 0.5**layers


@pytest.mark.parametrize(
    ("flags", "expected"), [(["amx_bf16", "avx512_bf16"], "bfloat16"), (["avx512_bf16"], "float32"), ([], "float32")]
)
def test_products_are_in_bfloat16_only_where_they_are_faster(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: str
) -> None:
    monkeypatch.setattr(full, "cpu_flags", lambda: flags)
    assert full.precision() == expected


def test_two_passes_are_compared_with_the_target_and_with_each_other() -> None:
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    first = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    second = torch.tensor([[0.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    loss, divergence = full.losses_of(torch.cat([first, second]), target)
    passes = [torch.nn.functional.cross_entropy(logits, target) for logits in (first, second)]
    assert loss == pytest.approx(float(sum(passes)) / 2)
    one, other = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
    directions = [
        torch.nn.functional.kl_div(other, one, log_target=True, reduction="batchmean"),
        torch.nn.functional.kl_div(one, other, log_target=True, reduction="batchmean"),
    ]
    assert divergence == pytest.approx(float(sum(directions)) / 2)
    assert full.losses_of(torch.cat([first, first]), target)[1] == 0


def test_a_batch_has_each_text_as_it_is_and_as_it_is_typed_in_a_hurry(
    make_checkpoint: Callable[..., Path], words: list[str]
) -> None:
    tokenizer = load_tokenizer(make_checkpoint("bert"))
    negative, positive = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    examples = [(words[0], f"{words[0]} {words[1]}", negative), (words[2], f"{words[2]} {words[1]}", positive)]
    ((inputs, target),) = full.batches(tokenizer, examples, 2)
    found = tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    assert sorted(zip(found[:2], found[2:], map(tuple, target.tolist()), strict=True)) == sorted(examples)


def test_a_batch_of_any_length_has_one_of_few_shapes(make_checkpoint: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer(make_checkpoint("bert"))
    examples = [("ba " * count, "ba " * count, (1.0, 0.0, 0.0)) for count in range(1, 21)]
    found = {inputs["input_ids"].shape[1] for inputs, _ in full.batches(tokenizer, examples, 2)}
    assert found == {8, 16, 24}


def test_the_result_is_the_mean_of_the_runs(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    runs = [make_checkpoint("bert", seed=seed) for seed in (1, 2)]
    rows = [RatedText(f"ba {number}", rating, "news") for number in range(60) for rating in (-2.0, 0.0, 2.0)]
    name = "bert.encoder.layer.0.output.dense.weight"
    weights = [load_file(run / "model.safetensors")[name] for run in runs]
    full.finish(runs, list(MEANINGS), full.Data(rows, []), tmp_path)
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors")[name], sum(weights) / 2)
