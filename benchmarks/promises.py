"""Measure what the service promises beside speed: exactness, fairness, two cores, overload, and 200,000 requests.

    python -m benchmarks.promises [--only NAME …] [--seconds N]

The service runs on one core and the clients on another; "cores" uses both for both. Prints every figure and whether it
is within its limit, and writes benchmarks/results/promises.json with the machine that it ran on. Takes about fifteen
minutes; all traffic stays on the loopback address.

Exit codes: 0 every limit is kept, 1 one is not, 2 the machine has too few cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.experiments import cores, exactness, fairness, overload, soak
from benchmarks.load import LoadGenerator
from benchmarks.servers import ROOT
from benchmarks.texts import load as load_texts

EXPERIMENTS = {one.__name__.rsplit(".", 1)[1]: one for one in (exactness, fairness, cores, overload, soak)}
MODEL = "sentiment-pl-en"
RESULTS = ROOT / "benchmarks" / "results" / "promises.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=10.0, help="of every measurement; overload takes three times")
    options = parser.parse_args(arguments)
    console = Console()
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        console.print("needs two cores: one for the service, one for the clients")
        return 2
    texts = load_texts("short", ROOT / "build" / "data", ROOT / "models" / MODEL / "tokenizer.json")
    report: dict[str, Any] = {"machine": machine.describe(), "versions": machine.versions(ROOT / ".venv")}
    report["model_sha256"] = machine.sha256(ROOT / "models" / MODEL / "model.onnx")
    kept = True
    with LoadGenerator(allowed[1:2]) as load:
        for name in options.only:
            console.print(f"[dim]{name} …[/dim]")
            seconds = options.seconds * 3 if name == "overload" else options.seconds
            for title, figures, verdicts in EXPERIMENTS[name].measure(texts, load, allowed[:1], seconds):
                console.print(_table(title, figures, verdicts))
                report[title] = {"figures": figures, "limits": verdicts}
                kept = kept and all(verdicts.values())
    RESULTS.parent.mkdir(exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() and len(options.only) < len(EXPERIMENTS) else {}
    RESULTS.write_text(json.dumps(before | report, indent=2) + "\n", encoding="utf-8")
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
