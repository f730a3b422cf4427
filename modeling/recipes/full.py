"""Fine-tune a whole checkpoint on rated English texts and Polish words: the recipe of the default model.

Each part was chosen on the validation part and on the Polish sentences (models/NAME/polish-dev.jsonl):

- English texts with human ratings teach the task. A mean rating near a class boundary is an uncertain label, so the
  target is the probability of each class if the mean had an error of RATING_ERROR: 0.5 is half neutral, half positive.
- Polish has rated words only. Lists of words and phrases of an adjective and a noun make weak examples
  (modeling/tasks/sentiment/polish.py), drawn anew in every epoch. Whole Polish sentences come from the multilingual
  pretraining of the base checkpoint.
- Lower layers learn slower (layer_decay), which keeps the two languages aligned. Longer or faster training improves
  English a little and degrades Polish.
- Several runs start from the same head and see the data in another order; the mean of their weights (model soups,
  Wortsman and others 2022, arXiv:2203.05482) is then trained further at a low rate.
- On the validation part, a bias on the negative and the positive logit maximizes macro-F1, where the rare neutral class
  weighs as much as the others; then a temperature divides all logits, so that of the answers with a score of 0.8 about
  80 % are correct. Both are folded into the classifier's weights.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.export.checkpoint import run_network
from modeling.export.loading import load_config, load_tokenizer
from modeling.files import ModelFiles
from modeling.progress import Progress
from modeling.recipes.recipe import Recipe
from modeling.recipes.validation import MACRO_F1, Validation
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import MEANINGS, THRESHOLD, RatedText
from modeling.tasks.sentiment.polish import PolishExamples

RATING_ERROR = 0.3
RECIPE_FILE = "recipe.json"
WARMUP = 0.06
WEIGHT_DECAY = 0.01
MAX_TOKENS = 128
# Batches are cut from chunks of this many batches, sorted by length, to save padding.
CHUNK = 32
# Every run starts from the same random head: weights that start apart have no useful mean.
HEAD_SEED = 0
BIAS_CANDIDATES = np.arange(-0.6, 0.61, 0.1)

# A text, and the target probabilities of negative, neutral and positive.
Example = tuple[str, Sequence[float]]
# Called after each epoch with its number, from 1, and its metrics by name.
Log = Callable[[int, Mapping[str, float]], None]


FINAL = Recipe(epochs=1, learning_rate=5e-5, layer_decay=0.85, head_learning_rate=1e-4, polish_examples=8000)


def soft_label(rating: float) -> Sequence[float]:
    """Probabilities of negative, neutral and positive if the mean ``rating`` has the error RATING_ERROR."""
    error = NormalDist(rating, RATING_ERROR)
    negative, positive = error.cdf(-THRESHOLD), 1.0 - error.cdf(THRESHOLD)
    return negative, 1.0 - negative - positive, positive


def batches(tokenizer: Any, examples: Sequence[Example], size: int) -> Iterator[tuple[Any, torch.Tensor]]:
    """Batches of texts of similar length, in random order: the tokenizer's tensors, and targets ``[size, 3]``."""
    shuffled = random.sample(examples, len(examples))
    ids = tokenizer([text for text, _ in shuffled], truncation=True, max_length=MAX_TOKENS)["input_ids"]
    cut: list[list[int]] = []
    for start in range(0, len(shuffled), size * CHUNK):
        chunk = range(start, min(start + size * CHUNK, len(shuffled)))
        by_length = sorted(chunk, key=lambda index: len(ids[index]))
        cut += [by_length[first : first + size] for first in range(0, len(by_length), size)]
    random.shuffle(cut)
    for batch in cut:
        inputs = tokenizer.pad({"input_ids": [ids[index] for index in batch]}, return_tensors="pt")
        yield inputs, torch.tensor([shuffled[index][1] for index in batch])


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with their learning rates: the head has its own, and each lower layer ``layer_decay`` of the next."""
    layers = model.config.num_hidden_layers
    groups = []
    for name, parameter in model.named_parameters():
        if ".layer." in name:
            depth = layers - 1 - int(name.split(".layer.")[1].split(".")[0])
            rate = recipe.learning_rate * recipe.layer_decay**depth
        elif "embeddings" in name:
            rate = recipe.learning_rate * recipe.layer_decay**layers
        else:
            rate = recipe.head_learning_rate
        groups.append({"params": [parameter], "lr": rate, "weight_decay": WEIGHT_DECAY if parameter.dim() > 1 else 0.0})
    return groups


def fine_tune(
    model: Any, tokenizer: Any, rows: Sequence[RatedText], polish: PolishExamples, recipe: Recipe
) -> Iterator[tuple[int, float]]:
    """Train ``model`` in place on ``rows`` and weak Polish examples; yields each epoch, from 1, and its mean loss."""
    english = [(row.text, soft_label(row.rating)) for row in dataset.select(rows, "train")]
    steps = recipe.epochs * math.ceil((len(english) + recipe.polish_examples) / recipe.batch)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
    with Progress(total=steps, desc="train", unit="batch") as bar:
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            losses = []
            weak = [(text, soft_label(rating)) for text, rating in polish.draw(recipe.polish_examples)]
            for inputs, target in batches(tokenizer, english + weak, recipe.batch):
                # bfloat16 is twice as fast as float32 on CPUs that have it.
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    logits = model(**inputs).logits
                loss = -(target * logits.float().log_softmax(dim=-1)).sum(dim=-1).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            yield epoch, sum(losses) / len(losses)


def logits_of(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Logits in float32, ``[len(texts), 3]``."""
    model.eval()
    return torch.from_numpy(run_network(lambda inputs: model(**inputs).logits, tokenizer, texts, 512))


