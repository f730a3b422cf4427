"""What the rated texts must be before anything is trained on them, as figures and limits.

Two texts are the same if only case and white space differ, and nearly the same if only what is no letter and no digit
differs too ("Yay. Great work." and "YAY! Great work!"). Duplicates count twice in training; a text of the validation
or test part that is also trained on makes their figures better than they are; and the same text with two labels can
be learned for neither.

The source's own texts have all three in small numbers, since its authors varied punctuation and capitals on purpose.
The limits stand above these numbers, so that only what has gone wrong is refused.
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


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares of the texts, from 0 to 1."""

    min_label_share: float = 0.05
    max_duplicates: float = 0.02
    max_contradictions: float = 0.005
    max_overlap: float = 0.001
    max_near_overlap: float = 0.03


@dataclass(frozen=True)
class DataReport:
    """What was found: counts of texts."""

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
        """The figures, for a report."""
        return {"texts": self.texts, **asdict(self)}

    def __str__(self) -> str:
        """A table for a person."""
        columns = "".join(f"{part:>12}" for part in PARTS)
        lines = [f"{'training data':<34}{columns}"]
        for label in MEANINGS:
            cells = "".join(f"{self.labels[part][label]:>12}" for part in PARTS)
            lines.append(f"  {label:<32}{cells}")
        for name, counts in (("also in another part", self.overlap), ("nearly so", self.near_overlap)):
            lines.append(f"  {name:<32}" + "".join(f"{counts[part]:>12}" for part in PARTS))
        lines.append(f"  {self.duplicates} of {self.texts} texts are duplicates, {self.contradictions} of two labels")
        return "\n".join(lines)


def check(rows: Sequence[RatedText], limits: Limits = Limits()) -> DataReport:
    """Count what is wrong with ``rows``, and refuse what cannot be trained on.

    Raises:
        DataError: a line for each fault: the first row that is not of the right form, or the limit and what was found.
    """
    faults = [fault for number, row in enumerate(rows, start=1) if (fault := _fault(number, row))]
    if faults:
        more = f"\nand {len(faults) - 1} more rows" if len(faults) > 1 else ""
        raise DataError(f"training data: {faults[0]}{more}")
    report = _count(rows)
    problems = _problems(report, limits)
    if problems:
        raise DataError("\n".join(f"training data: {problem}" for problem in problems))
    return report


def _fault(number: int, row: RatedText) -> str | None:
    place = f"row {number} ({row.domain})"
    if not isinstance(row.text, str) or not row.text.strip():
        return f"{place} has no text"
    if len(row.text) > LONGEST:
        return f"{place} has {len(row.text)} characters, more than {LONGEST}"
    if not isinstance(row.rating, float) or not math.isfinite(row.rating):
        return f"{place} has the rating {row.rating!r}, which is not a number"
    if not RATINGS[0] <= row.rating <= RATINGS[1]:
        return f"{place} has the rating {row.rating}, outside {RATINGS[0]} to {RATINGS[1]}"
    return None


def _count(rows: Sequence[RatedText]) -> DataReport:
    labels = {part: dict.fromkeys(map(str, MEANINGS), 0) for part in PARTS}
    for row in rows:
        labels[row.part][row.label] += 1
    same = _groups(rows, _same)
    return DataReport(
        labels=labels,
        duplicates=sum(len(group) - 1 for group in same),
        contradictions=sum(len(group) for group in same if len({row.label for row in group}) > 1),
        overlap=_overlap(same),
        near_overlap=_overlap(_groups(rows, _nearly_same)),
    )


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def _nearly_same(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _groups(rows: Sequence[RatedText], normal_form: Callable[[str], str]) -> list[list[RatedText]]:
    groups = defaultdict(list)
    for row in rows:
        groups[normal_form(row.text)].append(row)
    # A text of punctuation alone has an empty form, and is not nearly the same as any other.
    return [group for form, group in groups.items() if form]


def _overlap(groups: Sequence[Sequence[RatedText]]) -> dict[Part, int]:
    shared = [row for group in groups if len({row.part for row in group}) > 1 for row in group]
    return {part: sum(row.part == part for row in shared) for part in PARTS}


def _problems(report: DataReport, limits: Limits) -> list[str]:
    found = []
    for part, counts in report.labels.items():
        total = sum(counts.values())
        for label, count in counts.items():
            if count < max(1, limits.min_label_share * total):
                least = f"at least {limits.min_label_share:.0%} must be"
                found.append(f"{count} of {total} texts of the {part} part are {label}; {least}")
    for what, count, limit in (
        ("duplicates", report.duplicates, limits.max_duplicates),
        ("of two labels", report.contradictions, limits.max_contradictions),
    ):
        if count > limit * report.texts:
            found.append(f"{count} of {report.texts} texts are {what}; at most {limit:.1%} may be")
    for part, counts in report.labels.items():
        total = sum(counts.values())
        for how, overlap, limit in (
            ("also", report.overlap, limits.max_overlap),
            ("nearly the same", report.near_overlap, limits.max_near_overlap),
        ):
            if part != "train" and overlap[part] > limit * total:
                found.append(
                    f"{overlap[part]} of {total} texts of the {part} part are {how} in another part; "
                    f"at most {limit:.1%} may be"
                )
    return found
