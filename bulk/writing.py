"""Writes scored tables as Parquet, CSV or JSON Lines, with all columns of the input and of the answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.addresses import Format
from bulk.windows import RAW

# Digits of scores in CSV and JSON Lines, as in the service's answers.
SCORE_DIGITS = 6
# Most rows and bytes in a row group of Parquet, which readers load at once.
GROUP_ROWS, GROUP_BYTES = 65_536, 64_000_000
UNSUITABLE = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)


class Writer:
    """Writes tables to an open stream; :meth:`close` completes the file and leaves the stream open."""

    def __init__(self, stream: BinaryIO, form: Format, schema: pa.Schema, answers: Collection[str]) -> None:
        """Begin a file.

        Args:
            stream: where to write.
            form: the format.
            schema: the schema of all tables together, by :func:`plan`. For CSV its types may change later.
            answers: names of the columns of the answers.
        """
        self._stream, self.schema, self._answers = stream, schema, answers
        self._waiting: list[pa.Table] = []
        self._parquet = pq.ParquetWriter(stream, schema, compression="zstd") if form == "parquet" else None
        write = {"parquet": self._write_parquet, "csv": self._write_csv, "jsonl": self._write_json}
        self.write: Callable[[pa.Table], None] = write[form]
        if form == "csv":
            self._write_lines([schema.names])

    def close(self) -> None:
        """Write what is left."""
        if self._parquet is not None:
            self._write_group()
            self._parquet.close()

    def _write_parquet(self, table: pa.Table) -> None:
        self._waiting.append(conform(table, self.schema))
        rows, size = sum(map(len, self._waiting)), sum(each.nbytes for each in self._waiting)
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._waiting and self._parquet is not None:
            self._parquet.write_table(pa.concat_tables(self._waiting), row_group_size=GROUP_ROWS)
            self._waiting = []

    def _write_csv(self, table: pa.Table) -> None:
        rows = self._rows(conform(table, self.schema))
        self._write_lines([list(map(_field, row.values())) for row in rows])

    def _write_lines(self, rows: Iterable[Sequence[str]]) -> None:
        # Python 3.11 quotes a carriage return only if rows end in one, so rows end in one until they are joined.
        lines = _Lines()
        csv.writer(lines, lineterminator="\r\n").writerows(rows)
        self._stream.write("".join(line.removesuffix("\r\n") + "\n" for line in lines).encode())

    def _write_json(self, table: pa.Table) -> None:
        rows = self._rows(table)
        if RAW in table.column_names:
            rows = [json.loads(row.pop(RAW)) | row for row in rows]
        lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        self._stream.write("".join(lines).encode())

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table.to_pylist()
        scores = [f.name for f in table.schema if f.name in self._answers and f.type == pa.float32()]
        for row in rows:
            for name in scores:
                row[name] = round(row[name], SCORE_DIGITS)
        return rows


class _Lines(list[str]):
    """Collects the rows that :mod:`csv` writes."""

    write = list[str].append


def plan(tables: Iterable[pa.Table], answers: pa.Schema) -> pa.Schema:
    """The schema of all ``tables`` together: the input's columns as they appear, then those of ``answers``.

    A column whose types do not fit together becomes JSON text.
    """
    fields: dict[str, pa.DataType] = {}
    for table in tables:
        for field in _expanded(table).schema:
            if field.name not in answers.names:
                known = fields.get(field.name, field.type)
                fields[field.name] = field.type if known == field.type else _common(known, field.type)
    kept = [(name, pa.string() if _is_empty(kind) else kind) for name, kind in fields.items()]
    return pa.schema([*map(pa.field, *zip(*kept, strict=True)), *answers] if kept else list(answers))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with the columns of ``schema``; a column that it lacks is null."""
    table = _expanded(table)
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        if column.type != field.type:
            column = _cast(column, field.type)
        columns.append(column)
    return pa.table(columns, schema=schema)


def _expanded(table: pa.Table) -> pa.Table:
    """The table with a column for each key instead of the JSON lines."""
    if RAW not in table.column_names:
        return table
    rows = [json.loads(line) for line in table[RAW].to_pylist()]
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {key: _array([row.get(key) for row in rows]) for key in keys}
    others = {name: table[name] for name in table.column_names if name != RAW}
    return pa.table(columns | others)


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except UNSUITABLE:
        return pa.array([None if value is None else _json(value) for value in values], pa.string())


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        schemas = [pa.schema([("column", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except UNSUITABLE:
        return pa.string()


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == pa.string() and not pa.types.is_large_string(column.type):
        values = (None if value is None else _json(value) for value in column.to_pylist())
        return pa.chunked_array([pa.array(values, kind)])
    try:
        return column.cast(kind)
    except UNSUITABLE:  # such as structs with other fields
        return pa.chunked_array([pa.array(column.to_pylist(), kind)])


def _is_empty(kind: pa.DataType) -> bool:
    """Whether the type is, or contains, an object without keys, which Parquet cannot store."""
    if pa.types.is_list(kind):
        return _is_empty(kind.value_type)
    return pa.types.is_struct(kind) and (not kind.num_fields or any(_is_empty(field.type) for field in kind.fields))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _field(value: Any) -> str:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)
