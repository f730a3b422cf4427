"""From texts to probabilities: the tokenizer and ONNX graph of one model. No queues and no protocols here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Encoding as TokenizerEncoding
from tokenizers import Tokenizer

from textserve.spec import ModelSpec

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
# Batch size where throughput matters and latency does not.
BATCH_TEXTS = 32

# The tokenizer must not start a thread pool beside the runner's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ort.disable_telemetry_events()

Truncation = Literal["right", "left"]


class ModelFilesError(ValueError):
    """A model file is missing or damaged, or the graph does not match the spec."""


class GoldenMismatch(ValueError):
    """The model's predictions for its golden texts differ from the labels in its spec."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A tokenized text: its token ids, special tokens included, and whether it was truncated."""

    ids: list[int]
    truncated: bool


class Classifier:
    """One model: :meth:`encode` texts, then :meth:`predict` batches of encodings. Thread-safe.

    Each :meth:`predict` runs only on the calling thread, so concurrent calls share nothing. On short texts,
    synchronizing several threads within one call would cost more than they gain.
    """

    def __init__(self, folder: Path) -> None:
        """Load ``model.yaml``, ``model.onnx`` and ``tokenizer.json`` from ``folder``.

        Raises:
            SpecError: if ``model.yaml`` is not a valid spec.
            ModelFilesError: if a file is missing or damaged, or the graph's inputs and outputs do not match the spec.
        """
        self.spec = ModelSpec.load(folder)
        for name in (MODEL_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise ModelFilesError(f"{folder / name} does not exist; scripts/export.py {self.spec.name} writes it")
        self._tokenizer = _loaded(folder / TOKENIZER_FILE, partial(load_tokenizer, self.spec))
        self._leading, self._trailing = _special_tokens(self._tokenizer)
        self._session = _loaded(folder / MODEL_FILE, open_session)
        self._check_graph()

    @property
    def pads(self) -> bool:
        """Whether texts of different lengths may share a batch, which takes an attention mask."""
        return self.spec.graph.attention_mask is not None

    def encode(self, texts: Sequence[str], truncation: Truncation = "right") -> list[Encoding]:
        """Tokenize ``texts``; each encoding has at most ``spec.tokenization.max_tokens`` ids.

        Args:
            texts: the texts to tokenize.
            truncation: the side on which longer texts are cut; special tokens stay.
        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        if truncation == "left":
            return [Encoding(self._end(encoding), bool(encoding.overflowing)) for encoding in encodings]
        return [Encoding(encoding.ids, bool(encoding.overflowing)) for encoding in encodings]

    def _end(self, encoding: TokenizerEncoding) -> list[int]:
        """The ids of a text truncated on the left, from its encoding truncated on the right.

        The tokenizer returns the overflow in pieces, each with special tokens of its own. Its truncation direction is
        a setting of the tokenizer, which threads share, so it cannot change per call.
        """
        pieces = [encoding.ids, *(piece.ids for piece in encoding.overflowing)]
        content = [token for piece in pieces for token in piece[self._leading : len(piece) - self._trailing]]
        first, room = pieces[0], self.spec.tokenization.max_tokens - self._leading - self._trailing
        return [*first[: self._leading], *content[-room:], *first[len(first) - self._trailing :]]

    def predict(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        """Probabilities, float32 of shape ``[len(encodings), len(spec.labels)]``, each row summing to 1.

        Raises:
            ValueError: if the lengths differ and the graph has no attention mask.
        """
        return softmax(self.logits(encodings))

    def predict_many(self, texts: Sequence[str], batch_texts: int = BATCH_TEXTS) -> npt.NDArray[np.float32]:
        """Probabilities of any number of texts, float32 ``[len(texts), len(spec.labels)]``, in input order.

        Computes in batches of near-equal length (equal, for a graph without an attention mask).
        """
        encodings = self.encode(texts)
        rows = np.empty((len(texts), len(self.spec.labels)), dtype=np.float32)
        lengths = [len(encoding.ids) for encoding in encodings]
        for indices in length_batches(lengths, batch_texts, equal=not self.pads):
            rows[indices] = self.predict([encodings[index] for index in indices])
        return rows

    def logits(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        """Graph outputs before :func:`softmax`, float32 of shape ``[len(encodings), len(spec.labels)]``.

        Raises:
            ValueError: if the lengths differ and the graph has no attention mask.
        """
        feeds = batch_feeds(self.spec, [encoding.ids for encoding in encodings])
        logits: npt.NDArray[np.float32] = self._session.run([self.spec.graph.logits], feeds)[0]
        return logits

    def check_golden(self) -> None:
        """Predict the spec's golden texts.

        Raises:
            GoldenMismatch: listing each golden text, by index, whose predicted label is not the expected one.
        """
        golden, meanings = self.spec.golden, self.spec.meanings
        winners = self.predict_many([text.text for text in golden], batch_texts=1).argmax(axis=1)
        wrong = [
            f"golden[{index}] is {meanings[winner]}, expected {text.label}"
            for index, (text, winner) in enumerate(zip(golden, winners, strict=True))
            if meanings[winner] != text.label
        ]
        if wrong:
            raise GoldenMismatch(f"{self.spec.name}: {'; '.join(wrong)}")

    def _check_graph(self) -> None:
        graph = self.spec.graph
        declared = {argument.name for argument in self._session.get_inputs()}
        named = {name for name in (graph.input_ids, graph.attention_mask, graph.token_type_ids) if name}
        if declared != named:
            raise ModelFilesError(
                f"{MODEL_FILE} has the inputs {sorted(declared)}, the spec's graph section names {sorted(named)}"
            )
        outputs = {argument.name: argument.shape for argument in self._session.get_outputs()}
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


def load_tokenizer(spec: ModelSpec, file: Path) -> Tokenizer:
    """The tokenizer in ``file``, truncating at the model's maximum input and without padding."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.tokenization.max_tokens)
    return tokenizer


def batch_feeds(spec: ModelSpec, ids: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[np.int64]]:
    """Graph inputs for the token ids of a batch: int64 arrays of shape ``[len(ids), longest]``.

    Raises:
        ValueError: if the lengths differ and the graph has no attention mask.
    """
    graph, lengths = spec.graph, [len(row) for row in ids]
    longest = max(lengths)
    padded = np.full((len(ids), longest), spec.tokenization.pad_id, dtype=np.int64)
    for index, row in enumerate(ids):
        padded[index, : lengths[index]] = row
    feeds = {graph.input_ids: padded}
    if graph.attention_mask:
        feeds[graph.attention_mask] = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    elif min(lengths) != longest:
        raise ValueError("texts of different length cannot share a batch: the graph has no attention mask")
    if graph.token_type_ids:
        feeds[graph.token_type_ids] = np.zeros_like(padded)
    return feeds


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of ``logits`` along the last axis, same shape, float32."""
    with np.errstate(invalid="ignore"):  # of logits that are not finite
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities: npt.NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _loaded(file: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(file)
    except Exception as error:  # the libraries share no exception class
        raise ModelFilesError(f"{file} cannot be loaded: {error}") from error


def _special_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """The number of special tokens before a text, and after it."""
    mask = tokenizer.encode("a").special_tokens_mask
    return mask.index(0), mask[::-1].index(0)


def open_session(file: Path) -> ort.InferenceSession:
    """An ONNX Runtime session that computes only on the calling thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A single thread waits for nobody; spinning would only take the core that another run needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
