"""Quality of a model's answers on labelled texts, with intervals, and their calibration; see :mod:`.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from modeling import tasks
from modeling.evaluation import metrics
from modeling.evaluation.answers import Answers, Scores, answers, right_answers
from modeling.evaluation.names import LOSS, MAIN
from modeling.spec import ModelSpec
from modeling.texts import LabelledTexts
from textserve.spec import ModelSpec as ServedSpec

BINS = 15
# A confusion matrix of more labels is not readable.
MOST_LABELS = 20
# Maximum number of points in a scatter plot.
MOST_POINTS = 500
SEED = 0


def calibration(scores: Scores, truth: Answers) -> dict[str, Any]:
    """Expected calibration error (Guo and others 2017), with score, accuracy and count of each bin that has texts."""
    highest, correct = scores.max(axis=1), scores.argmax(axis=1) == truth
    bins = np.minimum((highest * BINS).astype(int), BINS - 1)
    filled = [
        {
            "score": float(highest[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
            "texts": count,
        }
        for index, count in enumerate(np.bincount(bins, minlength=BINS).tolist())
        if count
    ]
    error = sum(each["texts"] * abs(each["score"] - each["accuracy"]) for each in filled) / len(truth)
    return {"ece": float(error), "bins": filled}


def figures(spec: ServedSpec, truth: Answers, scores: Scores, lexicon: Answers | None = None) -> dict[str, Any]:
    """Number of texts, the metrics of the problem with intervals, and the macro-F1 of a lexicon's labels, if any."""
    measured = {"texts": len(truth), **metrics.figures(metrics.of(spec, truth, scores), len(truth))}
    if lexicon is not None:
        measured["vader_macro_f1"] = metrics.value_of(metrics.macro_f1(truth, lexicon), len(truth))
    return measured


def loss(spec: ServedSpec, truth: Answers, own: Answers, other: Answers) -> dict[str, Any]:
    """The main metric of another model, and how much lower it is for ``own``, with the paired difference's interval."""
    mine, others = (metrics.main(spec, truth, found) for found in (own, other))
    name, count = LOSS[spec.problem_type], len(truth)

    def lost(indices: metrics.Indices) -> Any:
        return others(indices) - mine(indices)

    return {
        MAIN[spec.problem_type]: metrics.value_of(others, count),
        name: metrics.value_of(lost, count),
        f"{name}_interval": metrics.interval(lost, count),
    }


def section(spec: ModelSpec, sets: Sequence[LabelledTexts], scores: Sequence[Scores]) -> dict[str, Any]:
    """The section ``quality`` of the report, from the model's ``scores`` for each of ``sets``, none of them empty."""
    if not sets:
        return {"languages": {}}
    task, languages = tasks.find(spec.task), {}
    calibrates = spec.problem_type == "single_label_classification" and spec.activation != "none"
    truths = [right_answers(spec, labelled.answers) for labelled in sets]
    for labelled, truth, rows in zip(sets, truths, scores, strict=True):
        columns = [truth, rows]
        if task and (labels := task.lexicon(labelled)) is not None:
            columns.append(right_answers(spec, labels))
        measured = {**figures(spec, *columns), "name": labelled.name, **_plotted(spec, truth, rows)}
        if calibrates:
            measured["ece"] = calibration(rows, truth)["ece"]
        if labelled.domains:
            measured["domains"] = {
                domain: figures(spec, *(column[chosen] for column in columns))
                for domain, chosen in _domains(labelled.domains).items()
            }
        languages[labelled.language] = measured
    if not calibrates:
        return {"languages": languages}
    # The plot shows the largest set: the calibration error of few texts is mostly chance.
    largest, truth, rows = max(zip(sets, truths, scores, strict=True), key=lambda each: len(each[0].texts))
    calibrated = {"language": largest.language, "name": largest.name, "texts": len(largest.texts)}
    return {"languages": languages, "calibration": calibrated | calibration(rows, truth)}


def _domains(names: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """A mask of the texts per domain; "reviews, hotels" and "reviews, school" also share the domain "reviews"."""
    found = np.array(names)
    groups = {name.partition(", ")[0] for name in names}
    return {name: (found == name) | np.char.startswith(found, f"{name}, ") for name in sorted({*names, *groups})}


def _plotted(spec: ModelSpec, truth: Answers, scores: Scores) -> dict[str, Any]:
    """The data of a plot: counts of right and predicted labels, or pairs of right and predicted numbers."""
    found = answers(spec, scores)
    if spec.problem_type == "single_label_classification" and len(spec.labels) <= MOST_LABELS:
        return {"confusion": confusion_matrix(truth, found, labels=range(len(spec.labels))).tolist()}
    if spec.problem_type == "regression":
        drawn = np.random.default_rng(SEED).permutation(len(truth))[:MOST_POINTS]
        return {"points": np.stack([truth, found], axis=1)[drawn].tolist()}
    return {}
