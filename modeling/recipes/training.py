"""Train by a recipe, record every run in MLflow, and register the result as the version to export next."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.files import ModelFiles, sha256
from modeling.recipes import full, head
from modeling.recipes.full import RECIPE_FILE
from modeling.recipes.recipe import ENCODER, Recipe
from modeling.recipes.validation import MACRO_F1, Validation
from modeling.registry.served import WEIGHTS, WEIGHTS_TAG
from modeling.registry.versions import STAGING, Registry, log_checkpoint
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import corpora, data_checks, dataset, sentences, texts
from modeling.tasks.sentiment.data_checks import DataReport
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText
from modeling.tasks.sentiment.sentences import COMPOSED_FILE


@dataclass(frozen=True)
class Task:
    """What a recipe trains, the data it learns from, and the registry that records it."""

    files: ModelFiles
    spec: ModelSpec
    data: Path
    rows: Sequence[RatedText]
    checked: DataReport
    registry: Registry

    @property
    def name(self) -> str:
        """Name of the model, its experiment and its registered model."""
        return self.files.folder.name

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the outputs."""
        return [label.name for label in self.spec.labels]


def prepare(files: ModelFiles, recipe: Literal["head", "full"]) -> Task:
    """Read spec and data and connect to MLflow; raises :class:`ModelingError` before anything is computed."""
    file = files.checkpoint / RECIPE_FILE
    if file.exists() and (made := json.loads(file.read_text(encoding="utf-8")).get("recipe", "full")) != recipe:
        raise ModelingError(f"{files.checkpoint} was made by the recipe {made}; remove it to train by {recipe}")
    spec = files.spec()
    if spec.label_names != list(MEANINGS):
        raise ModelingError(
            f"models/{files.folder.name}: its labels mean {', '.join(spec.label_names)}, those of the data {MEANINGS}"
        )
    data = dataset.fetch(files.data)
    rows = dataset.english(data)
    return Task(files, spec, data, rows, data_checks.check(rows), Registry.connect())


def train_head(task: Task, base: str | None) -> dict[str, Any]:
    """Train by the recipe ``head``, register the best head, and return the section ``training`` of the report."""
    started = time.perf_counter()
    tokenizer, network = head.load_encoder(base or head.fetch_encoder(task.data), task.labels)
    heads = head.sweep(network, tokenizer, task.rows, task.spec.tokenization.max_tokens)
    best = max(heads, key=lambda fitted: fitted.validation.macro_f1)
    head.attach(network, best.regression)
    recipe = {"recipe": "head", "C": best.c}
    full.save(network, tokenizer, task.files.checkpoint, recipe)
    common = {"recipe": "head", "base": base or ENCODER, "seed": head.SEED}
    for fitted in heads:
        with _recorded(task, f"head, C = {fitted.c:g}", {**common, "C": fitted.c}) as run_id:
            mlflow.log_metrics({"iterations": fitted.iterations})
            _log_validation(fitted.validation)
            if fitted is best:
                best_run, uri = run_id, log_checkpoint(task.files.checkpoint, task.spec.tokenization.max_tokens)
    section = {
        **common,
        "data": dataset.digests(),
        "texts": min(len(dataset.select(task.rows, "train")), head.MAX_TRAINING_TEXTS),
        "runs": [{"C": fitted.c, **fitted.validation.metrics()} for fitted in heads],
        "final": recipe,
        MACRO_F1: best.validation.macro_f1,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(["torch", "transformers", "scikit-learn", "mlflow"]),
    }
    return _stage(task, best_run, uri, section)


def train_full(task: Task, base: str | None, seeds: Sequence[int], recipe: Recipe) -> dict[str, Any]:
    """Train by the recipe ``full``, register the mean of the runs, and return the report's section ``training``.

    The sentences are in the folder of the data; see :func:`modeling.tasks.sentiment.corpora.fetch`.
    """
    composed = texts.own_or_common(task.files, COMPOSED_FILE)
    measured = texts.labelled_texts(task.files, "pl")
    if measured is None:
        raise ModelingError(f"models/{task.name} has no {texts.SENTENCES_FILE}, sentences to measure with")
    data = full.Data(task.rows, sentences.read(composed, task.data), frozenset(map(str, measured.texts)))
    digests = {file.name: sha256(file) for file in (composed, *(task.data / corpus.file for corpus in corpora.CORPORA))}
    for seed in seeds:
        output = task.files.build / "runs" / str(seed)
        if (output / RECIPE_FILE).exists():
            _require_same_settings(output, recipe)
            continue
        if base is None:
            raise ModelingError("the recipe full starts from a checkpoint; name it with --base")
        parameters = {"recipe": "full", "base": base, "seed": seed, **asdict(recipe)}
        with _recorded(task, f"full, seed {seed}", parameters, digests):
            full.train_run(base, task.labels, data, recipe, seed, output, _log_epoch)
    runs = sorted(file.parent for file in (task.files.build / "runs").glob(f"*/{RECIPE_FILE}"))
    parameters = {"recipe": "full", "seeds": [int(run.name) for run in runs]}
    with _recorded(task, f"full, mean of {len(runs)}", parameters, digests) as run_id:
        full.finish(runs, task.labels, data, task.files.checkpoint)
        section, found = full.describe(task.files, runs, data)
        _log_validation(found["en"])
        mlflow.log_metrics({"polish_dev_accuracy": section["polish_dev_accuracy"], **full.scores(found)})
        uri = log_checkpoint(task.files.checkpoint, task.spec.tokenization.max_tokens)
    return _stage(task, run_id, uri, {"recipe": "full", "data": dataset.digests() | digests, **section})


def _require_same_settings(run: Path, recipe: Recipe) -> None:
    made = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    others = [f"{name} = {made.get(name)}" for name, value in asdict(recipe).items() if made.get(name) != value]
    if others:
        raise ModelingError(
            f"{run} was trained with {', '.join(others)}: use these settings, use another seed, or remove it"
        )


@contextmanager
def _recorded(
    task: Task, name: str, parameters: Mapping[str, Any], more_digests: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Record an MLflow run with its parameters and the digests of its data; yields the id of the run."""
    digests = dataset.digests() | dict(more_digests or {})
    with task.registry.run(task.name, name) as run_id:
        mlflow.log_params(dict(parameters))
        mlflow.log_dict({"sha256": digests, **task.checked.as_json()}, "data.json")
        mlflow.set_tags({f"sha256.{file}": digest for file, digest in digests.items()})
        yield run_id


def _log_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
    mlflow.log_metrics(dict(metrics), step=epoch)


def _log_validation(validation: Validation) -> None:
    mlflow.log_metrics(validation.metrics())
    for file, figure in validation.figures().items():
        mlflow.log_figure(figure, file)


def _stage(task: Task, run_id: str, uri: str, section: dict[str, Any]) -> dict[str, Any]:
    """Register what a run logged as the next version, with the alias ``staging``, and write ``section``."""
    tags = {
        "recipe": section["recipe"],
        MACRO_F1: f"{section[MACRO_F1]:.4f}",
        WEIGHTS_TAG: sha256(task.files.checkpoint / WEIGHTS),
    }
    version = task.registry.register(task.name, run_id, uri, tags)
    task.registry.set_alias(task.name, STAGING, version.number)
    section |= {"mlflow": {"run_id": version.run_id, "model": version.name, "version": version.number}}
    task.files.add_to_report("training", section)
    return section
