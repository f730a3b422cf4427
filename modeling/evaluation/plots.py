"""The plots of a model's card, of its report page, and of its training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from modeling.tasks.sentiment.dataset import MEANINGS

Report = dict[str, Any]

# Transparent, with ink that is readable on a light or a dark page.
THEMES = {
    "light": {"savefig.transparent": True, "svg.hashsalt": "textserve"},
    "dark": {**matplotlib.style.library["dark_background"], "savefig.transparent": True, "svg.hashsalt": "textserve"},
}


def draw(report: Report, folder: Path) -> None:
    """Draw the plots of the card into ``folder``: of :func:`of_report` and, if quantized, of outlier channels."""
    folder.mkdir(exist_ok=True)
    plots = of_report(report)
    if "quantization" in report.get("export", {}):
        plots["quantization"] = lambda: outliers(report["export"]["quantization"]["linears"])
    for name, plot in plots.items():
        plot().savefig(folder / f"{name}.png", dpi=110)


def of_report(report: Report) -> dict[str, Callable[[], Figure]]:
    """The plots of the section ``quality`` by name, as functions that draw them."""
    quality = report["quality"]
    if not quality["languages"]:
        return {}
    matrices = {language["name"]: language["confusion"] for language in quality["languages"].values()}
    return {
        "confusion": lambda: confusion(matrices),
        "reliability": lambda: reliability(quality["calibration"], quality["calibration"]["name"]),
    }


def confusion(matrices: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """Confusion matrices ``[3, 3]`` side by side, each under its title; rows are the rated labels."""
    figure = Figure(figsize=(4.6 * len(matrices), 4.2), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axis, (title, counts) in zip(axes, matrices.items(), strict=True):
        matrix = np.array(counts)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.55 else "black"
            axis.text(column, row, f"{matrix[row, column]}\n{share:.0%}", ha="center", va="center", color=color)
        axis.set_xticks(range(len(MEANINGS)), MEANINGS)
        axis.set_yticks(range(len(MEANINGS)), MEANINGS, rotation=90, va="center")
        axis.set(title=title, xlabel="answered", ylabel="rated")
    return figure


def reliability(calibration: Mapping[str, Any], texts: str) -> Figure:
    """Share of correct answers by score, and texts in each bin, of :func:`modeling.evaluation.quality.calibration`."""
    bins = calibration["bins"]
    scores, accuracies, counts = ([filled[key] for filled in bins] for key in ("score", "accuracy", "texts"))
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0.33, 1], [0.33, 1], color="gray", linestyle="--", label="perfect calibration")
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
