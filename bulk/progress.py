"""Prints the progress of a run, and its summary at the end, to standard error."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from bulk.parts import Record
from textserve.drift import Reference
from textserve.spec import ModelSpec

# Seconds between two updates of the line on a terminal, or between two lines in a log.
TERMINAL_SECONDS, LOG_SECONDS = 0.5, 30.0
SHOWN_LABELS = 20


@dataclass(slots=True)
class Summary:
    """A run in numbers; parts that an earlier start of the run finished are included.

    Attributes:
        spec: the model's spec.
        cores: number of cores that score.
        rows: number of scored rows; ``kept`` of them were scored before this start of the run.
        reference: the model's reference, if it has one.
        labels: number of answers with each label; for a model of a number, the sum of the numbers.
        read: number of texts in each bin of the reference, by statistic.
        seconds: duration of this start of the run.
    """

    spec: ModelSpec
    cores: int
    reference: Reference | None = None
    rows: int = 0
    kept: int = 0
    bad: int = 0
    truncated: int = 0
    tokens: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    read: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, record: Record, *, kept: bool = False) -> None:
        """Count a finished part."""
        self.rows += record.rows
        self.kept += record.rows if kept else 0
        self.bad += record.bad
        self.truncated += record.truncated
        self.tokens += record.tokens
        for label, count in record.labels.items():
            self.labels[label] += count  # type: ignore[assignment]  # for a model of a number, a sum
        for name, counts in record.read.items():
            before = self.read.get(name, [0] * len(counts))
            self.read[name] = [one + other for one, other in zip(before, counts, strict=True)]

    @property
    def rate(self) -> float:
        """Texts per second since this start of the run."""
        return (self.rows - self.kept) / max(self.seconds, 1e-9)

    def lines(self, price: float | None = None) -> list[str]:
        """The lines of the summary; ``price`` is the price of a core for an hour."""
        kept = f", {self.kept:,} of them before" if self.kept else ""
        lines = [f"rows         {self.rows:,}{kept}, in {timedelta(seconds=round(self.seconds))}"]
        lines.append(f"speed        {self.rate:,.0f} texts a second on {self.cores} cores")
        if self.rows:
            lines += self._answers()
            lines.append(f"truncated    {self.truncated:,} ({self.truncated / self.rows:.2%})")
        if self.bad:
            lines.append(f"bad rows     {self.bad:,}")
        if price is not None:
            hours = self.seconds * self.cores / 3600
            lines.append(f"cost         {hours * price:,.4f} for {hours:,.3f} core-hours")
        return lines

    def _answers(self) -> list[str]:
        if self.spec.problem_type == "regression":
            ((name, total),) = self.labels.items()
            return [f"mean         {total / self.rows:.4f} {name}"]
        shown = self.labels.most_common(SHOWN_LABELS)
        return [f"label        {count / self.rows:7.2%}  {label}" for label, count in shown if count]


class Progress:
    """Prints rows, rate and time left: on a terminal one line that is updated, in a log a new line now and then."""

    def __init__(self, sizes: Sequence[int], *, quiet: bool) -> None:
        """Start the clock; ``sizes`` are the bytes of each file, 0 if unknown."""
        self._total = sum(sizes)
        self._terminal = sys.stderr.isatty()
        self._quiet = quiet
        self._every = TERMINAL_SECONDS if self._terminal else LOG_SECONDS
        self._start = self._last = time.monotonic()
        self._read: dict[int, int] = {}
        self._before = 0

    def kept(self, file: int, position: int) -> None:
        """Note that a part of an earlier start of the run ends at this byte of its file."""
        self._read[file] = max(self._read.get(file, 0), position)
        self._before = sum(self._read.values())

    def update(self, file: int, position: int, summary: Summary) -> None:
        """Note that a part ends at this byte of its file, and print the progress if it is time."""
        self._read[file] = max(self._read.get(file, 0), position)
        now = time.monotonic()
        if self._quiet or now - self._last < self._every:
            return
        self._last = now
        summary.seconds = now - self._start
        line = f"{summary.rows:,} rows, {summary.rate:,.0f} texts a second"
        read = sum(self._read.values())
        if self._total and read > self._before:
            left = (self._total - read) * summary.seconds / (read - self._before)
            line += f", {read / self._total:.0%}, {timedelta(seconds=round(left))} left"
        end = "" if self._terminal else "\n"
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}{end}")
        sys.stderr.flush()

    def end(self, summary: Summary) -> None:
        """Stop the clock, and clear the line on a terminal."""
        summary.seconds = time.monotonic() - self._start
        if self._terminal and not self._quiet:
            sys.stderr.write("\r\x1b[K")
