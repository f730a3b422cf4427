"""Reads windows from CSV, JSON Lines and Parquet files, row by row, so that a broken row does not affect others."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.addresses import COMPRESSED, Source, reason
from bulk.errors import BulkError
from bulk.windows import RAW, WINDOW_CHARACTERS, WINDOW_ROWS, BadRow, Window
from textserve.spec import Input, enumeration

# Most characters in a CSV field. A quote that never closes would otherwise make the rest of the file one field.
CSV_FIELD = 1_000_000
SEPARATORS = ",;\t|"
# Rows that Parquet decodes at once: few, because each row may be large.
PARQUET_ROWS = 256
# Bytes of a column that Parquet reads at once. By default it reads a whole row group, which may be the whole file.
PARQUET_BYTES = 1 << 18
TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
NO_TEXT, BLANK = "has no text", "is empty or only white space"


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        text: the column of texts.
        pair: the column of second texts, for a model of pairs.
        encoding: the encoding of CSV and JSON Lines.
        separator: the separator of CSV; ``None`` finds it in the header.
    """

    text: str = "text"
    pair: str | None = None
    encoding: str = "utf-8"
    separator: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the model reads."""
        return (self.text,) if self.pair is None else (self.text, self.pair)


@dataclass(slots=True)
class _Record:
    """A row as read: the values of the model's columns and the whole row, or the reason why the row is bad."""

    row: int
    line: int | None
    texts: Sequence[Any] = ()
    content: Any = None
    problem: str | None = None


@dataclass(slots=True)
class _Collector:
    """Collects records into windows."""

    file: int
    source: Source
    reading: Reading
    names: Sequence[str]
    number: int = 0
    rows: int = 0
    characters: int = 0
    inputs: list[Input] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    places: list[tuple[int, int | None]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def add(self, record: _Record) -> bool:
        """Add a record, and return whether the window is full."""
        self.rows += 1
        problem = record.problem or _problem(self.reading.columns, record.texts)
        if problem:
            self.bad.append(BadRow(self.source.name, record.row, record.line, problem))
        else:
            first, *second = record.texts
            self.inputs.append((first, second[0]) if second else first)
            self.contents.append(record.content)
            self.places.append((record.row, record.line))
            self.characters += sum(map(len, record.texts))
            if isinstance(record.content, str):
                self.characters += len(record.content)
            elif isinstance(record.content, list):
                self.characters += sum(map(len, record.content))
        return self.rows >= WINDOW_ROWS or self.characters >= WINDOW_CHARACTERS

    def window(self, position: int, table: pa.Table | None = None) -> Window:
        """The window of the records added so far; later records go to the next window."""
        if table is None:
            rows = [(line,) for line in self.contents] if self.source.format == "jsonl" else self.contents
            columns = list(zip(*rows, strict=True)) or [() for _ in self.names]
            table = pa.table({n: pa.array(c, pa.large_string()) for n, c in zip(self.names, columns, strict=True)})
        made = Window(self.file, self.source.name, self.number, table, self.inputs, self.places, self.bad, position)
        self.number, self.rows, self.characters = self.number + 1, 0, 0
        self.inputs, self.contents, self.places, self.bad = [], [], [], []
        return made


def read(files: Sequence[Source], reading: Reading) -> Iterator[Window]:
    """Yield the windows of all files, in order.

    Raises:
        BulkError: if a file cannot be read, lacks a column, or no row of the first window can be scored.
    """
    found = chain.from_iterable(read_file(index, source, reading) for index, source in enumerate(files))
    first = next(found, None)
    if first is None:
        raise BulkError(f"{files[0].name if len(files) == 1 else 'the input'}: is empty: it has no rows")
    check_first(first, files[first.file], reading)
    yield first
    yield from found


def read_file(index: int, source: Source, reading: Reading) -> Iterator[Window]:
    """Yield the windows of one file, whose index is ``index``.

    Raises:
        BulkError: if the file cannot be read or lacks a column.
    """
    try:
        yield from (_parquet if source.format == "parquet" else _lines)(index, source, reading)
    except UnicodeError:  # some codecs cannot go on after bytes that they cannot decode
        raise BulkError(f"{source.name}: {_wrong_encoding(reading.encoding)}") from None
    except (pa.ArrowException, OSError) as error:
        raise BulkError(f"{source.name}: cannot be read as {source.format}: {reason(error)}") from None


def check_first(window: Window, source: Source, reading: Reading) -> None:
    """Refuse an input that is certainly a mistake.

    Raises:
        BulkError: if the first window has no good row, or only numbers as texts.
    """
    if not window.inputs:
        ((commonest, _),) = Counter(bad.reason for bad in window.bad).most_common(1)
        raise BulkError(f"{source.name}: none of the first {len(window.bad)} rows can be scored: {commonest}")
    firsts = [given if isinstance(given, str) else given[0] for given in window.inputs]
    if source.format == "csv" and all(map(_is_number, firsts)):
        where = f"{source.name}: the column {reading.text!r} has only numbers; name the one with texts by --text-column"
        raise BulkError(f"{where}: {enumeration(window.table.column_names)}")


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text.replace(",", "."))
        return True
    return False


