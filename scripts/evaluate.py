"""Measure a model: quality, calibration, behaviour, speed and size; beside the model now in use, and its gates.

    python -m scripts.evaluate sentiment-pl-en
    python -m scripts.evaluate sentiment-pl-en --against twitter-sentiment-pl-base

Quality is measured on labelled texts in each of the model's languages (modeling/evaluation/quality.py), with 95 %
intervals, for English by domain and beside VADER's own lexicon. Behaviour is tested on the cases of
modeling/tasks/sentiment/behaviour.yaml. The model in use is the registered version with the alias "champion", if there
is a registry (MLFLOW_TRACKING_URI, or build/mlflow.db) and one has it; --against NAME takes models/NAME instead, and
--against none nothing. The gates are those of the spec; here they are only shown, scripts/promote.py asks for them.

Writes  models/NAME/report.json        the sections "quality", "behaviour", "performance" and "evaluation"
        build/NAME/report.html         the same and more, to be read; one file with its pictures
        models/NAME/images/*.png       confusion matrices, reliability diagram, what the quantizer did
        models/NAME/README.md          the blocks between <!-- NAME --> and <!-- /NAME -->

Exit codes: 0 done, whatever the gates say; 1 a file is missing or cannot be read, or the registry does not answer.
Next: python -m scripts.promote NAME
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from modeling.environment import commit, versions
from modeling.errors import ModelingError
from modeling.evaluation import behaviour, card, fidelity, gates, performance, plots, quality, report_page
from modeling.evaluation.performance import InUse
from modeling.files import ROOT, ModelFiles
from modeling.registry import served
from modeling.registry.versions import URI_VARIABLE, Registry
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.texts import labelled_texts
from scripts.command import parser
from textserve.classifier import Classifier, ModelFilesError
from textserve.spec import SpecError

NOTHING = "none"


def find_in_use(files: ModelFiles, named: str | None) -> InUse | None:
    """The model to compare with: the one named by --against, or else the registered champion.

    Raises:
        ModelingError: if there is none of that name, or the registry does not have the champion's files.
    """
    if named == NOTHING:
        return None
    if named:
        other = ModelFiles.of(named)
        other.digests()
        return InUse(other.folder, f"models/{named}")
    root = files.build.parents[1]
    if not os.environ.get(URI_VARIABLE) and not (root / "build" / "mlflow.db").exists():
        return None
    registered = served.origin(files)
    name = registered["name"] if registered else files.folder.name
    return served.champion_files(Registry.connect(root), name, files.build)


def evaluate(files: ModelFiles, in_use: InUse | None) -> dict[str, dict[str, Any]]:
    """Measure everything that the module's docstring lists, as sections of the report by their name.

    Raises:
        ModelingError, SpecError, ModelFilesError, DataError: if a file is missing or cannot be read.
    """
    digests = files.digests()
    classifier = Classifier(files.folder)
    spec = files.spec()
    sets = [one.with_labels(spec.meanings) for one in labelled_texts(files, files.build.with_name("data"))]
    found = [quality.predict(classifier, one.texts) for one in sets]

    def predict(texts: Sequence[str]) -> quality.Probabilities:
        return quality.predict(classifier, texts)

    return {
        "quality": quality.section(sets, found),
        "behaviour": behaviour.section(behaviour.load(files), spec.languages, predict, spec.meanings),
        "performance": performance.section(files, classifier, sets, found, in_use),
        "evaluation": {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **commit(),
            "identity": fidelity.identity(spec, digests),
            "registered": served.origin(files),
            "versions": versions(["numpy", "onnxruntime", "tokenizers"]),
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--against", metavar="NAME", help='another folder in models/, or "none" (default: the champion)')
    options = args.parse_args(arguments)
    try:
        files = ModelFiles.of(options.model)
        for name, section in evaluate(files, find_in_use(files, options.against)).items():
            files.add_to_report(name, section)
        report, spec = files.report(), files.spec()
        found = gates.check(report, spec)
        plots.draw(report, files.folder / "images")
        card.fill_in(files.folder / "README.md", report)
        page = files.build / "report.html"
        page.write_text(report_page.render(report, spec, found), encoding="utf-8")
    except (ModelingError, SpecError, ModelFilesError, dataset.DataError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{card.quality(report)}\n\n{card.behaviour(report)}\n")
    for gate in found:
        print(f"{'ok  ' if gate.holds else 'FAIL'}  {gate.name}: {gate.verdict}")
    print(f"\n{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}: {_outcome(found)}")
    return 0


def _outcome(found: Sequence[gates.Gate]) -> str:
    failed = sum(not gate.holds for gate in found)
    return f"{failed} of {len(found)} gates do not hold" if failed else f"all {len(found)} gates hold"


if __name__ == "__main__":
    sys.exit(main())
