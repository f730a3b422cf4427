"""Checks of the rated texts before training, as counts and limits.

Two texts are the same if only case and white space differ, and nearly the same if only punctuation differs too ("Yay.
Great work." and "YAY! Great work!"). Duplicates count twice in training; a text of the validation or test part that is
also trained on improves that part's figures unduly; and a text with two labels cannot be learned.

The source has a few of each, since its authors varied punctuation and capitals on purpose. The limits lie above these
counts, so that only broken data fails.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from modeling.tasks.sentiment.dataset import MEANINGS, DataError, Part, RatedText

PARTS: tuple[Part, ...] = get_args(Part)
RATINGS = (-4.0, 4.0)
LONGEST = 20_000
# Shares of the texts.
MIN_LABEL_SHARE = 0.05
MAX_DUPLICATES = 0.02
MAX_CONTRADICTIONS = 0.005
MAX_OVERLAP = 0.001
MAX_NEAR_OVERLAP = 0.03


@dataclass(frozen=True)
class DataReport:
    """Counts of texts."""

    labels: Mapping[Part, Mapping[str, int]]
    duplicates: int
    contradictions: int
    overlap: Mapping[Part, int]
    near_overlap: Mapping[Part, int]

    @property
    def texts(self) -> int:
        """Texts in all parts."""
        return sum(sum(counts.values()) for counts in self.labels.values())

    def as_json(self) -> dict[str, Any]:
        """The counts, for a report."""
        return {"texts": self.texts, **asdict(self)}

    def __str__(self) -> str:
        """A table for the terminal."""
        rows: list[tuple[str, Sequence[object]]] = [("training data", PARTS)]
        rows += [(f"  {label}", [self.labels[part][label] for part in PARTS]) for label in MEANINGS]
        rows.append(("  also in another part", [self.overlap[part] for part in PARTS]))
        rows.append(("  nearly so", [self.near_overlap[part] for part in PARTS]))
        lines = [f"{name:<34}" + "".join(f"{cell:>12}" for cell in cells) for name, cells in rows]
        lines.append(f"  {self.duplicates} of {self.texts} texts are duplicates, {self.contradictions} have two labels")
        return "\n".join(lines)


def check(rows: Sequence[RatedText]) -> DataReport:
    """The counts of ``rows``; raises :class:`DataError` naming the first invalid row, or every exceeded limit."""
    faults = [fault for number, row in enumerate(rows, start=1) if (fault := _fault(number, row))]
    if faults:
        more = f"\nand {len(faults) - 1} more rows" if len(faults) > 1 else ""
        raise DataError(f"training data: {faults[0]}{more}")
    report = count(rows)
    if problems := _problems(report):
        raise DataError("\n".join(f"training data: {problem}" for problem in problems))
    return report


def _fault(number: int, row: RatedText) -> str | None:
    row_name = f"row {number} ({row.domain})"
    if not isinstance(row.text, str) or not row.text.strip():
        return f"{row_name} has no text"
    if len(row.text) > LONGEST:
        return f"{row_name} has {len(row.text)} characters, more than {LONGEST}"
    if not isinstance(row.rating, float) or not math.isfinite(row.rating):
        return f"{row_name} has the rating {row.rating!r}, which is not a number"
    if not RATINGS[0] <= row.rating <= RATINGS[1]:
        return f"{row_name} has the rating {row.rating}, outside {RATINGS[0]} to {RATINGS[1]}"
    return None


def count(rows: Sequence[RatedText]) -> DataReport:
    """The counts of ``rows``, whatever the limits."""
    labels = {part: dict.fromkeys(map(str, MEANINGS), 0) for part in PARTS}
    for row in rows:
        labels[row.part][row.label] += 1
    same = _groups(rows, lambda text: " ".join(text.casefold().split()))
    # Texts of punctuation alone have an empty form here, and are not nearly the same as each other.
    nearly_same = _groups(rows, lambda text: " ".join(re.findall(r"\w+", text.casefold())))
    return DataReport(
        labels=labels,
        duplicates=sum(len(group) - 1 for group in same),
        contradictions=sum(len(group) for group in same if len({row.label for row in group}) > 1),
        overlap=_overlap(same),
        near_overlap=_overlap(nearly_same),
    )


def _groups(rows: Sequence[RatedText], normal_form: Callable[[str], str]) -> list[list[RatedText]]:
    groups = defaultdict(list)
    for row in rows:
        groups[normal_form(row.text)].append(row)
    return [group for form, group in groups.items() if form]


def _overlap(groups: Sequence[Sequence[RatedText]]) -> dict[Part, int]:
    shared = [row for group in groups if len({row.part for row in group}) > 1 for row in group]
    return {part: sum(row.part == part for row in shared) for part in PARTS}


def _problems(report: DataReport) -> list[str]:
    totals = {part: sum(counts.values()) for part, counts in report.labels.items()}
    found = [
        f"{count} of {totals[part]} texts of the {part} part are {label}; at least {MIN_LABEL_SHARE:.0%} required"
        for part, counts in report.labels.items()
        for label, count in counts.items()
        if count < max(1, MIN_LABEL_SHARE * totals[part])
    ]
    at_most = [
        (report.duplicates, report.texts, "are duplicates", MAX_DUPLICATES),
        (report.contradictions, report.texts, "have two labels", MAX_CONTRADICTIONS),
    ]
    for part in ("validation", "test"):
        of_part = f"of the {part} part are"
        at_most += [
            (report.overlap[part], totals[part], f"{of_part} also in another part", MAX_OVERLAP),
            (report.near_overlap[part], totals[part], f"{of_part} nearly the same in another part", MAX_NEAR_OVERLAP),
        ]
    return found + [
        f"{count} of {total} texts {fault}; at most {limit:.1%} allowed"
        for count, total, fault, limit in at_most
        if count > limit * total
    ]
