"""The pictures of a model's card and of its report."""

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

# For a page that is light or dark by itself: no ground, and ink that is read on it.
THEMES = {
    "light": {"savefig.transparent": True, "svg.hashsalt": "sentiment"},
    "dark": {**mpl.style.library["dark_background"], "savefig.transparent": True, "svg.hashsalt": "sentiment"},
}


def draw(report: Report, folder: Path) -> None:
    """Draw the pictures of the card into ``folder``: confusion matrices, reliability diagram and, for a quantized
    model, what the quantizer found."""
    mpl.use("agg")
    folder.mkdir(exist_ok=True)
    for name, one in of_report(report).items():
        one(folder / f"{name}.png")
    if "quantization" in report.get("export", {}):
        outliers(report, folder / "quantization.png")


def of_report(report: Report) -> dict[str, Draw]:
    """The pictures of the section ``quality``, each drawn by a call with the file to write."""
    quality = report["quality"]
    if not quality["languages"]:
        return {}
    matrices = {one["name"]: one["confusion"] for one in quality["languages"].values()}
    return {
        "confusion": lambda file: confusion(matrices, file),
        "reliability": lambda file: reliability(quality["calibration"], quality["calibration"]["name"], file),
    }


def confusion(matrices: Mapping[str, Sequence[Sequence[int]]], file: Path) -> None:
    """Confusion matrices ``[3, 3]`` side by side, each under its title; rows are what was rated."""
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
    """How often the answer is right against the score it was given, and how many texts each bar stands on.

    Args:
        calibration: as :func:`modeling.evaluation.quality.calibration` returns it.
        texts: what it was measured on, for the title.
        file: where to draw it.
    """
    scores, accuracies, counts = ([one[key] for one in calibration["bins"]] for key in ("score", "accuracy", "texts"))
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(5, 5.4), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    upper.plot([0.33, 1], [0.33, 1], color="gray", linestyle="--", label="perfect calibration")
    upper.plot(scores, accuracies, marker="o", label=f"model, ECE {calibration['ece']:.3f}")
    upper.set(ylabel="share of right answers", title=f"Reliability: {texts}")
    upper.legend()
    lower.bar(scores, counts, width=0.03)
    lower.set(xlabel="score of the answer", ylabel="texts")
    _save(figure, file)


def outliers(report: Report, file: Path) -> None:
    """For each linear layer: the largest input value, before and after the outlier channels are split off."""
    linears = report["export"]["quantization"]["linears"]
    places = np.arange(len(linears))
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(9, 5.4), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    upper.bar(places, [one["peak"] for one in linears], color="tab:orange", label="all channels")
    upper.bar(places, [one["peak_inside"] for one in linears], color="tab:blue", label="channels in INT8")
    upper.set(yscale="log", ylabel="largest input value", title="What splitting off the outlier channels does")
    upper.legend()
    lower.bar(places, [100 * one["relative_error"] for one in linears], color="tab:gray")
    lower.set(xlabel="linear layer, in the order of the graph", ylabel="error of the output, %")
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
