"""From texts to scores: the tokenizer and ONNX graph of one model. No queues and no protocols here."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding as TokenizerEncoding
from tokenizers import Tokenizer

from textserve.graph import Graph
from textserve.prediction import Prediction
from textserve.spec import DEFAULT_TOLERANCE, Activation, Input, ModelSpec

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
# Batch size where throughput matters and latency does not.
BATCH_TEXTS = 32

# The tokenizer must not start a thread pool beside the runner's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Truncation = Literal["right", "left"]


class ModelFilesError(ValueError):
    """A model file is missing or damaged, or the graph does not match the spec."""


class GoldenMismatch(ValueError):
    """The model's predictions for its golden texts differ from the answers in its spec."""


class PairTooLong(ValueError):
    """A pair has a text that must not be truncated and is longer than the model's input.

    Attributes:
        index: the index of the pair.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"pair {index} has a text that is longer than the model's input and is not to be cut")
        self.index = index


@dataclass(frozen=True, slots=True)
class Encoding:
    """A tokenized text, or pair of texts.

    Attributes:
        ids: its token ids, special tokens included, at least one.
        truncated: whether the text had more tokens than the model reads.
        type_ids: one per token, such as 1 in the second text of a pair; ``None`` if the graph reads none.
        capitals: whether the text is in capitals, which the ids of a lowercasing tokenizer do not show.
    """

    ids: list[int]
    truncated: bool
    type_ids: list[int] | None = None
    capitals: bool = False

    @property
    def row(self) -> bytes:
        """The graph's input for this text as bytes, without padding: texts with equal rows have equal answers."""
        return array("i", self.ids).tobytes() + array("i", self.type_ids or ()).tobytes()

    def answer(self, spec: ModelSpec, scores: Sequence[float], logits: Sequence[float] = ()) -> Prediction:
        """The prediction with these scores."""
        return Prediction(spec, scores, len(self.ids), self.truncated, logits, self.ids, self.capitals)


