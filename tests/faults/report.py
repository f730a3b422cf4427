"""What the faults did, row by row: a table, and ``build/faults.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.honest import Seen
from tests.server import ROOT

FILE = ROOT / "build" / "faults.json"
HEADINGS = ("row", "fault", "right", "what happened", "sent", "refused", "lost", "p99 ms", "pause ms", "peak MB")


@dataclass
class Record:
    """One case: its row, its name, what happened, what the honest client saw, and the peak of memory in bytes."""

    row: str = ""
    name: str = ""
    happened: str = ""
    honest: Mapping[str, Any] = field(default_factory=dict)
    peak_bytes: int = 0
    right: bool = False
    figures: dict[str, Any] = field(default_factory=dict)

    def saw(self, seen: Seen, peak_bytes: int) -> None:
        """Note what the honest client saw, and the peak."""
        self.honest, self.peak_bytes = seen.summary(), peak_bytes


def write(records: Sequence[Record]) -> None:
    """Write the records as JSON."""
    FILE.parent.mkdir(exist_ok=True)
    content = [asdict(record) for record in records]
    FILE.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(records: Sequence[Record]) -> list[str]:
    """The lines of the table; a figure that a case does not have is empty."""
    rows = [HEADINGS, *map(_cells, records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(record: Record) -> tuple[str, ...]:
    honest = [record.honest.get(name) for name in ("sent", "refused", "lost", "p99_ms", "longest_pause_ms")]
    return (
        record.row,
        record.name,
        "yes" if record.right else "NO",
        record.happened,
        *("" if figure is None else f"{figure:.0f}" for figure in honest),
        f"{record.peak_bytes / 2**20:.0f}" if record.peak_bytes else "",
    )
