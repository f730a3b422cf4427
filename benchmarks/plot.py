"""Draws the plot of a comparison: texts per second of each server and of the bare loop.

``python -m benchmarks.plot FILE.json`` draws it again from the results of a comparison, and bulk.json beside them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

# Colors by number of connections, the largest number first.
OURS = ("#124a74", "#3c86c2", "#a9cfea")
THEIRS = ("#4b515b", "#8b919c", "#cdd0d6")
PIPELINE = "#c96a12"
BARS = 0.78


def draw(results: dict[str, Any], file: Path, bulk: dict[str, Any] | None = None) -> None:
    """Draw horizontal bars, one panel per mix, servers sorted by speed at the most connections.

    Args:
        results: as :mod:`benchmarks.compare` writes them; servers not measured at the most connections are omitted.
        file: the PNG to write.
        bulk: the rates, as :mod:`benchmarks.bulk` writes them, for a panel of their own.
    """
    mpl.use("agg")
    connections = sorted({case["connections"] for case in results["cases"]}, reverse=True)
    measured = [each for each in (results, results.get("large")) if each and each["cases"]]
    panels = [(each, mix) for each in measured for mix in dict.fromkeys(case["mix"] for case in each["cases"])]
    rows = len({case["server"] for case in results["cases"] if case["connections"] == connections[0]})
    count = len(panels) + bool(bulk)
    columns, lines = min(count, 2), (count + 1) // 2
    size = (1.5 + 5.6 * columns, 0.7 + lines * (1.2 + 0.75 * (rows + 1)))
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    axes = grid.flat[:count]
    for axis in grid.flat[count:]:
        axis.remove()
    for axis, (each, mix) in zip(axes, panels, strict=False):
        _panel(axis, each, mix, connections)
        axis.set_title(f"{mix} texts, {each['model']['name']}", fontsize=11)
    if bulk:
        _bulk_panel(axes[-1], bulk)
    figure.suptitle("Texts per second; servers on one core", fontsize=13)
    figure.supxlabel(_machine(results), fontsize=8, color="#555")
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _machine(results: dict[str, Any]) -> str:
    described = results["machine"]
    return f"{described['cpu']} with {', '.join(described['flags'])}"


def _bulk_panel(axis: Any, bulk: dict[str, Any]) -> None:
    """Draw texts a second and memory of everything that scores files."""
    figures = sorted(bulk["figures"].items(), key=lambda item: item[1]["texts_per_second"])
    for row, (name, found) in enumerate(figures):
        ours = name.startswith("textserve")
        color = OURS[0] if ours else PIPELINE if name == "transformers.pipeline" else THEIRS[0]
        _bar(axis, row, found["texts_per_second"], BARS / 2, color)
    axis.set_yticks(range(len(figures)), [f"{name}\n{found['rss_mb']:.0f} MB" for name, found in figures])
    for label, (name, _) in zip(axis.get_yticklabels(), figures, strict=True):
        label.set_fontweight("bold" if name.startswith("textserve") else "normal")
    axis.set_title(f"files of mixed texts, {len(bulk['machine']['cores_allowed'])} cores", fontsize=11)
    axis.set_xlabel(_machine(bulk), fontsize=8, color="#555")
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _panel(axis: Any, results: dict[str, Any], mix: str, connections: list[int]) -> None:
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for case in results["cases"]:
        if case["mix"] == mix:
            found.setdefault(case["server"], {})[case["connections"]] = case
    ours = {case["server"] for case in results["cases"] if case["ours"]}
    measured = [name for name in found if connections[0] in found[name]]
    order = sorted(measured, key=lambda name: found[name][connections[0]]["texts_per_second"])
    height = BARS / len(connections)
    for row, name in enumerate(order):
        for number, count in enumerate(connections):
            middle = row - (number - (len(connections) - 1) / 2) * height
            speed = found[name][count]["texts_per_second"] if count in found[name] else 0.0
            _bar(axis, middle, speed, height, (OURS if name in ours else THEIRS)[number % len(OURS)])
    memory = [max(case["rss_bytes"] for case in found[name].values()) / 1e6 for name in order]
    labels = [f"{name}\n{size:.0f} MB" for name, size in zip(order, memory, strict=True)]
    pipeline = results["transformers"].get(mix)
    if pipeline:
        _bar(axis, -1, pipeline["texts_per_second"], height, PIPELINE)
    axis.set_yticks(range(-1 if pipeline else 0, len(order)), ["transformers.pipeline"] * bool(pipeline) + labels)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text().partition("\n")[0] in ours else "normal")
    loops = results["bare"].get(mix, {})
    if loops:
        best = max(loops, key=lambda name: loops[name]["texts_per_second"])
        _line(axis, loops[best]["texts_per_second"], f"bare loop, {best}")
    axis.set_xlabel(f"dark to light: {', '.join(map(str, connections))} connections")
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _bar(axis: Any, middle: float, speed: float, height: float, color: str) -> None:
    axis.barh(middle, speed, height, color=color)
    axis.annotate(f"{speed:.0f}", (speed, middle), (3, 0), textcoords="offset points", va="center", fontsize=7)


def _line(axis: Any, speed: float, name: str) -> None:
    axis.axvline(speed, color="black", linestyle="--", linewidth=1)
    axis.annotate(
        f"{name}: {speed:.0f}",
        (speed, 0),
        (-4, 6),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="bottom",
        fontsize=8,
    )


def read_bulk(folder: Path) -> dict[str, Any] | None:
    """The rates that benchmarks/bulk.py has measured, if its results are in ``folder``."""
    file = folder / "bulk.json"
    return json.loads(file.read_text(encoding="utf-8")).get("rates") if file.exists() else None


if __name__ == "__main__":
    source = Path(sys.argv[1])
    draw(json.loads(source.read_text(encoding="utf-8")), source.with_suffix(".png"), read_bulk(source.parent))
