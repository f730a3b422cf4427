"""Evaluate a model: measure it, check its gates, and write its report, figures, card and report page."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modeling.environment import commit, versions
from modeling.evaluation import behaviour, card, gates, performance, plots, quality, report_page
from modeling.evaluation.gates import Gate
from modeling.evaluation.performance import InUse
from modeling.files import ModelFiles, replacing
from modeling.registry import served
from modeling.registry.versions import URI_VARIABLE, Registry
from modeling.texts import labelled_texts
from textserve.classifier import Classifier

NOTHING = "none"


def evaluate(files: ModelFiles, against: str | None) -> tuple[list[Gate], Path]:
    """Measure a model, write what scripts/evaluate.py lists, and return the gates and the path of the report page."""
    for name, section in measure(files, find_in_use(files, against)).items():
        files.add_to_report(name, section)
    report, spec = files.report(), files.spec()
    checked = gates.check(report, spec)
    plots.draw(report, spec, files.folder / "images")
    card.fill_in(files.folder / "README.md", report)
    page = files.build / "report.html"
    rendered = report_page.render(report, spec, checked)
    with replacing(page) as new:
        new.write_text(rendered, encoding="utf-8")
    return checked, page


def find_in_use(files: ModelFiles, name: str | None) -> InUse | None:
    """``models/NAME``, None for ``"none"``, the champion for None; raises :class:`ModelingError` if it lacks files."""
    if name == NOTHING:
        return None
    if name:
        other = ModelFiles.of(name)
        other.digests()
        return InUse(other.folder, f"models/{name}")
    root = files.build.parents[1]
    if not os.environ.get(URI_VARIABLE) and not (root / "build" / "mlflow.db").exists():
        return None
    registered = served.origin(files) or {"name": files.folder.name}
    return served.champion_files(Registry.connect(root), registered["name"], files.build)


def measure(files: ModelFiles, in_use: InUse | None) -> dict[str, dict[str, Any]]:
    """The sections of the report by name: ``quality``, ``behaviour``, ``performance`` and ``evaluation``."""
    digests = files.digests()
    classifier = Classifier(files.folder)
    spec = files.spec()
    sets = labelled_texts(files)
    scores = [classifier.predict_many(labelled.texts) for labelled in sets]
    return {
        "quality": quality.section(spec, sets, scores),
        "behaviour": behaviour.section(behaviour.load(files), spec, classifier.predict_many),
        "performance": performance.section(files, classifier, sets, scores, in_use),
        "evaluation": {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **commit(),
            "identity": spec.identity(digests),
            "registered": served.origin(files),
            "versions": versions(["numpy", "onnxruntime", "tokenizers"]),
        },
    }
