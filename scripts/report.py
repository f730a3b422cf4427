"""Say on one page what a run of the pipeline gave: tests, the models and their gates, the image, the benchmark.

    python -m scripts.report sentiment-pl-en sentiment-en-head

Reads what earlier steps wrote, from build/ or, where another machine wrote it, from build/report/:

    junit/*.xml or *.xml     pytest --junit-xml
    image-*.json             make image-save
    benchmark/compare.json   make benchmark QUICK=1; a whole run writes benchmarks/results/compare.json
    models/NAME/report.json  make verify and make evaluate, with the figures of the model in use if there is one

What is not there is said to be missing. Prints Markdown and writes it to build/report.md; in a workflow of GitHub it is
the run's summary too.

Exit codes: 0 done, 1 there is no such model, or a file cannot be read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from modeling.evaluation import gates
from modeling.files import ROOT, ModelFiles
from release.errors import ReleaseError
from scripts.command import parser
from textserve.spec import SpecError

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
OURS = "textserve"
COUNTS = ("tests", "failures", "errors", "skipped")


def render(root: Path, models: Sequence[str]) -> str:
    """The page, in Markdown, from what is below the project's folder ``root``.

    Raises:
        ReleaseError, SpecError: if there is no such model, or a file cannot be read.
    """
    folders = [root / "build", root / "build" / "report"]
    sections = {
        "Tests": _tests(_find(folders, "*.xml", "junit/*.xml")),
        **{f"Model {name}": _model(ModelFiles.of(name, root)) for name in models},
        "Image": _images(_find(folders, "image-*.json", "image.json")),
        "Benchmark": _benchmark(
            [
                *_find([root / "benchmarks" / "results"], "compare.json"),
                *_find(folders, "compare.json", "benchmark/compare.json"),
            ]
        ),
    }
    return "\n".join(f"## {title}\n\n{content}\n" for title, content in sections.items())


def _tests(files: Sequence[Path]) -> str:
    rows = []
    for file in files:
        try:
            # Written by pytest on a machine of ours; nothing else gets there.
            suites = list(ElementTree.parse(file).getroot().iter("testsuite"))  # noqa: S314
        except ElementTree.ParseError as error:
            raise ReleaseError(f"{file} is not what pytest --junit-xml writes: {error}") from None
        counts = [sum(int(suite.get(name, 0)) for suite in suites) for name in COUNTS]
        seconds = sum(float(suite.get("time", 0)) for suite in suites)
        rows.append([file.stem, *(str(count) for count in counts), f"{seconds:.0f}"])
    return _table(["suite", *COUNTS, "seconds"], rows) or "No results of tests."


def _model(files: ModelFiles) -> str:
    report, spec = files.report(), files.spec()
    if "evaluation" not in report:
        return f"Not evaluated: `make evaluate MODEL={spec.name}`."
    against = report["performance"]["against"]
    version = f", version {against['version']}" if against and against["version"] else ""
    compared = f"Beside {against['name']}{version}." if against else "Beside no other model."
    rows = [["ok" if gate.holds else "**no**", gate.name, gate.verdict] for gate in gates.check(report, spec)]
    return f"{compared}\n\n{_table(['', 'gate', 'measured'], rows)}"


def _images(files: Sequence[Path]) -> str:
    rows = []
    for file in files:
        (image,) = _json(file)
        rows.append([image["Architecture"], f"{image['Size'] / 1e6:.0f}", f"`{image['Id']}`"])
    return _table(["architecture", "megabytes", "id"], rows) or "No image."


def _benchmark(files: Sequence[Path]) -> str:
    if not files:
        return "Not measured."
    # The newest of a whole run and a quick one.
    comparison, file = max(((_json(file), file) for file in files), key=lambda one: str(one[0]["machine"]["date"]))
    cases = comparison["cases"]
    rows = []
    for case in cases:
        ours = [
            one
            for one in cases
            if one["server"] == OURS and (one["mix"], one["connections"]) == (case["mix"], case["connections"])
        ]
        ratio = (
            f"{ours[0]['texts_per_second'] / case['texts_per_second']:.2f}" if ours and case["texts_per_second"] else ""
        )
        rows.append(
            [
                case["server"],
                case["mix"],
                str(case["connections"]),
                f"{case['texts_per_second']:.0f}",
                f"{case['p99_ms']:.0f}",
                ratio,
            ]
        )
    table = _table(["server", "texts", "connections", "texts a second", "p99, ms", f"{OURS} is faster by"], rows)
    machine = comparison["machine"]
    # Its folder says whether it is of this run or as committed.
    return f"`{file.parent.name}/{file.name}`: {machine['cpu']}, {machine['date']}.\n\n{table}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; empty if there are no rows."""
    if not rows:
        return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _find(folders: Iterable[Path], *patterns: str) -> list[Path]:
    return sorted(file for folder in folders for pattern in patterns for file in folder.glob(pattern))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ReleaseError(f"{file} is not JSON: {error}; remove it and write it again") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("models", nargs="+", help="names of folders in models/")
    options = args.parse_args(arguments)
    try:
        page = render(ROOT, options.models)
    except (ReleaseError, SpecError) as error:
        print(error, file=sys.stderr)
        return 1
    print(page)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "report.md").write_text(page, encoding="utf-8")
    if target := os.environ.get(SUMMARY_VARIABLE):
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
