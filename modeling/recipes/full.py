"""Fine-tune a whole checkpoint on rated English texts and labelled Polish sentences: the recipe of the default model.

The averaging of the weights was chosen, and bias and temperature are fitted, on the validation parts of both languages;
the rest of the recipe was not tuned:

- An epoch mixes rated English texts with Polish sentences of several sources (:mod:`modeling.recipes.mixture`). Targets
  are probabilities: a mean rating near a class boundary is an uncertain label, and no source is sure of all its labels.
- The tokenizer lower-cases texts: capitals have rare tokens of their own, of which the encoder knows little.
- Lower layers learn slower (``layer_decay``), which keeps the two languages aligned, and the token embeddings are
  frozen.
- Every batch passes twice, as written and as typed in a hurry (:mod:`modeling.tasks.sentiment.noise`), with different
  dropout, and a loss term (``consistency``) pulls the two answers together: R-Drop, Liang and others 2021,
  arXiv:2106.14448. In the second pass, some Polish texts have a plain fact beside them.
- A run's result is half its last weights, half their mean over its second part (Kaddour 2022, arXiv:2209.14981).
  Several runs, with another order of the data or another learning rate, are averaged too (model soups, Wortsman
  and others 2022, arXiv:2203.05482).
- On the validation parts, a bias on the negative and the positive logit maximizes macro-F1, where the rare neutral
  class weighs as much as the others; then a temperature, fitted on the English part, divides all logits, so that
  about 80 % of the answers with a score of 0.8 are correct. Both are folded into the classifier's weights.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.ndimage import uniform_filter
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import normalizers
from torch.optim.swa_utils import AveragedModel
from transformers import AutoModelForSequenceClassification

from modeling.environment import cpu_flags, versions
from modeling.errors import ModelingError
from modeling.export.checkpoint import run_network
from modeling.export.loading import load_config, load_tokenizer
from modeling.files import ModelFiles
from modeling.progress import Progress
from modeling.recipes.mixture import Example, Mixture
from modeling.recipes.recipe import Recipe
from modeling.recipes.validation import MACRO_F1, Validation
from modeling.tasks.sentiment import dataset, sentences
from modeling.tasks.sentiment.dataset import MEANINGS, Meaning, RatedText
from modeling.tasks.sentiment.sentences import Sentence
from modeling.tasks.sentiment.texts import SENTENCES_FILE, own_or_common

RECIPE_FILE = "recipe.json"
WARMUP = 0.05
# The learning rate of the last step, as a share of the highest.
LAST_RATE = 0.1
# The share of the steps after which weights enter the mean, and the number of steps between those that do.
MEAN_FROM = 0.45
MEAN_EVERY = 40
WEIGHT_DECAY = 0.01
MAX_TOKENS = 256
# Batches are cut from chunks of this many batches, sorted by length, to save padding.
CHUNK = 128
# Lengths are padded to multiples of this: products are planned anew for each new shape.
SHAPE_STEP = 8
# Every run starts from the same random head: weights that start apart have no useful mean.
HEAD_SEED = 0
BIAS_CANDIDATES = np.arange(-0.6, 0.61, 0.1)
POLISH_F1 = "polish_macro_f1"

# Called after each epoch with its number, from 1, and its metrics by name.
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Data:
    """Rated English texts, labelled sentences (most of them Polish), and texts ``held_out`` from training."""

    rated: Sequence[RatedText]
    sentences: Sequence[Sentence]
    held_out: frozenset[str] = frozenset()

    def mixture(self) -> Mixture:
        """The examples that an epoch is drawn from."""
        return Mixture.of(self.rated, self.sentences, self.held_out)

    def validation(self) -> dict[str, tuple[list[str], list[Meaning]]]:
        """Texts and labels of the validation part of each language."""
        rated = dataset.select(self.rated, "validation")
        polish = [one for one in sentences.select(self.sentences, "validation") if one.language == "pl"]
        return {
            "en": ([row.text for row in rated], [row.label for row in rated]),
            "pl": ([one.text for one in polish], [one.label for one in polish]),
        }


def batches(tokenizer: Any, examples: Sequence[Example], size: int) -> Iterator[tuple[Any, torch.Tensor]]:
    """Batches of texts of similar length, in random order, and their targets ``[size, 3]``.

    The tokenizer's tensors are ``[2 * size, tokens]``: all texts as written, then all as typed in a hurry.
    """
    shuffled = random.sample(examples, len(examples))
    written, typed = (
        tokenizer([example[index] for example in shuffled], truncation=True, max_length=MAX_TOKENS)["input_ids"]
        for index in (0, 1)
    )
    cut: list[list[int]] = []
    for start in range(0, len(shuffled), size * CHUNK):
        chunk = range(start, min(start + size * CHUNK, len(shuffled)))
        by_length = sorted(chunk, key=lambda index: max(len(written[index]), len(typed[index])))
        cut += [by_length[first : first + size] for first in range(0, len(by_length), size)]
    random.shuffle(cut)
    for batch in cut:
        ids = [texts[index] for texts in (written, typed) for index in batch]
        inputs = tokenizer.pad({"input_ids": ids}, pad_to_multiple_of=SHAPE_STEP, return_tensors="pt")
        yield inputs, torch.tensor([shuffled[index][-1] for index in batch])


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with their learning rates: a rate for the head, and for each layer ``layer_decay`` times the next.

    The token embeddings are left out: they are half of all parameters, and a step reaches only a few hundred rows.
    """
    layers = model.config.num_hidden_layers
    groups: dict[tuple[float, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if ".layer." in name:
            depth = layers - 1 - int(name.split(".layer.")[1].split(".")[0])
            rate = recipe.learning_rate * recipe.layer_decay**depth
        elif "embeddings" in name:
            rate = recipe.learning_rate * recipe.layer_decay**layers
        else:
            rate = recipe.head_learning_rate
        if "word_embeddings" not in name:
            groups.setdefault((rate, parameter.dim() > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": WEIGHT_DECAY if is_matrix else 0.0}
        for (rate, is_matrix), parameters in groups.items()
    ]


def rate_at(step: int, steps: int) -> float:
    """Share of the highest learning rate at ``step`` of ``steps``: it rises over WARMUP, then falls to LAST_RATE."""
    warm = int(WARMUP * steps)
    return step / warm if step < warm else LAST_RATE + (1 - LAST_RATE) * (steps - step) / (steps - warm)


def precision() -> str:
    """The type in which products are computed in training; weights and their updates are always float32.

    Processors with AMX are faster with bfloat16, those without instructions for it many times slower.
    """
    return "bfloat16" if "amx_bf16" in cpu_flags() else "float32"


def losses_of(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross-entropy of two passes of one batch, and the symmetric Kullback-Leibler divergence between them.

    ``logits`` are ``[2 * texts, classes]``, those of the second pass after those of the first, and ``target`` is
    ``[texts, classes]``. Both results are means over the texts and the two passes or directions.
    """
    first, second = logits.log_softmax(dim=-1).chunk(2)
    cross_entropy = -(target * (first + second)).sum(dim=-1).mean() / 2
    divergence = ((first.exp() - second.exp()) * (first - second)).sum(dim=-1).mean() / 2
    return cross_entropy, divergence


def fine_tune(model: Any, tokenizer: Any, mixture: Mixture, recipe: Recipe) -> Iterator[tuple[int, float]]:
    """Train ``model`` in place; yields each epoch, from 1, and its mean loss. At the end the weights are averaged."""
    model.get_input_embeddings().weight.requires_grad_(False)
    drawn = mixture.draw(recipe)
    steps = recipe.epochs * math.ceil(len(drawn) / recipe.batch)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    mean = AveragedModel(model)
    in_bfloat16 = precision() == "bfloat16"
    with Progress(total=steps, desc="train", unit="batch") as bar:
        for epoch in range(1, recipe.epochs + 1):
            drawn = drawn if epoch == 1 else mixture.draw(recipe)
            model.train()
            losses = []
            for inputs, target in batches(tokenizer, drawn, recipe.batch):
                with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                    logits = model(**inputs).logits.float()
                loss, divergence = losses_of(logits, target)
                (loss + recipe.consistency * divergence).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                if bar.n > MEAN_FROM * steps and bar.n % MEAN_EVERY == 0:
                    mean.update_parameters(model)
            yield epoch, sum(losses) / len(losses)
    if mean.n_averaged:
        last = model.state_dict()
        model.load_state_dict({name: (last[name] + value) / 2 for name, value in mean.module.state_dict().items()})


def logits_of(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Logits in float32, ``[len(texts), 3]``."""
    model.eval()
    return torch.from_numpy(run_network(lambda inputs: model(**inputs).logits, tokenizer, texts, 512))


def validate(model: Any, tokenizer: Any, data: Data) -> dict[str, Validation]:
    """The answers of ``model`` on the validation part of each language."""
    return {
        language: Validation(
            np.array([MEANINGS.index(label) for label in labels]),
            logits_of(model, tokenizer, texts).softmax(dim=-1).numpy(),
        )
        for language, (texts, labels) in data.validation().items()
        if texts
    }


def scores(found: Mapping[str, Validation]) -> dict[str, float]:
    """The metrics of English, and macro-F1 of Polish."""
    return found["en"].metrics() | ({POLISH_F1: found["pl"].macro_f1} if "pl" in found else {})


def fit_bias(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The bias on the logits, ``[3]``, with the best mean macro-F1 of all ``parts``; that of neutral is 0.

    A part has logits ``[texts, 3]`` and labels ``[texts]``. A candidate is rated by the mean with its neighbours in
    the grid, since single texts move macro-F1.
    """
    found = np.array(
        [[_mean_f1(parts, (negative, 0.0, positive)) for positive in BIAS_CANDIDATES] for negative in BIAS_CANDIDATES]
    )
    smooth = uniform_filter(found, size=3, mode="nearest")
    negative, positive = np.unravel_index(smooth.argmax(), smooth.shape)
    return torch.tensor([BIAS_CANDIDATES[negative], 0.0, BIAS_CANDIDATES[positive]], dtype=torch.float32)


def _mean_f1(parts: Sequence[tuple[torch.Tensor, torch.Tensor]], bias: tuple[float, float, float]) -> float:
    return float(
        np.mean([f1_score(labels, (logits.numpy() + bias).argmax(axis=1), average="macro") for logits, labels in parts])
    )


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature with the least negative log-likelihood (Guo and others 2017, arXiv:1706.04599).

    ``logits`` are ``[texts, 3]``, ``labels`` ``[texts]``.
    """
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3.0), 200))
    losses = [torch.nn.functional.cross_entropy(logits / float(value), labels).item() for value in candidates]
    return float(candidates[int(np.argmin(losses))])


def lower_letters(tokenizer: Any) -> Any:
    """Make ``tokenizer`` lower-case texts first, unless it does, and return it."""
    backend = tokenizer.backend_tokenizer
    found = backend.normalizer
    if not (found and found.normalize_str("A") == "a"):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([found] if found else [])])
    return tokenizer


