"""Computes the medians over the rounds of a comparison, and prints its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

BARE, TORCH = "bare", "transformers"
# Number of texts whose labels are compared with those of the bare loop.
CHECKED_TEXTS = 50

Results = dict[str, Any]


def median_loops(rounds: Sequence[Results]) -> Results:
    """The medians of the bare loops, by mix and name."""
    return {
        mix: {
            name: {key: median(loops[mix][name][key] for loops in rounds if mix in loops) for key in loop}
            for name, loop in rounds[0][mix].items()
        }
        for mix in rounds[0]
    }


def median_cases(results: Results) -> list[Results]:
    """The medians of each case, with those of its ratios to the best loop and peer of the same round."""
    rounds: dict[tuple[str, str, int], list[Results]] = {}
    for case in results["cases"]:
        loops = results["bare_rounds"][case["round"]].get(case["mix"], {})
        peers = [
            other["texts_per_second"]
            for other in results["cases"]
            if all(other[key] == case[key] for key in ("mix", "connections", "round")) and not other["ours"]
        ]
        best_loop = max((loop["texts_per_second"] for loop in loops.values()), default=None)
        one_by_one = loops.get("one by one", {}).get("texts_per_second")
        best = {"best_loop": best_loop, "best_peer": max(peers, default=None), "one_by_one": one_by_one}
        for name, speed in best.items():
            case[f"of_{name}"] = case["texts_per_second"] / speed if speed else None
        rounds.setdefault((case["server"], case["mix"], case["connections"]), []).append(case)
    return [_median_case(cases) for cases in rounds.values()]


def _median_case(cases: Sequence[Results]) -> Results:
    folded = dict(cases[0])
    for key, value in cases[0].items():
        if isinstance(value, float):
            folded[key] = median(values) if (values := [case[key] for case in cases if case[key] is not None]) else None
    folded["answers"] = sum(case["answers"] for case in cases)
    folded["errors"] = dict(sum((Counter(case["errors"]) for case in cases), Counter()))
    folded["rss_bytes"] = max(case["rss_bytes"] for case in cases)
    del folded["round"]
    return folded


def show(results: Results, console: Console, bulk: Results | None = None) -> None:
    """Print the results, and the results of benchmarks/bulk.py if given."""
    described = results["machine"]
    console.print()
    console.print(f"{described['cpu']}, {described['cores']} cores; {' '.join(described['flags'])}")
    _show_measured(results, console)
    if results["large"]:
        console.print(f"\nThe same with {results['large']['model']['name']}, in one round:\n")
        _show_measured(results["large"], console)
    if bulk:
        console.print(_bulk(bulk))


def _show_measured(results: Results, console: Console) -> None:
    if results["bare"] or results[TORCH]:
        console.print(_loops(results))
    if results[TORCH]:
        weights = next(iter(results[TORCH].values()))["weights"]
        console.print(f"The weights of the transformers pipeline are {weights}; its speed does not depend on them.\n")
    for mix in results["plan"]["mixes"]:
        if results["cases"]:
            console.print(_servers(results, mix))
    for name, server in results["servers"].items():
        for mix, count in server["different_labels"].items():
            if count:
                console.print(f"{name}: {count} of {CHECKED_TEXTS} {mix} labels differ from the bare loop")
    for name, reason in results["not_run"].items():
        console.print(f"[bold]{name} failed:[/bold] {reason}", highlight=False)


def _bulk(bulk: Results) -> Table:
    described = bulk["machine"]
    title = f"files of mixed texts, {len(described['cores_allowed'])} cores, make benchmark-bulk on {described['cpu']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("scored by")
    for name in ("texts", "texts/s", "RSS MB"):
        table.add_column(name, justify="right")
    for name, found in bulk["figures"].items():
        table.add_row(name, f"{found['texts']:,.0f}", f"{found['texts_per_second']:.0f}", f"{found['rss_mb']:.0f}")
    return table


def _loops(results: Results) -> Table:
    table = Table(title="One process, no server", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("loop")
    for mix in results["plan"]["mixes"]:
        table.add_column(f"{mix}, texts/s", justify="right")
        table.add_column("CPU ms", justify="right")
    rows = {name: name for mix in results["bare"].values() for name in mix}
    for name in rows:
        found = [results["bare"].get(mix, {}).get(name) for mix in results["plan"]["mixes"]]
        table.add_row(f"onnxruntime, {name}", *_speeds(found))
    if results[TORCH]:
        found = [results[TORCH].get(mix) for mix in results["plan"]["mixes"]]
        table.add_row("transformers.pipeline, PyTorch float32, one by one", *_speeds(found))
    return table


def _speeds(found: Sequence[Results | None]) -> list[str]:
    return [
        cell
        for speed in found
        for cell in (
            _shown(speed["texts_per_second"] if speed else None, ".0f"),
            _shown(speed["cpu_ms"] if speed else None, ".2f"),
        )
    ]


def _servers(results: Results, mix: str) -> Table:
    table = Table(title=f"{mix} texts, server on one core", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("server", "batches"):
        table.add_column(name, no_wrap=True)
    for name in (
        "conn.",
        "texts/s",
        "p50 ms",
        "p99 ms",
        "errors",
        "CPU ms",
        "RSS MB",
        "× 1 by 1",
        "× best loop",
        "× best peer",
    ):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for connections in results["plan"]["connections"]:
        cases = [case for case in results["cases"] if (case["mix"], case["connections"]) == (mix, connections)]
        for case in sorted(cases, key=lambda case: -case["texts_per_second"]):
            speed = case["texts_per_second"]
            table.add_row(
                case["server"],
                results["servers"][case["server"]]["batches"],
                str(connections),
                f"{speed:.0f}",
                _shown(case["p50_ms"], ".1f"),
                _shown(case["p99_ms"], ".1f"),
                str(sum(case["errors"].values())),
                _shown(case["cpu_ms"], ".2f"),
                f"{case['rss_bytes'] / 1e6:.0f}",
                _shown(case["of_one_by_one"], ".2f"),
                _shown(case["of_best_loop"], ".2f"),
                _shown(case["of_best_peer"], ".2f"),
                style="bold" if case["ours"] else None,
            )
        table.add_section()
    return table


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
