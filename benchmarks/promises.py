"""Measure the promises of the service other than speed.

    python -m benchmarks.promises [--only NAME …] [--seconds N]

They are exactness, fairness, cores, long_text, overload, repeats and soak: see benchmarks/experiments/. The service
runs on one core and the clients on another; in "cores" and "long_text" both use both cores. Prints figures and limits,
and writes them to promises.json in benchmarks/results/, or in its folder without-amx or without-vnni on processors
without these instructions, each with machine and model, because --only replaces only some of them. Takes half an hour,
longer on a slow processor; uses loopback only.

Exit codes: 0 all limits met, 1 a limit exceeded, 2 too few cores.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.experiments import cores, exactness, fairness, long_text, overload, repeats, soak
from benchmarks.load import LoadGenerator
from benchmarks.texts import load as load_texts
from modeling.files import ROOT, sha256
from scripts import command

EXPERIMENTS = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (exactness, fairness, cores, long_text, overload, repeats, soak)
}
MODEL = "sentiment-pl-en"
LIBRARIES = ("bentoml", "onnxruntime", "tokenizers", "uvicorn")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = command.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="seconds of a measurement; overload takes three times as long"
    )
    options = parser.parse_args(arguments)
    console = Console()
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        console.print("two cores are required: one for the service, one for the clients")
        return 2
    texts = load_texts("short", ROOT / "build" / "data", ROOT / "models" / MODEL / "tokenizer.json")
    versions = machine.versions(ROOT / ".venv")
    measured_on = {
        "machine": machine.describe(),
        "versions": {name: versions[name] for name in LIBRARIES},
        "model_sha256": sha256(ROOT / "models" / MODEL / "model.onnx"),
    }
    report: dict[str, Any] = {}
    kept = True
    with LoadGenerator(allowed[1:2]) as load:
        for name in options.only:
            console.print(f"[dim]{name} …[/dim]")
            seconds = options.seconds * 3 if name == "overload" else options.seconds
            for title, figures, verdicts in EXPERIMENTS[name].measure(texts, load, allowed[:1], seconds):
                console.print(_table(title, figures, verdicts))
                report[title] = {"figures": figures, "limits": verdicts, **measured_on}
                kept = kept and all(verdicts.values())
    file = machine.results() / "promises.json"
    file.parent.mkdir(exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() and len(options.only) < len(EXPERIMENTS) else {}
    file.write_text(json.dumps(before | report, indent=2) + "\n", encoding="utf-8")
    return 0 if kept else 1


def _table(title: str, figures: dict[str, Any], verdicts: dict[str, bool]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    for limit, kept in verdicts.items():
        table.add_row(limit, "[green]kept[/green]" if kept else "[red]not kept[/red]")
    return table


if __name__ == "__main__":
    sys.exit(main())
