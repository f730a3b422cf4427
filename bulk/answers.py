"""The columns that answers add to a table, for every shape of model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bulk.errors import BulkError
from textserve.prediction import Prediction
from textserve.spec import ModelSpec

# A column for each label of a model with more would hide the rest of the table.
MOST_LABELS = 20


@dataclass(frozen=True, slots=True)
class Answering:
    """Which columns an answer has.

    - one label: ``label`` and ``score``, that of the label;
    - several: ``labels``, those over their threshold, the highest first;
    - a number: ``score``.

    Models with labels also have a column ``score_LABEL`` for each label, if they are no more than 20, or instead, with
    ``top_k``, columns ``label_2``, ``score_2`` and so on (of several labels from ``label_1``). All have ``tokens``,
    ``truncated`` and ``model``.

    Attributes:
        top_k: number of labels of an answer, the highest first; ``None`` for all or only the first.
        prefix: what the names of the columns begin with.
    """

    top_k: int | None = None
    prefix: str = ""

    def schema(self, spec: ModelSpec) -> pa.Schema:
        """The columns of the answers of a model."""
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
        """Refuse an input whose columns the answers would hide.

        Raises:
            BulkError: naming the first such column of the file ``name``.
        """
        if hidden := set(self.schema(spec).names) & set(columns):
            raise BulkError(f"{name}: has a column {min(hidden)!r}, as the answer; give --prefix, such as model_")

    def columns(self, spec: ModelSpec, tag: str, predictions: Sequence[Prediction | None]) -> pa.Table:
        """A row for each prediction, null for ``None``, by :meth:`schema`."""
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
    """How often each label is an answer; of a number, its sum under the name of the number."""
    counts: dict[str, float] = dict.fromkeys(spec.label_names, 0)
    for prediction in predictions:
        if spec.problem_type == "regression":
            counts[spec.label_names[0]] += prediction.score
            continue
        labels = prediction.labels if spec.problem_type == "multi_label_classification" else [prediction.label]
        for label in labels:
            counts[label] += 1
    return counts
