"""Windows of rows: the rows that are scored together, finished together, and kept together when a run is killed.

A window is large enough that its batches are of near-equal length, and small enough that memory stays the same
however long the input is. Its limits depend on the input alone, so a run that is resumed finds the same windows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from textserve.spec import Input

WINDOW_ROWS = 2048
# Characters of all rows together: texts of a megabyte each must not fill the memory.
WINDOW_CHARACTERS = 4_000_000
# The column with JSON lines as they were read, so that their keys and types stay as they are.
RAW = "__textserve_json__"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be scored.

    Attributes:
        file: the name of the file.
        row: the number of the row in the file, from 1, without the header.
        line: the line of the file on which the row begins, from 1; ``None`` in Parquet.
        reason: why it cannot be scored, without any text of the row.
    """

    file: str
    row: int
    line: int | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The content of the row's line in the file of bad rows."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rows of one file.

    Attributes:
        file: index of the file.
        name: name of the file.
        number: index of the window in the file.
        table: the columns of the good rows as read; for JSON Lines only :data:`RAW`.
        inputs: the texts, or pairs of texts, of the good rows.
        places: the row and line numbers of the good rows.
        bad: the bad rows.
        position: bytes of the file read so far.
    """

    file: int
    name: str
    number: int
    table: pa.Table
    inputs: list[Input]
    places: list[tuple[int, int | None]]
    bad: list[BadRow]
    position: int

    @property
    def key(self) -> tuple[int, int]:
        """Indices of the file and of the window, which order all windows of a run."""
        return self.file, self.number

    @property
    def columns(self) -> list[str]:
        """The names of the input's columns; for JSON Lines, the keys of all good rows."""
        if self.table.column_names == [RAW]:
            return list(dict.fromkeys(key for line in self.table[RAW].to_pylist() for key in json.loads(line)))
        return list(self.table.column_names)

    def digest(self) -> str:
        """SHA-256 of the window's rows, to tell whether the input changed between two starts of a run."""
        digest = hashlib.sha256(repr([bad.as_dict() for bad in self.bad]).encode())
        for name in self.table.column_names:
            digest.update(repr((name, self.table[name].to_pylist())).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()
