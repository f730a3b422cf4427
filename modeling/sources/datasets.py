"""Rows of a data set on a Hugging Face hub, at a pinned commit: one file of Parquet, CSV or JSON Lines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeling.errors import ModelingError
from modeling.rows import Row, read_lines
from modeling.sources import hub
from modeling.spec import DataSet


def load(data: DataSet, folder: Path, count: int, seed: int) -> list[Row]:
    """At most ``count`` rows of ``data``, drawn with ``seed``, from the copy of its file in ``folder``, or the hub.

    Raises :class:`ModelingError` if the file cannot be fetched or read, or lacks a column.
    """
    file = folder / data.revision / data.file
    if not file.exists():
        _fetch(data, file)
    found = read_lines(file) if file.suffix == ".jsonl" else _table(file)
    order: Sequence[int] = range(len(found))
    if len(found) > count:
        order = sorted(np.random.default_rng(seed).permutation(len(found))[:count].tolist())
    # A row of JSON Lines may lack a column.
    columns = {key for row in found for key in row.values} if file.suffix == ".jsonl" else set(found[0].values)
    if lacking := sorted({data.columns.get("text", "text"), *data.columns.values()} - columns):
        raise ModelingError(f"{file}: has no column {lacking[0]}; its columns are {', '.join(sorted(columns))}")
    names: dict[str, str] = {str(key): column for key, column in data.columns.items()}
    return [Row(found[index].place, found[index].values, names, data.names) for index in order]


def _fetch(data: DataSet, file: Path) -> None:
    def select(names: list[str]) -> list[str]:
        if data.file not in names:
            raise ModelingError(f"has no file {data.file} at {data.revision}")
        return [data.file]

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=file.parent) as temporary:
        hub.fetch(data.repository, data.revision, Path(temporary), select, kind="dataset")
        os.replace(Path(temporary) / data.file, file)


def _table(file: Path) -> list[Row]:
    try:
        # The environment that exports has pandas; the one that serves has not.
        import pandas

        if file.suffix == ".parquet":
            table = pandas.read_parquet(file)
        else:
            # Every cell as it is written: 2020 and None are texts or labels too.
            table = pandas.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])
        records = table.to_dict("records")
    except ImportError as error:
        raise ModelingError(f"{file}: reading it needs {error.name}; name a .jsonl file instead") from error
    except Exception as error:  # pandas and pyarrow raise anything on damaged files
        reason = str(error).strip().split("\n")[0]
        raise ModelingError(f"{file}: cannot be read as {file.suffix[1:]}: {reason}") from error
    if not records:
        raise ModelingError(f"{file}: has no rows")
    return [
        Row(f"{file}, row {number}", {str(key): _plain(value) for key, value in record.items()})
        for number, record in enumerate(records, start=1)
    ]


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it; ``None`` where the cell is empty."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return None if isinstance(value, float) and value != value else value