class Classifier:
    """One model: :meth:`encode` texts, then :meth:`predict` batches of encodings. Thread-safe.

    Each :meth:`predict` runs only on the calling thread, so concurrent calls share nothing.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load ``model.yaml``, ``model.onnx`` and ``tokenizer.json`` from ``folder``.

        Args:
            folder: the folder with the model's files.
            threads: the number of threads for a batch that :meth:`logits` spreads over several.

        Raises:
            SpecError: if ``model.yaml`` is not a valid spec.
            ModelFilesError: if a file is missing or damaged, or the graph's inputs and outputs do not match the spec.
        """
        self.spec = ModelSpec.load(folder)
        for name in (MODEL_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise ModelFilesError(f"{folder / name} does not exist; scripts/export.py {self.spec.name} writes it")
        load = partial(load_tokenizer, self.spec)
        self._tokenizer = _loaded(folder / TOKENIZER_FILE, load)
        # The direction is a setting of a tokenizer, which threads share. Single texts need only one: see _end.
        pairs = self.spec.input == "pair"
        self._left = _loaded(folder / TOKENIZER_FILE, partial(load, direction="left")) if pairs else None
        self._leading, self._trailing = _special_tokens(self._tokenizer)
        self._graph: Graph = _loaded(folder / MODEL_FILE, partial(Graph, threads=threads))
        self._check_graph()

    @property
    def pads(self) -> bool:
        """Whether texts of different lengths may share a batch, which requires an attention mask."""
        return self.spec.graph.attention_mask is not None

    def encode(self, texts: Sequence[Input], truncation: Truncation = "right") -> list[Encoding]:
        """Tokenize ``texts``; each encoding has at most ``spec.tokenization.max_tokens`` ids.

        Args:
            texts: the texts, or pairs of texts, to tokenize.
            truncation: the side on which longer texts are cut; special tokens stay.

        Raises:
            PairTooLong: if a pair has a text that is too long and that ``spec.tokenization.truncation`` does not cut.
        """
        tokenizer = self._left if truncation == "left" and self._left else self._tokenizer
        try:
            encodings = tokenizer.encode_batch_fast(list(texts))
        except Exception:  # the library has no exception class of its own
            if self.spec.tokenization.truncation == "longest_first":
                raise
            raise PairTooLong(next(index for index, text in enumerate(texts) if not _fits(tokenizer, text))) from None
        read = self._end if truncation == "left" and not self._left else partial(encoded, self.spec)
        return [read(encoding, in_capitals(text)) for encoding, text in zip(encodings, texts, strict=True)]

    def _end(self, encoding: TokenizerEncoding, capitals: bool) -> Encoding:
        """The encoding of a text truncated on the left, made from the ``encoding`` truncated on the right.

        The tokenizer returns the overflow in pieces, each with special tokens of its own.
        """
        first = encoded(self.spec, encoding, capitals)
        if not first.truncated:
            return first
        pieces = [encoding.ids, *(piece.ids for piece in encoding.overflowing)]
        content = [token for piece in pieces for token in piece[self._leading : len(piece) - self._trailing]]
        ids, room = first.ids, self.spec.tokenization.max_tokens - self._leading - self._trailing
        ids = [*ids[: self._leading], *content[-room:], *ids[len(ids) - self._trailing :]]
        return Encoding(ids, truncated=True, type_ids=first.type_ids, capitals=capitals)

    def predict(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        """Scores, float32 of shape ``[len(encodings), len(spec.labels)]``: the logits after the spec's activation.

        Raises:
            ValueError: if the lengths differ and the graph has no attention mask.
        """
        return activate(self.spec.activation, self.logits(encodings))

    def predict_many(self, texts: Sequence[Input], batch_texts: int = BATCH_TEXTS) -> npt.NDArray[np.float32]:
        """Scores of any number of texts, float32 ``[len(texts), len(spec.labels)]``, in input order.

        Computes in batches of near-equal length (equal, for a graph without an attention mask).
        """
        encodings = self.encode(texts)
        rows = np.empty((len(texts), len(self.spec.labels)), dtype=np.float32)
        lengths = [len(encoding.ids) for encoding in encodings]
        for indices in length_batches(lengths, batch_texts, equal=not self.pads):
            rows[indices] = self.predict([encodings[index] for index in indices])
        return rows

    def logits(self, encodings: Sequence[Encoding], *, spread: bool = False) -> npt.NDArray[np.float32]:
        """Graph outputs before :func:`activate`, float32 of shape ``[len(encodings), len(spec.labels)]``.

        Args:
            encodings: the batch.
            spread: whether to compute it on several threads, if :meth:`can_spread`.

        Raises:
            ValueError: if the lengths differ and the graph has no attention mask.
        """
        feeds = batch_feeds(self.spec, encodings)
        logits: npt.NDArray[np.float32] = self._graph.run(self.spec.graph.logits, feeds, spread=spread)
        return logits

    def can_spread(self) -> bool:
        """See :meth:`textserve.graph.Graph.can_spread`."""
        return self._graph.can_spread()

    def check_golden(self) -> None:
        """Predict the spec's golden texts.

        Raises:
            GoldenMismatch: listing each golden text, by index, whose answer is not the expected one.
        """
        spec = self.spec
        scores = self.predict_many([golden.input for golden in spec.golden], batch_texts=1)
        if wrong := golden_problems(spec, scores):
            raise GoldenMismatch(f"{spec.name}: {'; '.join(wrong)}")

    def _check_graph(self) -> None:
        graph = self.spec.graph
        declared = set(self._graph.inputs)
        named = {name for name in (graph.input_ids, graph.attention_mask, graph.token_type_ids) if name}
        if declared != named:
            raise ModelFilesError(
                f"{MODEL_FILE} has the inputs {sorted(declared)}, the spec's graph section names {sorted(named)}"
            )
        outputs = self._graph.outputs
        if graph.logits not in outputs:
            raise ModelFilesError(f"{MODEL_FILE} has the outputs {sorted(outputs)}, the spec names {graph.logits!r}")
        width = outputs[graph.logits][-1]
        if isinstance(width, int) and width != len(self.spec.labels):
            raise ModelFilesError(
                f"{MODEL_FILE} has {width} outputs per text, the spec has {len(self.spec.labels)} labels"
            )


def length_batches(lengths: Sequence[int], batch_texts: int, *, equal: bool = False) -> Iterator[list[int]]:
    """Indices of ``lengths`` in batches of at most ``batch_texts``, shortest first, which keeps padding low.

    Args:
        lengths: text lengths, in tokens or characters.
        batch_texts: maximum texts in a batch.
        equal: whether all lengths in a batch must be equal, as for a graph without an attention mask.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(batch) == batch_texts or (equal and batch and lengths[batch[0]] != lengths[index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def load_tokenizer(spec: ModelSpec, file: Path, direction: Truncation = "right") -> Tokenizer:
    """The tokenizer in ``file``, truncating at the model's maximum input and without padding."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(
        spec.tokenization.max_tokens, strategy=spec.tokenization.truncation, direction=direction
    )
    return tokenizer


def in_capitals(given: Input) -> bool:
    """Whether a text, or each text of a pair, has uppercase and no lowercase letters."""
    return given.isupper() if isinstance(given, str) else all(text.isupper() for text in given)


def encoded(spec: ModelSpec, encoding: TokenizerEncoding, capitals: bool = False) -> Encoding:
    """The :class:`Encoding` of a tokenizer's ``encoding``; a text without tokens becomes one padding token."""
    ids = encoding.ids or [spec.tokenization.pad_id]
    type_ids = (encoding.type_ids or [0]) if spec.graph.token_type_ids else None
    return Encoding(ids, bool(encoding.overflowing), type_ids, capitals)


def batch_feeds(spec: ModelSpec, encodings: Sequence[Encoding]) -> dict[str, npt.NDArray[np.int64]]:
    """Graph inputs for a batch: int64 arrays of shape ``[len(encodings), longest]``.

    Raises:
        ValueError: if the lengths differ and the graph has no attention mask.
    """
    graph, lengths = spec.graph, np.array([len(encoding.ids) for encoding in encodings])
    longest = int(lengths.max())
    right = spec.tokenization.padding_side == "right"

    def padded(rows: Iterable[Sequence[int]], padding: int) -> npt.NDArray[np.int64]:
        array = np.full((len(encodings), longest), padding, dtype=np.int64)
        for index, row in enumerate(rows):
            array[index, slice(len(row)) if right else slice(longest - len(row), longest)] = row
        return array

    feeds = {graph.input_ids: padded((encoding.ids for encoding in encodings), spec.tokenization.pad_id)}
    if graph.attention_mask:
        positions = np.arange(longest) if right else np.arange(longest)[::-1]
        feeds[graph.attention_mask] = (positions < lengths[:, None]).astype(np.int64)
    elif lengths.min() != longest:
        raise ValueError("texts of different length cannot share a batch: the graph has no attention mask")
    if graph.token_type_ids:
        feeds[graph.token_type_ids] = padded((encoding.type_ids or () for encoding in encodings), 0)
    return feeds


def activate(activation: Activation, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores of ``logits``, ``[texts, labels]``, same shape, float32."""
    return ACTIVATIONS[activation](logits)


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of ``logits`` that sum to 1 along the last axis, same shape, float32."""
    with np.errstate(invalid="ignore"):  # for logits that are not finite
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities: npt.NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The probability of each of ``logits`` on its own, same shape, float32."""
    # Of two equivalent formulas, the one whose exponential cannot overflow.
    small = np.exp(-np.abs(logits))
    probabilities: npt.NDArray[np.float32] = np.where(logits >= 0, np.float32(1), small) / (1 + small)
    return probabilities


ACTIVATIONS: Mapping[Activation, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


def golden_problems(spec: ModelSpec, scores: npt.NDArray[np.float32]) -> list[str]:
    """A sentence for each golden text whose answer, by its row of ``scores``, is not the one in the spec."""
    problems = []
    for index, (golden, row) in enumerate(zip(spec.golden, scores.tolist(), strict=True)):
        prediction = Prediction(spec, row, tokens=0, truncated=False)
        if golden.score is not None:
            tolerance = golden.tolerance or DEFAULT_TOLERANCE
            found, expected = f"{prediction.score:.4g}", f"{golden.score:.4g} within {tolerance:g}"
            right = abs(prediction.score - golden.score) <= tolerance
        elif golden.labels is not None:
            found, expected = (", ".join(labels) or "no label" for labels in (prediction.labels, golden.labels))
            right = set(prediction.labels) == set(golden.labels)
        else:
            found, expected = prediction.label, str(golden.label)
            right = found == expected
        if not right:
            problems.append(f"golden[{index}] is {found}, expected {expected}")
    return problems


def _loaded(file: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(file)
    except Exception as error:  # the libraries share no exception class
        raise ModelFilesError(f"{file} cannot be loaded: {error}") from error


def _special_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """The number of special tokens before a text, and after it."""
    mask = tokenizer.encode("a").special_tokens_mask
    return mask.index(0), mask[::-1].index(0)


def _fits(tokenizer: Tokenizer, text: Input) -> bool:
    try:
        tokenizer.encode_batch_fast([text])
    except Exception:  # as above
        return False
    return True