def load(base: str | Path, labels: list[str]) -> tuple[Any, Any]:
    """Tokenizer and model; a missing head has random weights. Raises :class:`ModelingError` if they do not load."""
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


def train_run(base: str, labels: list[str], data: Data, recipe: Recipe, seed: int, output: Path, log: Log) -> None:
    """Train once from ``base`` and :func:`save` into ``output``."""
    started = time.perf_counter()
    tokenizer, model = load(base, labels)
    lower_letters(tokenizer)
    random.seed(seed)
    torch.manual_seed(seed)
    for epoch, loss in fine_tune(model, tokenizer, data.mixture(), recipe):
        log(epoch, {"train_loss": loss, **scores(validate(model, tokenizer, data))})
    minutes = round((time.perf_counter() - started) / 60, 1)
    made = {"seed": seed, **asdict(recipe), "precision": precision(), "minutes": minutes}
    save(model, tokenizer, output, made)


def finish(runs: Sequence[Path], labels: list[str], data: Data, output: Path) -> None:
    """Average ``runs``, fold in bias and temperature, and :func:`save` into ``output``."""
    tokenizer, model = load(runs[0], labels)
    states = [load_file(run / "model.safetensors") for run in runs]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    model.load_state_dict(mean, strict=False)
    parts = {
        language: (logits_of(model, tokenizer, texts), torch.tensor([MEANINGS.index(label) for label in truth]))
        for language, (texts, truth) in data.validation().items()
        if texts
    }
    bias = fit_bias(list(parts.values()))
    # English only: the Polish sentences, which were composed or on which six people agreed, are clearer than served
    # texts. Fitted on them, scores would be too high.
    logits, answers = parts["en"]
    temperature = fit_temperature(logits + bias, answers)
    with torch.no_grad():
        model.classifier.weight /= temperature
        model.classifier.bias += bias
        model.classifier.bias /= temperature
    fitted = {"bias": [round(float(value), 2) for value in bias], "temperature": round(temperature, 3)}
    save(model, tokenizer, output, {"runs": len(runs), **fitted})


def describe(files: ModelFiles, runs: Sequence[Path], data: Data) -> tuple[dict[str, Any], dict[str, Validation]]:
    """The section ``training`` of the report, and the validation, of the finished checkpoint."""
    tokenizer, model = load(files.checkpoint, [label.name for label in files.spec().labels])
    found = validate(model, tokenizer, data)
    polish = dataset.polish_sentences(own_or_common(files, SENTENCES_FILE))
    polish_found = logits_of(model, tokenizer, [text for text, _ in polish]).argmax(dim=-1).tolist()
    mixture = data.mixture()
    section = {
        "base": files.spec().source.repository,
        "runs": [json.loads((run / RECIPE_FILE).read_text()) for run in runs],
        "final": json.loads((files.checkpoint / RECIPE_FILE).read_text()),
        "texts": {"rated English": len(mixture.rated), **Counter(one.source for one in mixture.sentences)},
        MACRO_F1: found["en"].macro_f1,
        POLISH_F1: found["pl"].macro_f1 if "pl" in found else None,
        "polish_dev_accuracy": float(accuracy_score([MEANINGS.index(label) for _, label in polish], polish_found)),
        "versions": versions(["torch", "transformers"]),
    }
    return section, found
