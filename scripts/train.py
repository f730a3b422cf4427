"""Train a model, and record in MLflow how it was made.

    python -m scripts.train sentiment-en-head --recipe head
    python -m scripts.train sentiment-pl-en --recipe full --base path/or/hub-id

Recipes:

    head   the best of three logistic heads on a frozen encoder: about a minute on two cores, for every change
    full   fine-tuning, for releases: about 27 minutes a run and epoch on two cores with AMX, much longer without; the
           result is the mean of all runs in build/NAME/runs. Finished runs are kept: the same command again resumes
           an interrupted training, and other --seeds add runs, also with other settings. Remove build/NAME/runs to
           start over

The rated texts come from pinned packages, are cached in build/data, and must pass
modeling/tasks/sentiment/data_checks.py. The Polish sentences of the recipe full come from GitHub at pinned commits, or
from the folder --sentences; modeling/tasks/sentiment/corpora.py lists them.

MLflow gets, for each run, parameters, metrics, plots, the data's digests and counts, and the commit. The result is
registered as the next version of NAME, with the alias "staging". Without MLFLOW_TRACKING_URI everything is stored in
build/mlflow.db and build/mlflow; for a server with users also set MLFLOW_TRACKING_USERNAME and _PASSWORD.

Writes  build/NAME/checkpoint         the result and its tokenizer, in Hugging Face's format
        build/NAME/runs/SEED          full only: a run's model and its recipe.json
        models/NAME/report.json       the section "training"

Exit codes: 0 done, 1 the base or the data cannot be used, or MLflow rejects the user or does not answer.
Next: python -m scripts.export NAME
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

from modeling.recipes.recipe import ENCODER, Recipe
from scripts.command import command, model_parser

SETTINGS = asdict(Recipe())


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--recipe", choices=("head", "full"), required=True)
    args.add_argument("--base", help=f"checkpoint to start from, a folder or a Hub id (head: default {ENCODER})")
    only_full = args.add_argument_group("full only")
    only_full.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run each (default: 1 2 3)")
    only_full.add_argument("--sentences", type=Path, help="folder with the Polish sentences (default: from GitHub)")
    for name, value in SETTINGS.items():
        only_full.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"(default: {value})", metavar="N"
        )
    options = args.parse_args(arguments)
    from modeling.recipes import training
    from modeling.recipes.validation import MACRO_F1
    from modeling.registry.versions import STAGING
    from modeling.tasks.sentiment import corpora

    started = time.perf_counter()
    task = training.prepare(options.files, options.recipe)
    print(f"{task.checked}\nMLflow: {task.registry.uri}, experiment {task.name}")
    if options.recipe == "head":
        section = training.train_head(task, options.base)
    else:
        print("\n".join(corpora.fetch(task.data, options.sentences)))
        recipe = Recipe(**{name: getattr(options, name) for name in SETTINGS})
        section = training.train_full(task, options.base, options.seeds, recipe)
    for made in section["runs"]:
        if MACRO_F1 in made:
            print(f"C = {made['C']:<6g} validation macro-F1 {made[MACRO_F1]:.4f}")
    print(f"validation macro-F1 {section[MACRO_F1]:.4f}, of {len(section['runs'])} runs")
    if "polish_dev_accuracy" in section:
        print(f"Polish sentences    {section['polish_dev_accuracy']:.4f} correct")
    made = section["mlflow"]
    print(f"registered          models:/{made['model']}/{made['version']}, alias {STAGING}, run {made['run_id']}")
    print(f"{time.perf_counter() - started:.0f} seconds. Next: python -m scripts.export {task.name}")


if __name__ == "__main__":
    sys.exit(main())
