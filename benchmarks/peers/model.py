"""A plain implementation of the model: tokenize, pad to the longest, run, take the most probable label.

``$BENCHMARK_MODEL`` is the folder with ``model.yaml``, ``model.onnx`` and ``tokenizer.json``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer
from typing_extensions import TypedDict  # required by pydantic before Python 3.12

from textserve.spec import ModelSpec

FOLDER_VARIABLE = "BENCHMARK_MODEL"


class Answer(TypedDict):
    """The label of a text and its score."""

    label: str
    score: float


class Model:
    """Tokenizer and ONNX graph; a run uses the calling thread only."""

    def __init__(self) -> None:
        folder = Path(os.environ[FOLDER_VARIABLE])
        self._spec = ModelSpec.load(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(self._spec.tokenization.max_tokens)
        self._tokenizer.enable_padding(pad_id=self._spec.tokenization.pad_id)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def __call__(self, texts: Sequence[str]) -> list[Answer]:
        """Classify ``texts`` as one padded batch."""
        graph = self._spec.graph
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        feeds = {graph.input_ids: ids}
        if graph.attention_mask:
            feeds[graph.attention_mask] = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        if graph.token_type_ids:
            feeds[graph.token_type_ids] = np.zeros_like(ids)
        (logits,) = self._session.run([graph.logits], feeds)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1)
        return [
            {"label": self._spec.label_names[index], "score": float(row[index])}
            for index, row in zip(best, probabilities, strict=True)
        ]
