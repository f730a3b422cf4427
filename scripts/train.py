"""Train a model, and record in MLflow how it was made.

    python -m scripts.train sentiment-en-head --recipe head
    python -m scripts.train sentiment-pl-en --recipe full --base path/or/hub-id

Two recipes:

    head   a logistic head on a frozen encoder, for C = 0.1, 1 and 10: about a minute on two cores, for every change
           (modeling/recipes/head.py); the best by macro-F1 on the validation part is the outcome
    full   fine-tuning, for releases: ten minutes a run on two cores, and the mean of the runs is the outcome
           (modeling/recipes/full.py). A run, or a checkpoint, that is already there is not made again: training
           that was interrupted goes on where it was, and runs of other settings (--seeds, --learning-rate, ...) can be
           added. Remove build/NAME to start anew

The data comes from pinned packages, is kept in build/data with its SHA-256 checked, and is refused if it is not what it
should be (modeling/tasks/sentiment/data_checks.py says what that is).

MLflow gets, for each run: parameters, metrics (by epoch where there are epochs), pictures, the data's digests and
figures, and the commit. The outcome is logged as a model, registered as the next version of NAME, and gets the alias
"staging". Without MLFLOW_TRACKING_URI everything is kept in build/mlflow.db and build/mlflow; for a server with users
set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD too.

Writes  build/NAME/checkpoint         the outcome and its tokenizer, as Hugging Face has them
        build/NAME/runs/SEED          full only: a run's model and its recipe.json
        models/NAME/report.json       the section "training"

Exit codes: 0 done, 1 the base or the data cannot be used, or MLflow refuses or does not answer.
Next: python -m scripts.export NAME
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.files import ROOT, ModelFiles, sha256
from modeling.recipes import full, head
from modeling.recipes.full import RECIPE_FILE
from modeling.recipes.validation import MACRO_F1, Validation
from modeling.registry.versions import STAGING, Registry, Version, log_checkpoint
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import data_checks, dataset
from modeling.tasks.sentiment.data_checks import DataReport
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText
from scripts.command import parser
from textserve.spec import SpecError

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and where that is recorded: the same for both recipes."""

    files: ModelFiles
    spec: ModelSpec
    data: Path
    rows: Sequence[RatedText]
    checked: DataReport
    registry: Registry

    @property
    def name(self) -> str:
        """Of the model: its folder in models/, its experiment, and its registered model."""
        return self.files.folder.name

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the outputs."""
        return [label.name for label in self.spec.labels]


def prepare(name: str) -> Task:
    """Read spec and data, and connect to MLflow: all that can be wrong is found before anything is computed.

    Raises:
        ModelingError, SpecError, DataError: naming what cannot be used.
    """
    files = ModelFiles.of(name)
    spec = files.spec()
    if spec.meanings != list(MEANINGS):
        raise ModelingError(f"models/{name}: its labels mean {', '.join(spec.meanings)}, those of the data {MEANINGS}")
    data = dataset.fetch(ROOT / "build" / "data")
    rows = dataset.english(data)
    checked = data_checks.check(rows)
    print(checked)
    registry = Registry.connect()
    print(f"MLflow: {registry.uri}, experiment {name}")
    return Task(files, spec, data, rows, checked, registry)


def train_head(task: Task, base: str | None) -> tuple[dict[str, Any], Version]:
    """The recipe ``head``: the section ``training`` of the report, and the version that was registered."""
    started = time.perf_counter()
    encoder = base or head.fetch_encoder(task.data)
    tokenizer, network = head.load_encoder(encoder, task.labels)
    heads = head.sweep(network, tokenizer, task.rows, task.spec.tokenization.max_tokens)
    best = max(heads, key=lambda one: one.validation.macro_f1)
    head.attach(network, best.regression)
    recipe = {"recipe": "head", "C": best.c}
    save(task, network, tokenizer, recipe)
    common = {"recipe": "head", "base": base or head.ENCODER, "seed": head.SEED}
    for one in heads:
        with recorded(task, f"head, C = {one.c:g}", {**common, "C": one.c}) as run_id:
            mlflow.log_metrics({"iterations": one.iterations})
            log_validation(one.validation)
            if one is best:
                best_run, uri = run_id, log_checkpoint(task.files.checkpoint, task.spec.tokenization.max_tokens)
    version = stage(task, best_run, uri, "head", best.validation)
    section = {
        **common,
        "data": digests(),
        "texts": min(len(dataset.select(task.rows, "train")), head.MAX_TRAINING_TEXTS),
        "runs": [{"C": one.c, **one.validation.metrics()} for one in heads],
        "final": recipe,
        MACRO_F1: best.validation.macro_f1,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(["torch", "transformers", "scikit-learn", "mlflow"]),
    }
    return section, version


def train_full(
    task: Task, base: str | None, seeds: Sequence[int], recipe: full.Recipe
) -> tuple[dict[str, Any], Version]:
    """The recipe ``full``: the section ``training`` of the report, and the version that was registered."""
    for seed in seeds:
        output = task.files.build / "runs" / str(seed)
        if (output / RECIPE_FILE).exists():
            continue
        if base is None:
            raise ModelingError("the recipe full starts from a checkpoint; name it with --base")
        parameters = {"recipe": "full", "base": base, "seed": seed, **asdict(recipe)}
        with recorded(task, f"full, seed {seed}", parameters):
            full.train_run(base, task.labels, task.data, recipe, seed, output, log_epoch)
    runs = sorted(file.parent for file in (task.files.build / "runs").glob(f"*/{RECIPE_FILE}"))
    parameters = {"recipe": "full", "seeds": [int(run.name) for run in runs], **asdict(full.FINAL)}
    with recorded(task, f"full, mean of {len(runs)}", parameters) as run_id:
        if not (task.files.checkpoint / RECIPE_FILE).exists():
            full.finish(runs, task.labels, task.data, task.files.checkpoint, log_epoch)
        section, validation = full.describe(task.files, runs, task.data)
        log_validation(validation)
        mlflow.log_metrics({"polish_dev_accuracy": section["polish_dev_accuracy"]})
        uri = log_checkpoint(task.files.checkpoint, task.spec.tokenization.max_tokens)
    return {"recipe": "full", **section}, stage(task, run_id, uri, "full", validation)


@contextmanager
def recorded(task: Task, name: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """A run in MLflow with its parameters and the data that it learns from; yields its id."""
    with task.registry.run(task.name, name) as run_id:
        mlflow.log_params(dict(parameters))
        mlflow.log_dict({"sha256": digests(), **task.checked.as_json()}, "data.json")
        mlflow.set_tags({f"sha256.{file}": digest for file, digest in digests().items()})
        yield run_id


def digests() -> dict[str, str]:
    """SHA-256 of each file that the data is read from."""
    return {file: digest for file, (_, digest) in dataset.PACKAGES.items()}


def log_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
    """Write the metrics of an epoch to the current run."""
    mlflow.log_metrics(dict(metrics), step=epoch)


def log_validation(validation: Validation) -> None:
    """Write metrics and pictures of the validation part to the current run."""
    mlflow.log_metrics(validation.metrics())
    for file, figure in validation.figures().items():
        mlflow.log_figure(figure, file)


def save(task: Task, network: Any, tokenizer: Any, recipe: Mapping[str, Any]) -> None:
    """Write the checkpoint and what it was made by into ``build/NAME/checkpoint``."""
    network.save_pretrained(task.files.checkpoint)
    tokenizer.save_pretrained(task.files.checkpoint)
    (task.files.checkpoint / RECIPE_FILE).write_text(json.dumps(recipe, indent=2), encoding="utf-8")


def stage(task: Task, run_id: str, uri: str, recipe: str, validation: Validation) -> Version:
    """Register what a run logged as the next version, and give it the alias ``staging``."""
    tags = {
        "recipe": recipe,
        MACRO_F1: f"{validation.macro_f1:.4f}",
        f"sha256.{WEIGHTS}": sha256(task.files.checkpoint / WEIGHTS),
    }
    version = task.registry.register(task.name, run_id, uri, tags)
    task.registry.set_alias(task.name, STAGING, version.number)
    return version


def require_recipe(files: ModelFiles, recipe: str) -> None:
    """Refuse to write over, or to go on from, what the other recipe made.

    Raises:
        ModelingError: saying what to remove.
    """
    file = files.checkpoint / RECIPE_FILE
    if file.exists() and (made := json.loads(file.read_text(encoding="utf-8")).get("recipe", "full")) != recipe:
        raise ModelingError(f"{files.checkpoint} was made by the recipe {made}; remove it to train by {recipe}")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--recipe", choices=("head", "full"), required=True)
    args.add_argument(
        "--base", help=f"checkpoint to start from, a folder or a Hugging Face id (head: {head.ENCODER} by default)"
    )
    settings = args.add_argument_group("full only")
    settings.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="a run each (default: 1 2 3)")
    for name, value in asdict(full.Recipe()).items():
        settings.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"(default: {value})", metavar="N"
        )
    options = vars(args.parse_args(arguments))
    model, chosen, base, seeds = (options.pop(name) for name in ("model", "recipe", "base", "seeds"))
    started = time.perf_counter()
    try:
        require_recipe(ModelFiles.of(model), chosen)
        task = prepare(model)
        if chosen == "head":
            section, version = train_head(task, base)
        else:
            section, version = train_full(task, base, seeds, full.Recipe(**options))
    except (ModelingError, SpecError, dataset.DataError) as error:
        print(error, file=sys.stderr)
        return 1
    mlflow_section = {"run_id": version.run_id, "model": version.name, "version": version.number}
    task.files.add_to_report("training", {**section, "mlflow": mlflow_section})
    for run in section["runs"]:
        if MACRO_F1 in run:
            print(f"C = {run['C']:<6g} validation macro-F1 {run[MACRO_F1]:.4f}")
    print(f"validation macro-F1 {section[MACRO_F1]:.4f}, of {len(section['runs'])} runs")
    if "polish_dev_accuracy" in section:
        print(f"Polish sentences    {section['polish_dev_accuracy']:.4f} right")
    print(f"registered          {version.uri}, alias {STAGING}, run {version.run_id}")
    print(f"{time.perf_counter() - started:.0f} seconds. Next: python -m scripts.export {model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
