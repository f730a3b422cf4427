"""The plots of a model's card, of its report page, and of its training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from modeling.files import replacing
from textserve.spec import ModelSpec

Report = dict[str, Any]

# With more labels, the cells of a confusion matrix have no room for two lines.
FEW_LABELS = 5

# Transparent, with ink that is readable on a light or a dark page.
THEMES = {
    "light": {"savefig.transparent": True, "svg.hashsalt": "textserve"},
    "dark": {**matplotlib.style.library["dark_background"], "savefig.transparent": True, "svg.hashsalt": "textserve"},
}


def draw(report: Report, spec: ModelSpec, folder: Path) -> None:
    """Draw the card's plots into ``folder``: those of :func:`of_report` and, if quantized, the outlier channels."""
    folder.mkdir(exist_ok=True)
    plots = of_report(report, spec)
    if "quantization" in report.get("export", {}):
        plots["quantization"] = lambda: outliers(report["export"]["quantization"]["linears"])
    for name, plot in plots.items():
        figure = plot()
        with replacing(folder / f"{name}.png") as new:
            figure.savefig(new, dpi=110)


def of_report(report: Report, spec: ModelSpec) -> dict[str, Callable[[], Figure]]:
    """The plots of the section ``quality`` by name, as functions that draw them."""
    quality = report["quality"]
    found: dict[str, Callable[[], Figure]] = {}
    matrices, points = (
        {each["name"]: each[key] for each in quality["languages"].values() if key in each}
        for key in ("confusion", "points")
    )
    if matrices:
        found["confusion"] = lambda: confusion(matrices, spec.label_names)
    if points:
        found["scatter"] = lambda: scatter(points)
    if calibration := quality.get("calibration"):
        lowest = round(1 / len(spec.labels), 2) if spec.activation == "softmax" else 0.0
        found["reliability"] = lambda: reliability(calibration, calibration["name"], lowest)
    return found


def confusion(matrices: Mapping[str, Sequence[Sequence[int]]], labels: Sequence[str]) -> Figure:
    """Confusion matrices of ``labels`` side by side, each under its title; rows are the rated labels."""
    few = len(labels) <= FEW_LABELS
    width, height = (4.6, 4.2) if few else (0.5 * len(labels) + 2.6, 0.5 * len(labels) + 2.2)
    figure = Figure(figsize=(width * len(matrices), height), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axis, (title, counts) in zip(axes, matrices.items(), strict=True):
        matrix = np.array(counts)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.55 else "black"
            text = f"{matrix[row, column]}\n{share:.0%}" if few else str(matrix[row, column])
            axis.text(column, row, text, ha="center", va="center", color=color)
        axis.set_xticks(range(len(labels)), labels, rotation=0 if few else 90)
        axis.set_yticks(range(len(labels)), labels, rotation=90 if few else 0, va="center")
        axis.set(title=title, xlabel="answered", ylabel="rated")
    return figure


def scatter(points: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Right and predicted numbers, ``[texts, 2]``, side by side, each under its title."""
    figure = Figure(figsize=(4.6 * len(points), 4.2), layout="constrained")
    axes = figure.subplots(1, len(points), squeeze=False)[0]
    for axis, (title, pairs) in zip(axes, points.items(), strict=True):
        rated, answered = np.array(pairs).T
        ends = [min(rated.min(), answered.min()), max(rated.max(), answered.max())]
        axis.plot(ends, ends, color="gray", linestyle="--")
        axis.scatter(rated, answered, s=12, alpha=0.6)
        axis.set(title=title, xlabel="rated", ylabel="answered")
    return figure


def reliability(calibration: Mapping[str, Any], texts: str, lowest: float) -> Figure:
    """Share of correct answers by score, from the ``lowest`` possible score, and the number of texts in each bin.

    ``calibration`` is the result of :func:`modeling.evaluation.quality.calibration`.
    """
    bins = calibration["bins"]
    scores, accuracies, counts = ([filled[key] for filled in bins] for key in ("score", "accuracy", "texts"))
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([lowest, 1], [lowest, 1], color="gray", linestyle="--", label="perfect calibration")
    upper.plot(scores, accuracies, marker="o", label=f"model, ECE {calibration['ece']:.3f}")
    upper.set(ylabel="share of correct answers", title=f"Reliability: {texts}")
    upper.legend()
    lower.bar(scores, counts, width=0.03)
    lower.set(xlabel="score of the answer", ylabel="texts")
    return figure


def outliers(linears: Sequence[Mapping[str, float]]) -> Figure:
    """The largest input value of each linear layer, before and after splitting off the outlier channels."""
    positions = np.arange(len(linears))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    upper.bar(positions, [linear["peak"] for linear in linears], color="tab:orange", label="all channels")
    upper.bar(positions, [linear["peak_inside"] for linear in linears], color="tab:blue", label="channels in INT8")
    upper.set(yscale="log", ylabel="largest input value", title="The effect of splitting off the outlier channels")
    upper.legend()
    lower.bar(positions, [100 * linear["relative_error"] for linear in linears], color="tab:gray")
    lower.set(xlabel="linear layer, in the order of the graph", ylabel="error of the output, %")
    return figure
