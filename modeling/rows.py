"""Rows of texts and their answers, from JSON Lines or a data set, and errors that name file, line and key."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from modeling.errors import ModelingError
from modeling.spec import ModelSpec
from textserve import spec as serving
from textserve.spec import GOLDEN_KEYS, Input, enumeration

# A label, any number of labels, or a number.
Answer: TypeAlias = str | tuple[str, ...] | float


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a data set, or an object of a JSON Lines file.

    Attributes:
        place: the file and the line or row number, for error messages.
        values: the content by key or column.
        columns: the column of each key that is not the column's name.
        names: the model's label for each label of a data set; ``None`` for a file in the model's folder.
    """

    place: str
    values: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] | None = None

    def get(self, key: str) -> Any:
        """The value of ``key``, or ``None``."""
        return self.values.get(self.columns.get(key, key))

    def problem(self, key: str, problem: str) -> ModelingError:
        """An error about ``key`` of this row."""
        return ModelingError(f"{self.place}: {self.columns.get(key, key)}: {problem}")


def read_text(file: Path, option: str = "") -> str:
    """The content of ``file``; raises :class:`ModelingError` if it cannot be read as UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelingError(f"{option}{file}: cannot be read as UTF-8 text: {error}") from error


def read_lines(file: Path, option: str = "") -> list[Row]:
    """The rows of a JSON Lines file, at least one; raises :class:`ModelingError` naming the first invalid line."""
    found = []
    for number, line in enumerate(read_text(file, option).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{option}{file}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ModelingError(f"{place}: is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelingError(f'{place}: is not an object, such as {{"text": "…"}}')
        found.append(Row(place, values))
    if not found:
        raise ModelingError(f'{option}{file}: has no text; write one object per line, such as {{"text": "…"}}')
    return found


def labelled(rows: Sequence[Row], spec: ModelSpec, known: Collection[str]) -> tuple[list[Input], list[Answer]]:
    """The texts, or pairs, and the answers of ``rows``, whose labels must be ``known``."""
    known = frozenset(known)
    return plain(rows, spec), [_answer(row, spec, known) for row in rows]


def plain(rows: Sequence[Row], spec: serving.ModelSpec | None = None) -> list[Input]:
    """The text or pair of each row, as the input of ``spec``; without a spec, a row with a ``text_pair`` is a pair."""
    return [_input(row, spec.input if spec else None) for row in rows]


def _input(row: Row, wanted: str | None) -> Input:
    text, pair = _text(row, "text"), row.get("text_pair")
    if wanted == "text" and pair is not None:
        raise row.problem("text_pair", "this model has input: text")
    if wanted == "pair" or pair is not None:
        return text, _text(row, "text_pair")
    return text


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        raise row.problem(key, "is missing")
    if not isinstance(value, str) or not value.strip():
        raise row.problem(key, "is not a text with at least one letter or sign")
    return value


def _answer(row: Row, spec: ModelSpec, known: Collection[str]) -> Answer:
    key = GOLDEN_KEYS[spec.problem_type]
    value = row.get(key)
    if value is None:
        raise row.problem(key, f"is missing; {spec.problem_type} needs it")
    if spec.problem_type == "regression":
        return _number(row, key, value)
    if spec.problem_type == "single_label_classification":
        return _label(row, key, value, spec, known)
    if not isinstance(value, list):
        raise row.problem(key, f"is {value!r}, not a list of labels")
    return tuple(dict.fromkeys(_label(row, key, label, spec, known) for label in value))


def _number(row: Row, key: str, value: object) -> float:
    # The cells of CSV are strings.
    number = math.nan
    if isinstance(value, int | float) or (isinstance(value, str) and row.names is not None):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise row.problem(key, f"is {value!r}, not a number")
    return number


def _label(row: Row, key: str, value: object, spec: ModelSpec, known: Collection[str]) -> str:
    label = value if row.names is None else row.names.get(str(value), str(value))
    if not isinstance(label, str) or label not in known:
        fix = "" if row.names is None else "; texts.test.names in model.yaml maps the data set's labels"
        raise row.problem(key, f"{value!r} is not one of this model's labels: {enumeration(spec.label_names)}{fix}")
    return label