def _problem(columns: Sequence[str], texts: Sequence[Any]) -> str | None:
    for name, text in zip(columns, texts, strict=True):
        if text is None:
            return f"{name} {NO_TEXT}"
        if not isinstance(text, str):
            return f"{name} is {TYPES.get(type(text), type(text).__name__)}, not a text"
        if not text or text.isspace():
            return f"{name} {BLANK}"
    return None


def _check_columns(source: Source, reading: Reading, names: Sequence[str]) -> None:
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise BulkError(f"{source.name}: has two columns {double[0]!r}; rename one")
    for name in reading.columns:
        if name not in names:
            option = "--text-column" if name == reading.text else "--pair-column"
            raise BulkError(f"{source.name}: has no column {name!r}; name another by {option}: {enumeration(names)}")


def _lines(index: int, source: Source, reading: Reading) -> Iterator[Window]:
    with _open(source) as (stream, position):
        lines = _decoded(stream, reading.encoding)
        if source.format == "csv":
            if (header := _header(source, lines, reading)) is None:
                return
            names, separator = header
            collector = _Collector(index, source, reading, names)
            records = _csv_records(lines, names, separator, reading)
        else:
            collector = _Collector(index, source, reading, [RAW])
            records = _json_records(lines, reading)
        for record in records:
            if collector.add(record):
                yield collector.window(position())
        if collector.rows:
            yield collector.window(source.size)


@contextlib.contextmanager
def _open(source: Source) -> Iterator[tuple[Any, Any]]:
    """A stream of a file, decompressed if its name says so, and a function that returns the number of bytes read."""
    if source.place is None:
        yield sys.stdin.buffer, lambda: 0
        return
    with source.place.system.open_input_file(source.place.path) as raw:
        codec = COMPRESSED.get(PurePosixPath(source.place.path.lower()).suffix)
        yield pa.CompressedInputStream(raw, codec) if codec else raw, raw.tell


def _decoded(stream: Any, encoding: str) -> Iterator[str]:
    """Yield lines with their ends; bytes that cannot be decoded become lone surrogates: see :func:`_is_whole`."""
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    buffered = io.BufferedReader(stream, 1 << 18)
    yield from io.TextIOWrapper(buffered, "utf-8-sig" if plain else encoding, "surrogateescape", newline="\n")


