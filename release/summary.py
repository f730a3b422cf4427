"""Renders the summary of a pipeline run: tests, models with their gates, image and benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from modeling.evaluation import gates
from modeling.evaluation.card import table
from modeling.files import ModelFiles
from release.errors import ReleaseError

OURS = "textserve"
COUNTS = ("tests", "failures", "errors", "skipped")


def render(root: Path, models: Sequence[str]) -> str:
    """The summary of the files below ``root`` as Markdown; raises :class:`ReleaseError` if a file cannot be parsed."""
    folders = [root / "build", root / "build" / "report"]
    sections = {
        "Tests": _tests(_find(folders, "*.xml", "junit/*.xml")),
        **{f"Model {name}": _model(ModelFiles.of(name, root)) for name in models},
        "Image": _images([file for file in _find(folders, "image-*.json", "image.json") if not _is_sbom(file)]),
        "Benchmark": _benchmark(
            _find([*folders, root / "benchmarks" / "results"], "compare.json", "benchmark/compare.json")
        ),
    }
    return "\n".join(f"## {title}\n\n{content}\n" for title, content in sections.items())


def _tests(files: Sequence[Path]) -> str:
    rows = []
    for file in files:
        try:
            suites = list(ElementTree.parse(file).getroot().iter("testsuite"))  # noqa: S314  # our own pytest wrote it
        except ElementTree.ParseError as error:
            raise ReleaseError(f"{file} is not what pytest --junit-xml writes: {error}") from None
        counts = [sum(int(suite.get(name, 0)) for suite in suites) for name in COUNTS]
        seconds = sum(float(suite.get("time", 0)) for suite in suites)
        rows.append([file.stem, *(str(count) for count in counts), f"{seconds:.0f}"])
    return table(["suite", *COUNTS, "seconds"], rows) if rows else "No test results."


def _model(files: ModelFiles) -> str:
    report, spec = files.report(), files.spec()
    if "evaluation" not in report:
        return f"Not evaluated: `make evaluate MODEL={spec.name}`."
    against = report["performance"]["against"]
    version = f", version {against['version']}" if against and against["version"] else ""
    compared = f"Beside {against['name']}{version}." if against else "Beside no other model."
    rows = [["ok" if gate.holds else "**no**", gate.name, gate.verdict] for gate in gates.check(report, spec)]
    return f"{compared}\n\n{table(['', 'gate', 'measured'], rows)}"


def _images(files: Sequence[Path]) -> str:
    rows = []
    for file in files:
        (image,) = _json(file)
        rows.append([image["Architecture"], f"{image['Size'] / 1e6:.0f}", f"`{image['Id']}`"])
    return table(["architecture", "megabytes", "id"], rows) if rows else "No image."


def _benchmark(files: Sequence[Path]) -> str:
    if not files:
        return "Not measured."
    # Take the newer of a full and a quick run.
    comparison, file = max(((_json(file), file) for file in files), key=lambda read: str(read[0]["machine"]["date"]))
    cases = comparison["cases"]
    ours = {(case["mix"], case["connections"]): case["texts_per_second"] for case in cases if case["server"] == OURS}
    rows = []
    for case in cases:
        rate, our_rate = case["texts_per_second"], ours.get((case["mix"], case["connections"]))
        ratio = f"{our_rate / rate:.2f}" if our_rate and rate else ""
        figures = [str(case["connections"]), f"{rate:.0f}", f"{case['p99_ms']:.0f}", ratio]
        rows.append([case["server"], case["mix"], *figures])
    head = ["server", "texts", "connections", "texts a second", "p99, ms", f"{OURS} is faster by"]
    machine = comparison["machine"]
    # The folder tells a result of this run from the committed result.
    return f"`{file.parent.name}/{file.name}`: {machine['cpu']}, {machine['date']}.\n\n{table(head, rows)}"


def _is_sbom(file: Path) -> bool:
    """Whether the file is an SBOM that `make scan` wrote beside the file of an image."""
    return file.name.endswith(".spdx.json")


def _find(folders: Iterable[Path], *patterns: str) -> list[Path]:
    return sorted(file for folder in folders for pattern in patterns for file in folder.glob(pattern))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ReleaseError(f"{file} is not JSON: {error}; delete it and run its step again") from None
