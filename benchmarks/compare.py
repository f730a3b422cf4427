"""Compare this service with other servers and with the same model in a bare loop, in one run.

    make benchmark                      # everything, 15 minutes or more
    make benchmark QUICK=1              # short texts, 16 connections, about 2 minutes
    make benchmark ONLY="textserve FastAPI bare"
    python -m benchmarks.compare --seconds 10

Every server has one worker on one core and the same model; the clients, on another core, hold 1, 16 and 64 connections
and send one text per request. In the first round, 50 labels of each mix are compared with those of the bare loop.
Figures are medians of three rounds (mixed texts: two); ratios are computed within a round. A full run ends with a round
with a model of BERT-base's size. `benchmarks/contenders.py` has each server's command, `benchmarks/peers/` its code.

A full run writes `compare.json` and `compare.png` to `benchmarks/results/`, or to its folder `without-amx` or
`without-vnni` on processors without these instructions; a partial run writes them to `build/benchmark/`.

Exit codes: 0 success (skipped servers are listed with the reason), 1 this service or everything failed,
2 bad arguments or only one core, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, plot, texts
from benchmarks.contenders import CONTENDERS, ENVIRONMENTS, Contender, Protocol, Unavailable
from benchmarks.load import LoadGenerator
from benchmarks.servers import DEFAULT_MODEL, Server, StartError, pinned
from benchmarks.tables import BARE, CHECKED_TEXTS, TORCH, Results, median_cases, median_loops, show
from modeling.files import ROOT, sha256
from modeling.tasks.sentiment.dataset import DataError
from scripts.command import parser
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE

DATA = ROOT / "build" / "data"
PARTIAL_RESULTS = ROOT / "build" / "benchmark"

NAMES = (BARE, TORCH, *(contender.name for contender in CONTENDERS))

# The speed of a machine drifts, so measure in rounds and compute ratios within a round.
# Mixed texts take most servers ten times as long as short ones.
ROUNDS, MIXED_ROUNDS, QUICK_ROUNDS = 3, 2, 1
SECONDS, QUICK_SECONDS = 2.0, 3.0
WARM_UP_SHARE = 0.25
CONNECTIONS: tuple[int, ...] = (1, 16, 64)
QUICK_CONNECTIONS: tuple[int, ...] = (16,)
CHECK_CONNECTIONS = 16
# For the model of BERT-base's size, which takes several times as long per text.
LARGE_SECONDS, LARGE_MIXES = 1.5, texts.MIXES[:1]
# For the other protocols of the service, with the default model.
ALSO_CONNECTIONS = 16
# Texts per loop, for each second of a case.
BARE_TEXTS, TORCH_TEXTS = 100, 50

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WIDTH = 128  # columns of the widest table


@dataclass(frozen=True)
class Plan:
    """The scope of a run: model, contenders, rounds, seconds per case, connections and text mixes."""

    model: Path
    names: Sequence[str]
    rounds: int
    seconds: float
    connections: Sequence[int]
    mixes: Sequence[texts.Mix]
    server_core: int
    load_core: int

    @property
    def whole(self) -> bool:
        """Whether this is a full run."""
        measured = set(self.names), (*self.connections,), (*self.mixes,), self.rounds
        return measured == (set(NAMES), CONNECTIONS, texts.MIXES, ROUNDS) and self.seconds >= SECONDS


class Comparison:
    """Measures the plan and collects the results."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan, self.console = plan, console
        self.texts = {mix: texts.load(mix, DATA, plan.model / TOKENIZER_FILE) for mix in plan.mixes}
        self.labels: dict[str, list[str]] = {}
        self.results: Results = {
            "machine": machine.describe(),
            "busy_before": machine.busy_share(),
            "plan": vars(plan) | {"model": plan.model.name},
            "model": {"name": plan.model.name, "sha256": sha256(plan.model / MODEL_FILE)},
            "versions": {name: machine.versions(ROOT / name) for name in ENVIRONMENTS},
            "bare": {},
            "bare_rounds": [],
            TORCH: {},
            "servers": {},
            "cases": [],
            "not_run": {},
            "large": None,
        }

    def run(self) -> None:
        """Measure everything; contenders that fail are recorded and skipped."""
        if self.results["busy_before"] > machine.BUSY_SHARE:
            share = self.results["busy_before"]
            self.console.print(f"[bold red]Other programs use {share:.0%} of this machine: expect low figures.")
        with LoadGenerator({self.plan.load_core}) as load:
            for number in range(self.plan.rounds):
                self.console.print(f"[dim]round {number + 1} of {self.plan.rounds}[/dim]")
                self.results["bare_rounds"].append({})
                mixes = self.plan.mixes if number < MIXED_ROUNDS else self.plan.mixes[:1]
                for mix in mixes:
                    self._bare(mix)
                    if TORCH in self.plan.names and number == 0:
                        self._torch(mix)
                for contender in CONTENDERS:
                    if contender.name in self.plan.names and contender.name not in self.results["not_run"]:
                        self._contender(contender, load, number, mixes)
        self.results["bare"] = median_loops(self.results["bare_rounds"])
        self.results["case_rounds"], self.results["cases"] = self.results["cases"], median_cases(self.results)

    def _bare(self, mix: texts.Mix) -> None:
        """Run the bare loops; without them in the plan, compute the expected labels only."""
        count = round(BARE_TEXTS * self.plan.seconds) if BARE in self.plan.names else 0
        if count:
            self.console.print(f"bare loop, {mix} texts …")
        options = ["--mix", mix, "--texts", str(count), "--labels", str(CHECKED_TEXTS)]
        found = self._alone("benchmarks.bare", options)
        self.labels[mix] = found["labels"]
        if count:
            self.results["bare_rounds"][-1][mix] = found["loops"]

    def _torch(self, mix: texts.Mix) -> None:
        self.console.print(f"transformers pipeline, {mix} texts …")
        checkpoint = ROOT / "build" / self.plan.model.name / "checkpoint"
        count = round(TORCH_TEXTS * self.plan.seconds)
        options = ["--mix", mix, "--texts", str(count), "--checkpoint", str(checkpoint)]
        try:
            self.results[TORCH][mix] = self._alone("benchmarks.torch_pipeline", options)
        except subprocess.CalledProcessError as error:
            self.results["not_run"][TORCH] = error.stderr.strip()[-1000:]

    def _alone(self, module: str, options: Sequence[str]) -> Any:
        """Run a module on the servers' core and parse its JSON output."""
        with pinned({self.plan.server_core}):
            return json.loads(_last_line(module, str(self.plan.model), str(DATA), *options))

    def _contender(self, contender: Contender, load: LoadGenerator, number: int, mixes: Sequence[texts.Mix]) -> None:
        self.console.print(f"{contender.name} …")
        start = time.monotonic()
        try:
            with contender.server(self.plan.model, {self.plan.server_core}) as server:
                started = time.monotonic() - start
                self._describe(contender.name, contender, contender.protocol, server, load, mixes)
                self.results["servers"][contender.name]["start_seconds"] = started
                for mix in mixes:
                    self._warm_up(contender.protocol, server, load, mix)
                    for connections in self.plan.connections:
                        case = self._case(contender.protocol, server, load, mix, connections)
                        self._add(case, contender.name, contender.ours, number)
                for protocol in contender.also if self.plan.model == DEFAULT_MODEL else ():
                    mix, name = mixes[0], f"{contender.name}, {protocol.name}"
                    self._describe(name, contender, protocol, server, load, [mix])
                    self._warm_up(protocol, server, load, mix)
                    case = self._case(protocol, server, load, mix, ALSO_CONNECTIONS)
                    self._add(case, name, contender.ours, number)
        except (Unavailable, StartError) as error:
            self.results["not_run"][contender.name] = str(error)
            self.console.print(f"  failed: {str(error).splitlines()[0]}")

    def _describe(
        self,
        name: str,
        contender: Contender,
        protocol: Protocol,
        server: Server,
        load: LoadGenerator,
        mixes: Sequence[texts.Mix],
    ) -> None:
        """Record a server and compare its answers, once, because the answers are the same in every round."""
        if name not in self.results["servers"]:
            self.results["servers"][name] = {
                "protocol": protocol.name,
                "batches": contender.batches,
                "different_labels": {mix: self._check(protocol, server, load, mix) for mix in mixes},
            }

    def _add(self, case: Results, name: str, ours: bool, number: int) -> None:
        self.results["cases"].append({"server": name, "ours": ours, **case, "round": number})

    def _check(self, protocol: Protocol, server: Server, load: LoadGenerator, mix: texts.Mix) -> int:
        """The number of answers, of the first texts, whose labels differ from those of the bare loop.

        Raises:
            StartError: if a request fails.
        """
        bodies = [protocol.body(text) for text in self.texts[mix][:CHECKED_TEXTS]]
        answers = load.post(protocol.url(server), bodies, CHECK_CONNECTIONS)
        for answer in answers:
            if answer.status != 200:
                raise StartError(f"responds with {answer.status}: {answer.body[:200]!r}\n{server.log()}")
        found = [protocol.label(answer.body) for answer in answers]
        return sum(label != expected for label, expected in zip(found, self.labels[mix], strict=True))

    def _warm_up(self, protocol: Protocol, server: Server, load: LoadGenerator, mix: texts.Mix) -> None:
        bodies = [protocol.body(text) for text in self.texts[mix]]
        load.closed_loop(protocol.url(server), bodies, CHECK_CONNECTIONS, self.plan.seconds * WARM_UP_SHARE)

    def _case(
        self, protocol: Protocol, server: Server, load: LoadGenerator, mix: texts.Mix, connections: int
    ) -> Results:
        url = protocol.url(server)
        bodies = [protocol.body(text) for text in self.texts[mix]]
        cpu = server.cpu_seconds()
        seen = load.closed_loop(url, bodies, connections, self.plan.seconds)
        cpu = server.cpu_seconds() - cpu
        answers = len(seen.answers)
        return {
            "mix": mix,
            "connections": connections,
            "texts_per_second": seen.per_second_of_span,
            "texts_per_second_in_time": seen.per_second,
            "p50_ms": _number(seen.percentile(50)),
            "p99_ms": _number(seen.percentile(99)),
            "answers": answers,
            "errors": dict(seen.errors),
            "cpu_ms": cpu * 1000 / answers if answers else None,
            "rss_bytes": server.rss_bytes(),
            "generator_share": seen.generator_share,
        }


