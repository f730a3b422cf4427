"""Writes the page of a finished run: its summary, and how its texts differ from the texts of the model's reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from bulk import models
from bulk.errors import BulkError
from bulk.progress import Summary
from textserve.drift import MIN_PSI, Counts, Distance, Reference, compare, mixture, shares
from textserve.spec import ModelSpec

TEMPLATE = "report.html.jinja"
TITLES = {
    "label": "Labels",
    "score": "Confidence",
    "tokens": "Length in tokens",
    "unknown": "Share of unknown tokens",
    "rare": "Share of rare tokens",
    "capitals": "Written in capitals",
}
OTHERS = "other labels"


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of the texts: each bin's name, expected share and found share, and the distance of the shares."""

    title: str
    bins: Sequence[tuple[str, float, float]]
    distance: Distance


def check(file: Path, model: str) -> None:
    """Check before the run that its page can be written afterwards.

    Raises:
        BulkError, SpecError: if the page's folder does not exist, or the model is missing or has no reference.
    """
    if not file.parent.is_dir() or file.is_dir():
        raise BulkError(f"--report {file}: name a file in a folder that exists")
    found = models.find(model)
    if found.reference is None:
        raise BulkError(
            f"--report: the model {model} has no valid reference.json to compare with; write it by "
            f"python -m scripts.reference {found.spec.name}, and save the model again"
        )


def write(file: Path, source: str, summary: Summary) -> None:
    """Write the page of a run over ``source``; raises :class:`BulkError` if it cannot be written."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = statistics(summary.reference, summary.read, summary.spec) if summary.reference and summary.rows else []
    page = environment.get_template(TEMPLATE).render(
        spec=summary.spec,
        source=source,
        lines=[line.split(maxsplit=1) for line in summary.lines()],
        statistics=found,
        moved=[each for each in found if each.distance.drifted],
        MIN_PSI=MIN_PSI,
    )
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BulkError(f"--report {file}: cannot be written: {error.strerror}; the output is complete") from None


def statistics(reference: Reference, read: Mapping[str, Sequence[int]], spec: ModelSpec) -> list[Statistic]:
    """Compare the texts of a run with the mixture of the reference's groups that fits them best."""
    served: dict[str, Counts] = {name: np.array(counts, dtype=np.float64) for name, counts in read.items()}
    distances = compare(reference.histograms, served, tests=len(served))
    weights = mixture(reference.histograms, served)
    found = []
    for name, distance in distances.items():
        groups = zip(weights, reference.histograms, strict=True)
        expected = sum(weight * shares(group[name]) for weight, group in groups)
        bins = zip(_names(name, reference, spec), expected, shares(served[name]), strict=True)
        found.append(Statistic(TITLES[name], list(bins), distance))
    return found


def _names(statistic: str, reference: Reference, spec: ModelSpec) -> Iterator[str]:
    """The name of each bin."""
    if statistic == "label":
        count = len(reference.histograms[0][statistic])
        yield from [*spec.label_names, OTHERS][:count]
        return
    if statistic == "capitals":
        yield from ("no", "yes")
        return
    bounds = reference.bounds[statistic]
    yield from (f"to {bound:.4g}" for bound in bounds)
    yield f"over {bounds[-1]:.4g}" if bounds else "all"
