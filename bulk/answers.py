"""The columns that answers add to a table, for every shape of model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bulk.errors import BulkError
from textserve.prediction import Prediction
from textserve.spec import ModelSpec

# For a model with more labels, a column for each label would hide the rest of the table.
MOST_LABELS = 20


@dataclass(frozen=True, slots=True)
class Answering:
    """Which columns an answer has.

    - a model of one label: ``label`` and its ``score``;
    - a model of several labels: ``labels``, the labels over their threshold, the highest score first;
    - a model of a number: ``score``.

    Models with up to 20 labels also have a column ``score_LABEL`` for each label. With ``top_k`` they have columns
    ``label_2``, ``score_2`` and so on instead (from ``label_1`` for several labels). All models have ``tokens``,
    ``truncated`` and ``model``.

    Attributes:
        top_k: number of labels in an answer, the highest score first; ``None`` for every label or only the first.
        prefix: put before the name of each column.
    """

    top_k: int | None = None
    prefix: str = ""

    def schema(self, spec: ModelSpec) -> pa.Schema:
        """The names and types of the columns for a model."""
        fields: dict[str, pa.DataType] = {}
        several, number = spec.problem_type == "multi_label_classification", spec.problem_type == "regression"
        if several:
            fields["labels"] = pa.list_(pa.string())
        elif not number:
            fields["label"] = pa.string()
        if not several:
            fields["score"] = pa.float32()
        for rank in () if number else self._ranks(spec):
            fields |= {f"label_{rank}": pa.string(), f"score_{rank}": pa.float32()}
        if not number and self.top_k is None and len(spec.labels) <= MOST_LABELS:
            fields |= {f"score_{label}": pa.float32() for label in spec.label_names}
        fields |= {"tokens": pa.int32(), "truncated": pa.bool_(), "model": pa.string()}
        return pa.schema([(f"{self.prefix}{name}", kind) for name, kind in fields.items()])

    def check(self, spec: ModelSpec, columns: Iterable[str], name: str) -> None:
        """Refuse an input that has a column of the same name as a column of the answers.

        Raises:
            BulkError: naming the first such column of the file ``name``.
        """
        if hidden := set(self.schema(spec).names) & set(columns):
            raise BulkError(f"{name}: has a column {min(hidden)!r}, as has the answer; give --prefix, such as model_")

    def columns(self, spec: ModelSpec, tag: str, predictions: Sequence[Prediction | None]) -> pa.Table:
        """A table with the columns of :meth:`schema` and a row for each prediction, of nulls for ``None``."""
        rows = [None if each is None else self._row(spec, tag, each) for each in predictions]
        schema = self.schema(spec)
        names = schema.names
        empty = (None,) * len(names)
        columns = zip(*(row or empty for row in rows), strict=True) if rows else ([] for _ in names)
        return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)

    def _row(self, spec: ModelSpec, tag: str, prediction: Prediction) -> tuple[object, ...]:
        answer: list[object] = []
        several, number = spec.problem_type == "multi_label_classification", spec.problem_type == "regression"
        if several:
            answer.append(prediction.labels)
        elif not number:
            answer.append(prediction.label)
        if not several:
            answer.append(prediction.score)
        if not number and self.top_k is not None:
            ranked = prediction.ranked()
            answer += [value for rank in self._ranks(spec) for value in ranked[rank - 1]]
        elif not number and len(spec.labels) <= MOST_LABELS:
            answer += prediction.scores
        return (*answer, prediction.tokens, prediction.truncated, tag)

    def _ranks(self, spec: ModelSpec) -> range:
        first = 1 if spec.problem_type == "multi_label_classification" else 2
        return range(first, min(self.top_k or 0, len(spec.labels)) + 1)


def shares(spec: ModelSpec, predictions: Iterable[Prediction]) -> Mapping[str, float]:
    """The number of answers with each label; for a model of a number, the sum of the numbers, under its name."""
    counts: dict[str, float] = dict.fromkeys(spec.label_names, 0)
    for prediction in predictions:
        if spec.problem_type == "regression":
            counts[spec.label_names[0]] += prediction.score
            continue
        labels = prediction.labels if spec.problem_type == "multi_label_classification" else [prediction.label]
        for label in labels:
            counts[label] += 1
    return counts