def _is_whole(text: str) -> bool:
    """Whether ``text`` has no lone surrogate, so that it can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_encoding(encoding: str) -> str:
    return f"is not in {encoding}; if the file has another encoding, name it by --encoding, such as windows-1250"


def _json_records(lines: Iterator[str], reading: Reading) -> Iterator[_Record]:
    row = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row += 1
        if not _is_whole(line):
            yield _Record(row, number, problem=_wrong_encoding(reading.encoding))
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            yield _Record(row, number, problem="is not JSON")
            continue
        if not isinstance(found, dict):
            yield _Record(row, number, problem='is not an object, such as {"text": "…"}')
        elif "\\u" in line and not _is_whole(json.dumps(found, ensure_ascii=False)):
            yield _Record(row, number, problem="has half of a character (a lone surrogate)")
        elif missing := [name for name in reading.columns if name not in found]:
            yield _Record(row, number, problem=f"has no key {missing[0]!r}, only {enumeration(list(found))}")
        else:
            yield _Record(row, number, [found[name] for name in reading.columns], line.strip())


def _header(source: Source, lines: Iterator[str], reading: Reading) -> tuple[list[str], str] | None:
    line = next(lines, "")
    if not line.strip():
        return None
    separator = reading.separator or max(SEPARATORS, key=line.count)
    csv.field_size_limit(CSV_FIELD)
    try:
        names = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
    except csv.Error as error:
        returns = "has a carriage return within the header; save it with line feeds at the ends of lines"
        problem = returns if "\r" in line.rstrip() else f"the header is broken: {error}"
        raise BulkError(f"{source.name}: {problem}") from None
    if not all(map(_is_whole, names)):
        raise BulkError(f"{source.name}: the header {_wrong_encoding(reading.encoding)}")
    _check_columns(source, reading, names)
    return names, separator


def _csv_records(lines: Iterator[str], names: list[str], separator: str, reading: Reading) -> Iterator[_Record]:
    parser = csv.reader(lines, delimiter=separator, strict=True)
    places = [names.index(name) for name in reading.columns]
    row = 0
    while True:
        line = parser.line_num + 2  # the header was line 1
        try:
            values = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            row += 1
            yield _Record(row, line, problem=f"is broken: {error} (up to line {parser.line_num + 1})")
            continue
        if not values:
            continue
        row += 1
        if not all(map(_is_whole, values)):
            yield _Record(row, line, problem=_wrong_encoding(reading.encoding))
        elif len(values) != len(names):
            yield _Record(row, line, problem=f"has {len(values)} fields, the header {len(names)}")
        else:
            yield _Record(row, line, [values[place] for place in places], values)


def _parquet(index: int, source: Source, reading: Reading) -> Iterator[Window]:
    place = source.place
    if place is None:
        raise BulkError("standard input: Parquet cannot be read from a pipe; save it as a file first")
    with (
        place.system.open_input_file(place.path) as stream,
        pq.ParquetFile(stream, buffer_size=PARQUET_BYTES, pre_buffer=False) as file,
    ):
        schema = file.schema_arrow
        _check_columns(source, reading, schema.names)
        for name in reading.columns:
            kind = schema.field(name).type
            value = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_null(value)):
                where = f"{source.name}: the column {name!r} is of type {kind}, not of texts"
                raise BulkError(f"{where}; name the one with texts by --text-column: {enumeration(schema.names)}")
        collector, kept, row = _Collector(index, source, reading, schema.names), list[pa.Table](), 0
        total = max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(PARQUET_ROWS):
            table, start = pa.Table.from_batches([batch], schema), len(collector.inputs)
            full, good = False, list[bool]()
            for texts in zip(*(_texts(table[name]) for name in reading.columns), strict=True):
                row += 1
                before = len(collector.inputs)
                problem = "is not in UTF-8" if any(isinstance(text, bytes) for text in texts) else None
                full = collector.add(_Record(row, None, texts, problem=problem)) or full
                good.append(len(collector.inputs) > before)
            kept.append(table.filter(pa.array(good)) if len(collector.inputs) - start < len(good) else table)
            if full:
                yield collector.window(source.size * row // total, pa.concat_tables(kept))
                kept = []
        if collector.rows:
            yield collector.window(source.size, pa.concat_tables(kept))


def _texts(column: pa.ChunkedArray) -> list[Any]:
    """The texts of a column; a value that is not UTF-8 stays bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        return [None] * len(column)
    found: list[Any] = column.cast(pa.large_binary()).to_pylist()
    for place, value in enumerate(found):
        with contextlib.suppress(UnicodeDecodeError):
            found[place] = None if value is None else value.decode()
    return found
