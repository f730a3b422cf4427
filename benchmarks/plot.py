"""The plot of a comparison: texts per second of each server and of the bare loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

OURS, OURS_LIGHT = "#1b6ca8", "#8fbfe0"
THEIRS, THEIRS_LIGHT = "#6b7280", "#c3c7cf"
# Plotted if measured; with one connection no server can batch.
CONNECTIONS = (64, 16)
BAR = 0.38


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw horizontal bars, one panel per mix, servers sorted by speed at the most connections.

    Args:
        results: as :mod:`benchmarks.compare` writes them; servers not measured at the most connections are omitted.
        file: the PNG to write.
    """
    mpl.use("agg")
    measured = {case["connections"] for case in results["cases"]}
    connections = [number for number in CONNECTIONS if number in measured] or sorted(measured, reverse=True)
    mixes = list(dict.fromkeys(case["mix"] for case in results["cases"]))
    rows = len({case["server"] for case in results["cases"] if case["connections"] == connections[0]})
    size = (1.5 + 5.6 * len(mixes), 1.8 + 0.62 * rows)
    figure, axes = plt.subplots(1, len(mixes), figsize=size, squeeze=False, layout="constrained")
    for axis, mix in zip(axes[0], mixes, strict=True):
        _panel(axis, results, mix, connections)
    figure.suptitle("Texts per second, server on one core", fontsize=13)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _panel(axis: Any, results: dict[str, Any], mix: str, connections: list[int]) -> None:
    speeds: dict[str, dict[int, float]] = {}
    for case in results["cases"]:
        if case["mix"] == mix:
            speeds.setdefault(case["server"], {})[case["connections"]] = case["texts_per_second"]
    ours = {case["server"] for case in results["cases"] if case["ours"]}
    measured = [name for name in speeds if connections[0] in speeds[name]]
    order = sorted(measured, key=lambda name: speeds[name][connections[0]])
    for row, name in enumerate(order):
        colors = (OURS, OURS_LIGHT) if name in ours else (THEIRS, THEIRS_LIGHT)
        for number, (count, color) in enumerate(zip(connections, colors, strict=False)):
            height = row - (number - (len(connections) - 1) / 2) * BAR
            speed = speeds[name].get(count, 0.0)
            axis.barh(height, speed, BAR, color=color)
            axis.annotate(f"{speed:.0f}", (speed, height), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(order)), order)
    for label, name in zip(axis.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if name in ours else "normal")
    loops = results["bare"].get(mix, {})
    if loops:
        best = max(loops, key=lambda name: loops[name]["texts_per_second"])
        axis.axvline(loops[best]["texts_per_second"], color="black", linestyle="--", linewidth=1)
        axis.annotate(
            f"bare loop, {best}: {loops[best]['texts_per_second']:.0f}",
            (loops[best]["texts_per_second"], 0),
            (-4, 6),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            fontsize=8,
        )
    axis.set_title(f"{mix} texts", fontsize=11)
    axis.set_xlabel(f"dark: {connections[0]} connections" + "".join(f", light: {count}" for count in connections[1:2]))
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
