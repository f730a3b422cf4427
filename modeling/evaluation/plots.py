"""The plots of a model's card and of its report page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from modeling.tasks.sentiment.dataset import MEANINGS

Report = dict[str, Any]
Draw = Callable[[Path], None]

# Transparent, with ink that is readable on a light or a dark page.
THEMES = {
    "light": {"savefig.transparent": True, "svg.hashsalt": "textserve"},
    "dark": {**mpl.style.library["dark_background"], "savefig.transparent": True, "svg.hashsalt": "textserve"},
}


def draw(report: Report, folder: Path) -> None:
    """Draw the plots of the card into ``folder``: confusion matrices, reliability diagram and, for a quantized model,
    its outlier channels."""
    mpl.use("agg")
    folder.mkdir(exist_ok=True)
    for name, draw_into in of_report(report).items():
        draw_into(folder / f"{name}.png")
    if "quantization" in report.get("export", {}):
        outliers(report, folder / "quantization.png")


def of_report(report: Report) -> dict[str, Draw]:
    """The plots of the section ``quality``, as functions that draw into a file."""
    quality = report["quality"]
    if not quality["languages"]:
        return {}
    matrices = {language["name"]: language["confusion"] for language in quality["languages"].values()}
    return {
        "confusion": lambda file: confusion(matrices, file),
        "reliability": lambda file: reliability(quality["calibration"], quality["calibration"]["name"], file),
    }


def confusion(matrices: Mapping[str, Sequence[Sequence[int]]], file: Path) -> None:
    """Confusion matrices ``[3, 3]`` side by side, each under its title; rows are the rated labels."""
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(4.6 * len(matrices), 4.2), squeeze=False, layout="constrained"
    )
    for axis, (title, counts) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.array(counts)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(len(MEANINGS)):
            for column in range(len(MEANINGS)):
                share = shares[row, column]
                color = "white" if share > 0.55 else "black"
                text = f"{matrix[row, column]}\n{share:.0%}"
                axis.text(column, row, text, ha="center", va="center", color=color)
        axis.set_xticks(range(len(MEANINGS)), MEANINGS)
        axis.set_yticks(range(len(MEANINGS)), MEANINGS, rotation=90, va="center")
        axis.set(title=title, xlabel="answered", ylabel="rated")
    _save(figure, file)


def reliability(calibration: Mapping[str, Any], texts: str, file: Path) -> None:
    """Share of correct answers by score, and the number of texts of each bin.

    Args:
        calibration: the result of :func:`modeling.evaluation.quality.calibration`.
        texts: name of the texts, for the title.
        file: to draw into.
    """
    bins = calibration["bins"]
    scores, accuracies, counts = ([filled[key] for filled in bins] for key in ("score", "accuracy", "texts"))
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(5, 5.4), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    upper.plot([0.33, 1], [0.33, 1], color="gray", linestyle="--", label="perfect calibration")
    upper.plot(scores, accuracies, marker="o", label=f"model, ECE {calibration['ece']:.3f}")
    upper.set(ylabel="share of correct answers", title=f"Reliability: {texts}")
    upper.legend()
    lower.bar(scores, counts, width=0.03)
    lower.set(xlabel="score of the answer", ylabel="texts")
    _save(figure, file)


def outliers(report: Report, file: Path) -> None:
    """The largest input value of each linear layer, before and after splitting off the outlier channels."""
    linears = report["export"]["quantization"]["linears"]
    positions = np.arange(len(linears))
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(9, 5.4), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    upper.bar(positions, [linear["peak"] for linear in linears], color="tab:orange", label="all channels")
    upper.bar(positions, [linear["peak_inside"] for linear in linears], color="tab:blue", label="channels in INT8")
    upper.set(yscale="log", ylabel="largest input value", title="The effect of splitting off the outlier channels")
    upper.legend()
    lower.bar(positions, [100 * linear["relative_error"] for linear in linears], color="tab:gray")
    lower.set(xlabel="linear layer, in the order of the graph", ylabel="error of the output, %")
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