def _last_line(module: str, *words: str) -> str:
    """Run a module and return the last line of its output."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def large_plan(plan: Plan) -> Plan:
    """The plan of the round with the model of BERT-base's size, which is made if it does not exist yet."""
    model = Path(_last_line("benchmarks.base_model", str(PARTIAL_RESULTS), str(DATA)))
    names = [name for name in plan.names if name != TORCH]
    return replace(plan, model=model, names=names, rounds=1, seconds=LARGE_SECONDS, mixes=LARGE_MIXES)


def _number(value: float) -> float | None:
    """NaN as None, for JSON."""
    return None if math.isnan(value) else value


def write(results: Results, folder: Path) -> None:
    """Write ``compare.json`` and, if servers were measured, ``compare.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    (folder / "compare.json").write_text(content, encoding="utf-8")
    if results["cases"]:
        plot.draw(results, folder / "compare.png", plot.read_bulk(machine.RESULTS))


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the arguments describe.

    Raises:
        ValueError: if a name is unknown or only one core is available.
    """
    known = {name.lower(): name for name in NAMES}
    for name in options.only or ():
        if name.lower() not in known:
            raise ValueError(f"{name}: unknown contender; known: {', '.join(NAMES)}")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise ValueError("two cores are required: one for the server, one for the clients")
    return Plan(
        model=DEFAULT_MODEL,
        names=[known[name.lower()] for name in options.only] if options.only else NAMES,
        rounds=QUICK_ROUNDS if options.quick else ROUNDS,
        seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
        connections=QUICK_CONNECTIONS if options.quick else CONNECTIONS,
        mixes=texts.MIXES[:1] if options.quick else texts.MIXES,
        server_core=cores[0],
        load_core=cores[1],
    )


