"""Write the tables of settings.md, errors.md, metrics.md, architectures.md, graph.md and bulk.md in docs/.

    python -m scripts.docs_tables

The tables come from settings.py, errors.py and metrics.py in textserve/, architectures.json, graph.json and bulk.json
in benchmarks/results/. Each replaces the text between two marks such as <!-- settings --> and <!-- /settings -->.

Exit codes: 0 done, 1 a docs page or its marks are missing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from modeling.evaluation.card import table
from modeling.files import ROOT
from release.errors import ReleaseError
from scripts.command import command, parser
from textserve.drift import Reference, Window
from textserve.errors import TextserveError
from textserve.grpc.statuses import CODES
from textserve.http.tei import BACKEND
from textserve.http.tei import ERRORS as TEI_ERRORS
from textserve.metrics import (
    ConnectionMetrics,
    HealthMetrics,
    ModelMetrics,
    PredictionMetrics,
    RequestMetrics,
    RunnerMetrics,
    WorkerMetrics,
)
from textserve.prediction import Prediction
from textserve.settings import PREFIX, Settings
from textserve.spec import ModelSpec

TYPES = {
    "bool": "true or false",
    "int": "integer",
    "float": "number",
    "str": "string",
    "str | None": "string",
    "SecretStr": "string",
    "Path | None": "path",
}
RESULTS = ROOT / "benchmarks" / "results"
ARCHITECTURES, BULK, GRAPH = RESULTS / "architectures.json", RESULTS / "bulk.json", RESULTS / "graph.json"
# For the costs of bulk scoring: numbers of texts, and the price of a core for an hour.
ARCHIVES, PRICE = (10**6, 10**8, 10**10), 0.04
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤"}


def settings_table() -> str:
    """One row per setting; raises :class:`ReleaseError` if ``TYPES`` has no name for its type."""
    rows = []
    for name, field in Settings.model_fields.items():
        annotation = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        # Remove module names, which depend on the version of Python.
        annotation = re.sub(r"(\w+\.)+", "", annotation)
        if annotation not in TYPES:
            raise ReleaseError(f"{PREFIX}{name.upper()}: scripts/docs_tables.py has no name for the type {annotation}")
        bounds = [
            f"{sign} {getattr(bound, attribute)}"
            for bound in field.metadata
            for attribute, sign in BOUNDS.items()
            if hasattr(bound, attribute)
        ]
        default = "the available cores" if field.default_factory else _default(field.default)
        kind = ", ".join([TYPES[annotation], *bounds])
        rows.append([f"`{PREFIX}{name.upper()}`", kind, default, str(field.description)])
    return table(["variable", "type", "default", ""], rows)


def _default(value: object) -> str:
    if value is None or value == SecretStr(""):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def errors_table() -> str:
    """One row per error, ordered by HTTP status."""
    rows = []
    for error in sorted(TextserveError.__subclasses__(), key=lambda error: error.status):
        status, error_type = TEI_ERRORS.get(error, BACKEND)
        when = " ".join((error.__doc__ or "").split()).replace("``", "`")
        rows.append([f"`{error.type}`", str(error.status), f"{status} `{error_type}`", f"`{CODES[error].name}`", when])
    return table(["type", "HTTP", "text-embeddings-inference", "gRPC", "returned when"], rows)


def metrics_table() -> str:
    """One row per metric, in the order of their definition."""
    registry = CollectorRegistry()
    runner, requests = RunnerMetrics(registry), RequestMetrics(registry)
    reference = Reference(bounds={}, unknown_id=None, frequent_ids=frozenset(), groups={"en": {"label": [1, 1]}})
    spec, window = ModelSpec.load(next(ROOT.glob("models/*/model.yaml"))), Window(reference, 1)
    window.add([Prediction(spec, [1.0], tokens=1, truncated=False, ids=[1])])
    PredictionMetrics(registry, spec, window)
    WorkerMetrics(registry, [])
    HealthMetrics(registry)
    ConnectionMetrics(registry)
    model = ModelMetrics(registry)
    # A metric with labels has samples, from which the labels are read, only after a first observation.
    runner.dropped("cancelled", 0)
    runner.failed("exception")
    runner.cached(1)
    model.served("name:version", "digest")
    model.secret("certificate", lambda: True)
    requests.observe("native", "ok", 0.0)
    rows = []
    for family in registry.collect():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(
            [f"`{name}`", family.type, ", ".join(f"`{label}`" for label in sorted(labels)), family.documentation]
        )
    return table(["metric", "type", "labels", ""], rows)


def architectures_table() -> str:
    """One row per architecture that benchmarks/architectures.py has measured."""
    rows = []
    for row in json.loads(ARCHITECTURES.read_text(encoding="utf-8"))["rows"]:
        if refused := row.get("refused"):
            rows.append([row["architecture"], f"no: {refused}", "", "", "", ""])
            continue
        served = row["served"] + (f": {row['float_reason']}" if row["float_reason"] else "")
        change = row["largest_difference_in_batches"]
        rows.append(
            [
                row["architecture"],
                served,
                f"{row['agreement']:.1%}",
                f"{row['largest_difference']:.3f}",
                f"{change:.0e}" if change else "none",
                f"{row['speedup']:.2f}" if row["served"] == "INT8" else "",
            ]
        )
    head = ["architecture", "served in", "same label as the pipeline", "largest difference of a score"]
    return table([*head, "of a text in any batch", "speed-up over float32"], rows)


def graph_table() -> str:
    """One row per model that benchmarks/graph.py has measured."""
    rows = json.loads(GRAPH.read_text(encoding="utf-8"))["rows"]
    shapes = list(next(iter(rows.values()))["time"])
    head = ["model", *(f"time, {shape} tokens" for shape in shapes)]
    head += ["agreement with float32, before and after", "largest change in a batch, before and after"]
    found = []
    for name, row in rows.items():
        times = [f"{row['time'][shape]:.2f}" if shape in row["time"] else "" for shape in shapes]
        both = [row["before"], row["after"]]
        agreement = ", ".join(f"{each['agreement']:.1%}" for each in both)
        change = ", ".join(f"{each['largest_difference_in_batches']:.1g}" for each in both)
        found.append([name, *times, agreement, change])
    return table(head, found)


def bulk_tables() -> str:
    """The tables of benchmarks/bulk.py, and hours and costs at the rate of its largest measurement."""
    found = json.loads(BULK.read_text(encoding="utf-8"))
    rates, memory = found["rates"], found["memory"]

    def figures(row: Mapping[str, float]) -> list[str]:
        return [f"{row['texts']:,.0f}", f"{row['texts_per_second']:.0f}", f"{row['rss_mb']:.0f} MB"]

    head = ["texts", "texts a second", "resident memory"]
    promises = [[each["promise"], f"{each['measured']:.2f}"] for part in (rates, memory) for each in part["promises"]]
    cores = len(memory["machine"]["cores_allowed"])
    rate = memory["figures"][-1]["texts_per_second"] / cores
    costs = []
    for texts in ARCHIVES:
        hours = texts / rate / 3600
        costs.append([f"{texts:,}", f"{hours:,.0f}", f"{hours / 64:,.1f}", f"{hours * PRICE:,.2f}"])
    return "\n\n".join(
        [
            table(["scored by", *head], [[name, *figures(row)] for name, row in rates["figures"].items()]),
            table(["asked", "measured"], promises),
            table(head, [figures(row) for row in memory["figures"]]),
            table(["texts", "core-hours", "hours on 64 cores", f"cost at {PRICE} a core-hour"], costs),
        ]
    )


TABLES = {
    "settings": settings_table,
    "errors": errors_table,
    "metrics": metrics_table,
    "architectures": architectures_table,
    "bulk": bulk_tables,
    "graph": graph_table,
}


def fill_in(page: str, name: str) -> str:
    """``page`` with the table ``name`` between its marks; raises :class:`ReleaseError` if they are missing."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found_start, rest = page.partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end:
        raise ReleaseError(f"docs/{name}.md: the marks {start} and {end} are missing")
    return f"{before}{start}\n\n{TABLES[name]()}\n\n{end}{after}"


def write(docs: Path) -> None:
    """Write every table into its page in ``docs``; raises :class:`ReleaseError` if a page or its marks are missing."""
    for name in TABLES:
        file = docs / f"{name}.md"
        if not file.is_file():
            raise ReleaseError(f"{file} does not exist")
        file.write_text(fill_in(file.read_text(encoding="utf-8"), name), encoding="utf-8")
        print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    parser(__doc__).parse_args(arguments)
    write(ROOT / "docs")


if __name__ == "__main__":
    sys.exit(main())
