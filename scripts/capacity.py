"""Compute the pods that a load needs, and the texts that are rejected while the autoscaler follows a day with a spike.

    python -m scripts.capacity > docs/capacity.md

The rate of a pod comes from benchmarks/results/compare.json: one core, mixed texts, 16 connections. --rate sets that of
another machine. The autoscaler is that of deploy/kubernetes/keda/scaler.yaml.
"""

from __future__ import annotations

import json
import sys

import yaml

from modeling.evaluation.card import table
from modeling.files import ROOT
from operate.capacity import Autoscaler, day_with_spike, pods, simulate
from operate.errors import OperateError
from scripts.command import command, parser

LOADS = (50, 100, 200, 500, 1000, 2000)
# Texts a second at night and at noon; the spikes are multiples of the load at noon.
NIGHT, NOON, SPIKES = 30.0, 300.0, (1.5, 2.0, 4.0)
STARTS = (5, 20, 120)


def measured_rate() -> float:
    """The measured texts a second of one pod; raises :class:`OperateError` if there are none."""
    cases = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text(encoding="utf-8"))["cases"]
    wanted = {"server": "textserve", "mix": "mixed", "connections": 16}
    for case in cases:
        if wanted.items() <= case.items():
            return float(case["texts_per_second"])
    raise OperateError("benchmarks/results/compare.json has no such case; run make benchmark, or set --rate")


def scaler(start: int) -> Autoscaler:
    """The autoscaler of deploy/kubernetes, with pods that answer ``start`` seconds after it asks for them."""
    spec = yaml.safe_load((ROOT / "deploy/kubernetes/keda/scaler.yaml").read_text(encoding="utf-8"))["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return Autoscaler(
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        utilisation=float(spec["triggers"][0]["metadata"]["threshold"]),
        period=spec["pollingInterval"],
        stabilization=behavior["scaleDown"]["stabilizationWindowSeconds"],
        up=behavior["scaleUp"]["policies"][0]["value"] / 100,
        down=behavior["scaleDown"]["policies"][0]["value"] / 100,
        start=start,
    )


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("--rate", type=float, help="texts a second of one pod (default: as measured)")
    rate = args.parse_args(arguments).rate or measured_rate()
    target = scaler(0).utilisation
    print("# Capacity\n\nWritten by `make capacity`; computed, not measured, from ", end="")
    print(f"{rate:.0f} texts a second for a pod of one core\n(`benchmarks/results/compare.json`, mixed texts).\n")
    print(f"## Pods\n\nPods are busy {target:.0%} of the time; of three zones, one may be lost.\n")
    rows = [[str(n) for n in (load, pods(load, rate, target), pods(load, rate, target, zones=3))] for load in LOADS]
    print(table(["texts a second", "pods", "pods, three zones"], rows))
    print(f"\n## A day\n\nThe load rises from {NIGHT:.0f} texts a second at night to {NOON:.0f} at noon. It then jumps")
    print("to a multiple of that for ten minutes. A new pod answers some seconds after the autoscaler asks for it.\n")
    days = []
    for spike in SPIKES:
        for start in STARTS:
            outcome = simulate(day_with_spike(NIGHT, NOON, NOON * spike), rate, scaler(start))
            lost = f"{outcome.lost:,.0f} of {outcome.requests:,.0f}"
            days.append([f"{spike:g} ×", f"{start} s", lost, str(outcome.most_pods), f"{outcome.mean_pods:.1f}"])
    print(table(["spike", "start of a pod", "texts rejected", "most pods", "mean"], days))


if __name__ == "__main__":
    sys.exit(main())
