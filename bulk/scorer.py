"""Scores texts with a model, in a thread, a Ray actor or a Spark worker: the scorer can be pickled."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from bulk import models
from bulk.answers import Answering, shares
from bulk.errors import BulkError
from bulk.windows import BadRow, Window
from textserve.batching import BatchLimits
from textserve.classifier import Classifier, Encoding, PairTooLong
from textserve.prediction import Prediction
from textserve.settings import Settings
from textserve.spec import Input

TOO_LONG = "has a text that is longer than the model's input and is not to be cut"


@dataclass(frozen=True, slots=True)
class Scored:
    """A window with its answers.

    Attributes:
        table: the good rows, in the order of the input, with the answer's columns.
        bad: the bad rows, in the same order.
        truncated: number of texts with more tokens than the model reads.
        tokens: number of tokens of all texts.
        labels: number of answers with each label; for a model of a number, the sum of the numbers.
        read: number of texts in each bin of the model's reference, by statistic; empty without a reference.
    """

    table: pa.Table
    bad: list[BadRow]
    truncated: int
    tokens: int
    labels: dict[str, float]
    read: dict[str, list[int]]


@dataclass(slots=True)
class Scorer:
    """Scores with one model, which each process loads at its first use and shares between its threads.

    A pickled scorer holds the name of the model, not the model. Another machine finds the model by that name, and
    refuses it if its files differ.

    Attributes:
        model: NAME or NAME:VERSION in the model store, a folder, or an address (see :func:`bulk.models.find`).
        answering: the columns of an answer.
        digest: SHA-256 that the model's files must have, or ``None`` for any.
    """

    model: str
    answering: Answering = field(default_factory=Answering)
    digest: str | None = None
    _loaded: tuple[models.FoundModel, Classifier] | None = field(default=None, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __getstate__(self) -> tuple[str, Answering, str | None]:
        return self.model, self.answering, self.digest

    def __setstate__(self, state: tuple[str, Answering, str | None]) -> None:
        self.model, self.answering, self.digest = state
        self._loaded, self._lock = None, threading.Lock()

    def load(self) -> tuple[models.FoundModel, Classifier]:
        """The model, loaded once.

        Raises:
            BulkError, SpecError, ModelFilesError: if the model is missing, not that of ``digest``, or cannot be loaded.
        """
        with self._lock:
            if self._loaded is None:
                found = models.find(self.model)
                if self.digest not in (None, found.digest):
                    raise BulkError(f"the model {self.model} differs on this machine; use the same files everywhere")
                self._loaded = found, models.load(found)
            return self._loaded

    def unload(self) -> None:
        """Free the memory of the model until the next :meth:`load`."""
        with self._lock:
            self._loaded = None

    def answer(self, inputs: Sequence[Input | None]) -> pa.Table:
        """The answers as a table with a row for each input, in order; the row is null where there is no text.

        ``inputs`` are texts, or tuples of two texts for a model of pairs. For Spark and pandas, see docs/bulk.md.
        """
        found, classifier = self.load()
        usable = {index: given for index, given in enumerate(inputs) if given is not None and _is_usable(given)}
        predictions: list[Prediction | None] = [None] * len(inputs)
        for index, prediction in zip(usable, predict(classifier, list(usable.values())), strict=True):
            predictions[index] = prediction
        return self.answering.columns(found.spec, found.tag, predictions)

    def score(self, window: Window) -> Scored:
        """Score a window.

        Raises:
            BulkError: if the window has a column of the same name as a column of the answers.
        """
        found, classifier = self.load()
        self.answering.check(found.spec, window.columns, window.name)
        predictions = predict(classifier, window.inputs)
        table, answers = window.table, [each for each in predictions if each is not None]
        bad = window.bad
        if len(answers) < len(predictions):
            table = table.filter(pa.array([each is not None for each in predictions]))
            too_long = [place for place, each in zip(window.places, predictions, strict=True) if each is None]
            bad = sorted(
                [*bad, *(BadRow(window.name, *place, TOO_LONG) for place in too_long)], key=lambda each: each.row
            )
        columns = self.answering.columns(found.spec, found.tag, answers)
        for name in columns.column_names:
            table = table.append_column(name, columns[name])
        truncated, tokens = sum(each.truncated for each in answers), sum(each.tokens for each in answers)
        read = found.reference.count(answers) if found.reference else {}
        return Scored(table, bad, truncated, tokens, dict(shares(found.spec, answers)), read)


def predict(classifier: Classifier, inputs: Sequence[Input]) -> list[Prediction | None]:
    """The prediction of each input, in order; ``None`` for a pair whose text that must not be cut is too long.

    Inputs with equal tokens are computed once.
    """
    encodings = _encode(classifier, inputs)
    distinct = {encoding.row: encoding for encoding in encodings if encoding is not None}
    answers: dict[bytes, list[float]] = {}
    for rows in batches(distinct, limits(classifier)):
        scores = classifier.predict([distinct[row] for row in rows]).tolist()
        answers |= zip(rows, scores, strict=True)
    return [
        None if encoding is None else encoding.answer(classifier.spec, answers[encoding.row]) for encoding in encodings
    ]


def limits(classifier: Classifier) -> BatchLimits:
    """The service's default limits of a batch, beyond which more texts in a batch gain nothing on a core."""
    texts, tokens, padding = (
        Settings.model_fields[name].default for name in ("max_batch_texts", "max_batch_tokens", "max_padding_tokens")
    )
    return BatchLimits(texts, tokens, padding if classifier.pads else 0)


def batches(encodings: Mapping[bytes, Encoding], limits: BatchLimits) -> Iterator[list[bytes]]:
    """Yield the keys in batches within ``limits``, sorted by length, so that texts of a batch are of similar length."""
    lengths = {row: len(encoding.ids) for row, encoding in encodings.items()}
    batch: list[bytes] = []
    for row in sorted(lengths, key=lengths.__getitem__):
        if batch and not limits.admit(lengths[row], len(batch), lengths[batch[-1]]):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _encode(classifier: Classifier, inputs: Sequence[Input]) -> list[Encoding | None]:
    try:
        return list(classifier.encode(inputs))
    except PairTooLong:
        return [_encode_one(classifier, given) for given in inputs]


def _encode_one(classifier: Classifier, given: Input) -> Encoding | None:
    try:
        return classifier.encode([given])[0]
    except PairTooLong:
        return None


def _is_usable(given: object) -> bool:
    """Whether ``given`` is a text or a pair of texts, and not blank; pandas has NaN where there is no text."""
    texts = given if isinstance(given, tuple) else (given,)
    return all(isinstance(text, str) and text.strip() for text in texts)