def _interrupt(number: int, frame: object) -> None:
    """Unwind to stop the servers; ignore further signals meanwhile."""
    for stop in STOP_SIGNALS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("--quick", action="store_true", help="short texts and 16 connections only, 3 seconds per case")
    args.add_argument("--seconds", type=float, help=f"duration of a case (default: {SECONDS:.0f})")
    args.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(NAMES)}")
    args.add_argument("--output", type=Path, help="folder for compare.json and compare.png")
    options = args.parse_args(arguments)
    console = Console(width=max(WIDTH, Console().width))
    try:
        plan = plan_of(options)
        for stop in STOP_SIGNALS:
            signal.signal(stop, _interrupt)
        comparison = Comparison(plan, console)
    except (ValueError, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {plan.load_core})  # keep this process off the servers' core
    start = time.monotonic()
    try:
        comparison.run()
        if plan.whole:
            large = Comparison(large_plan(plan), console)
            large.run()
            comparison.results["large"] = large.results
    except KeyboardInterrupt:
        print("interrupted; all servers are stopped, nothing is written", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(error.cmd)} exited with {error.returncode}:\n{error.stderr.strip()}", file=sys.stderr)
        return 1
    results = comparison.results
    results["minutes"] = (time.monotonic() - start) / 60
    folder = options.output or (machine.results() if plan.whole else PARTIAL_RESULTS)
    write(results, folder)
    show(results, console, plot.read_bulk(machine.RESULTS))
    partial = "" if plan.whole else "; partial run"
    console.print(f"{results['minutes']:.1f} minutes{partial}. All figures are in {folder / 'compare.json'}")
    ours = {contender.name for contender in CONTENDERS if contender.ours}
    return 1 if ours & set(results["not_run"]) or not (results["cases"] or results["bare"] or results[TORCH]) else 0


if __name__ == "__main__":
    sys.exit(main())