def _validation_part(model: Any, tokenizer: Any, rows: Sequence[RatedText]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``[texts, 3]`` and labels, indices into MEANINGS, of the validation part of ``rows``."""
    part = dataset.select(rows, "validation")
    labels = torch.tensor([MEANINGS.index(row.label) for row in part])
    return logits_of(model, tokenizer, [row.text for row in part]), labels


def validate(model: Any, tokenizer: Any, rows: Sequence[RatedText]) -> Validation:
    """The answers of ``model`` on the validation part of ``rows``."""
    logits, labels = _validation_part(model, tokenizer, rows)
    return Validation(labels.numpy(), logits.softmax(dim=-1).numpy())


def fit_bias(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The bias on the logits, ``[3]``, with the best macro-F1; that of neutral is 0."""
    candidates = [np.array([negative, 0.0, positive]) for negative in BIAS_CANDIDATES for positive in BIAS_CANDIDATES]
    values = logits.numpy()
    scores = [f1_score(labels, (values + bias).argmax(axis=1), average="macro") for bias in candidates]
    return torch.tensor(candidates[int(np.argmax(scores))], dtype=torch.float32)


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature with the least negative log-likelihood (Guo and others 2017, arXiv:1706.04599)."""
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3.0), 200))
    losses = [torch.nn.functional.cross_entropy(logits / float(value), labels).item() for value in candidates]
    return float(candidates[int(np.argmin(losses))])


def load(base: str | Path, labels: list[str]) -> tuple[Any, Any]:
    """Tokenizer and model, a missing head with random weights; raises :class:`ModelingError` if they do not load."""
    torch.manual_seed(HEAD_SEED)
    try:
        config = load_config(
            base,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={name: index for index, name in enumerate(labels)},
        )
        network = AutoModelForSequenceClassification.from_pretrained(base, config=config, dtype=torch.float32)
        return load_tokenizer(base), network
    except (OSError, ValueError) as error:
        raise ModelingError(f"{base}: not a checkpoint that transformers can load: {error}") from error


def save(model: Any, tokenizer: Any, output: Path, recipe: Mapping[str, Any]) -> None:
    """Write a checkpoint and, as ``recipe.json``, how it was made."""
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / RECIPE_FILE).write_text(json.dumps(recipe, indent=2), encoding="utf-8")


def train_run(base: str, labels: list[str], data: Path, recipe: Recipe, seed: int, output: Path, log: Log) -> None:
    """Train once from ``base`` and :func:`save` into ``output``."""
    started = time.perf_counter()
    tokenizer, model = load(base, labels)
    random.seed(seed)
    torch.manual_seed(seed)
    rows = dataset.english(data)
    for epoch, loss in fine_tune(model, tokenizer, rows, PolishExamples.of(data), recipe):
        log(epoch, {"train_loss": loss, **validate(model, tokenizer, rows).metrics()})
    minutes = round((time.perf_counter() - started) / 60, 1)
    save(model, tokenizer, output, {"seed": seed, **asdict(recipe), "minutes": minutes})


def finish(runs: Sequence[Path], labels: list[str], data: Path, output: Path, log: Log) -> None:
    """Average ``runs``, train further, fold in bias and temperature, and :func:`save` into ``output``."""
    tokenizer, model = load(runs[0], labels)
    states = [load_file(run / "model.safetensors") for run in runs]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    model.load_state_dict(mean, strict=False)
    rows = dataset.english(data)
    random.seed(HEAD_SEED)
    torch.manual_seed(HEAD_SEED)
    for epoch, loss in fine_tune(model, tokenizer, rows, PolishExamples.of(data), FINAL):
        log(epoch, {"train_loss": loss})
    logits, truth = _validation_part(model, tokenizer, rows)
    bias = fit_bias(logits, truth)
    temperature = fit_temperature(logits + bias, truth)
    with torch.no_grad():
        model.classifier.weight /= temperature
        model.classifier.bias += bias
        model.classifier.bias /= temperature
    save(model, tokenizer, output, asdict(FINAL))


def describe(files: ModelFiles, runs: Sequence[Path], data: Path) -> tuple[dict[str, Any], Validation]:
    """The section ``training`` of the report, and the validation, of the finished checkpoint."""
    tokenizer, model = load(files.checkpoint, [label.name for label in files.spec().labels])
    rows = dataset.english(data)
    validation = validate(model, tokenizer, rows)
    polish = dataset.polish_sentences(files.folder / "polish-dev.jsonl")
    polish_found = logits_of(model, tokenizer, [text for text, _ in polish]).argmax(dim=-1).tolist()
    section = {
        "base": files.spec().source.repository,
        "data": dataset.digests(),
        "runs": [json.loads((run / RECIPE_FILE).read_text()) for run in runs],
        "final": json.loads((files.checkpoint / RECIPE_FILE).read_text()),
        "texts": len(dataset.select(rows, "train")),
        MACRO_F1: validation.macro_f1,
        "polish_dev_accuracy": float(accuracy_score([MEANINGS.index(label) for _, label in polish], polish_found)),
        "versions": versions(["torch", "transformers"]),
    }
    return section, validation
