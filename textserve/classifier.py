"""From texts to probabilities: the tokenizer and the ONNX graph of one model, and nothing of queues or protocols."""

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
# Texts that are computed together where nobody waits for a single one.
BATCH_TEXTS = 32

# Encoding a list of texts must not start a thread pool of its own beside the runner's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ort.disable_telemetry_events()

Truncation = Literal["right", "left"]


class ModelFilesError(ValueError):
    """The model's folder lacks a file, or the graph and the spec do not fit each other."""


class GoldenMismatch(ValueError):
    """The model does not answer its own golden texts with the labels of its spec."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A tokenized text: its token ids, special tokens included, and whether some were cut off."""

    ids: list[int]
    truncated: bool


class Classifier:
    """One model: :meth:`encode` texts, then :meth:`predict` batches of encodings. Safe to use from many threads.

    Each call of :meth:`predict` runs on the thread that makes it and on no other, so that side by side calls share
    nothing; threads of one call would cost more in waiting for each other than they gain on short texts.
    """

    def __init__(self, folder: Path) -> None:
        """Load ``model.yaml``, ``model.onnx`` and ``tokenizer.json`` from ``folder``.

        Raises:
            SpecError: if ``model.yaml`` is not a valid spec.
            ModelFilesError: if a file is missing or damaged, or the graph does not have the inputs and outputs of the
                spec.
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
        """Whether texts of different length may share a batch: the graph has an attention mask to hide padding."""
        return self.spec.graph.attention_mask is not None

    def encode(self, texts: Sequence[str], truncation: Truncation = "right") -> list[Encoding]:
        """Tokenize ``texts``; each encoding has at most ``spec.tokenization.max_tokens`` ids.

        Args:
            texts: what to tokenize.
            truncation: the side of a longer text that is cut off; the special tokens stay.
        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        if truncation == "left":
            return [Encoding(self._end(encoding), bool(encoding.overflowing)) for encoding in encodings]
        return [Encoding(encoding.ids, bool(encoding.overflowing)) for encoding in encodings]

    def _end(self, encoding: TokenizerEncoding) -> list[int]:
        """The ids of a text that is cut off on the right, as if it were on the left.

        The tokenizer hands over what it cuts off, in pieces with special tokens of their own. Its own direction is a
        setting of the whole tokenizer, which threads share.
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
        """Probabilities of any number of texts, float32 ``[len(texts), len(spec.labels)]``, in the order given.

        Texts are computed in batches of near-equal length; results do not depend on the batch.
        """
        encodings = self.encode(texts)
        rows = np.empty((len(texts), len(self.spec.labels)), dtype=np.float32)
        lengths = [len(encoding.ids) for encoding in encodings]
        for indices in length_batches(lengths, batch_texts, equal=not self.pads):
            rows[indices] = self.predict([encodings[index] for index in indices])
        return rows

    def logits(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        """What the graph answers before :func:`softmax`, float32 of shape ``[len(encodings), len(spec.labels)]``.

        Raises:
            ValueError: if the lengths differ and the graph has no attention mask.
        """
        feeds = batch_feeds(self.spec, [encoding.ids for encoding in encodings])
        logits: npt.NDArray[np.float32] = self._session.run([self.spec.graph.logits], feeds)[0]
        return logits

    def check_golden(self) -> None:
        """Answer the spec's golden texts, one by one.

        Raises:
            GoldenMismatch: naming each golden text, by its place in the spec, whose label is not the expected one.
        """
        golden, meanings = self.spec.golden, self.spec.meanings
        encodings = self.encode([text.text for text in golden])
        found = [meanings[int(self.predict([encoding]).argmax())] for encoding in encodings]
        wrong = [
            f"golden[{place}] is {label}, expected {text.label}"
            for place, (text, label) in enumerate(zip(golden, found, strict=True))
            if label != text.label
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
                f"{MODEL_FILE} has {width} outputs a text, the spec has {len(self.spec.labels)} labels"
            )


def length_batches(lengths: Sequence[int], batch_texts: int, *, equal: bool = False) -> Iterator[list[int]]:
    """Indices of ``lengths`` in batches of at most ``batch_texts``, shortest first: padding is what batching costs.

    Args:
        lengths: of each text, in tokens or characters.
        batch_texts: texts in a batch at most.
        equal: whether the lengths in a batch must be equal, as for a graph without an attention mask.
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
    """The tokenizer of ``file``, cutting at the longest input of the model and without padding."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.tokenization.max_tokens)
    return tokenizer


def batch_feeds(spec: ModelSpec, ids: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[np.int64]]:
    """What the graph is fed with for texts of these token ids: int64 arrays of shape ``[len(ids), longest]``.

    Raises:
        ValueError: if the lengths differ and the graph has no attention mask.
    """
    graph, lengths = spec.graph, [len(one) for one in ids]
    longest = max(lengths)
    padded = np.full((len(ids), longest), spec.tokenization.pad_id, dtype=np.int64)
    for row, one in enumerate(ids):
        padded[row, : lengths[row]] = one
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
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _loaded(file: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(file)
    except Exception as error:  # each library has classes of its own, or none
        raise ModelFilesError(f"{file} cannot be loaded: {error}") from error


def _special_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before a text, and how many after it."""
    mask = tokenizer.encode("a").special_tokens_mask
    return mask.index(0), mask[::-1].index(0)


def open_session(file: Path) -> ort.InferenceSession:
    """A session of the graph in ``file`` that computes on the thread which calls it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # With one thread a run there is nothing to spin for; it would burn the core that another run needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
