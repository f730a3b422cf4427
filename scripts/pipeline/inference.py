"""Running ONNX files beside each other: the feeds of a text, sessions on a number of threads, and their speed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from sentiment.spec import ModelSpec

Feeds = Mapping[str, npt.NDArray[np.int64]]


def load_tokenizer(spec: ModelSpec, file: Path) -> Tokenizer:
    """The tokenizer of ``file``, cutting at the longest input of the model and without padding."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.tokenization.max_tokens)
    return tokenizer


def feeds(spec: ModelSpec, tokenizer: Tokenizer, text: str) -> Feeds:
    """What the graph is fed with for one text: int64 arrays of shape ``[1, tokens]``."""
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    values = {spec.graph.input_ids: ids}
    if spec.graph.attention_mask:
        values[spec.graph.attention_mask] = np.ones_like(ids)
    if spec.graph.token_type_ids:
        values[spec.graph.token_type_ids] = np.zeros_like(ids)
    return values


def open_session(file: Path, threads: int = 1) -> ort.InferenceSession:
    """A session of ``file`` on ``threads`` threads that do not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def texts_per_second(files: Sequence[Path], inputs: Sequence[Feeds], rounds: int = 5) -> list[float]:
    """Speed of each file, one text at a time on one thread: the median of ``rounds``, taken in turns.

    Turns, because a machine that others share changes its speed from minute to minute: only ratios within one call
    mean anything.
    """
    sessions = [open_session(file) for file in files]
    seconds: list[list[float]] = [[] for _ in files]
    for _ in range(rounds + 1):
        for times, session in zip(seconds, sessions, strict=True):
            started = time.perf_counter()
            for values in inputs:
                session.run(None, dict(values))
            times.append(time.perf_counter() - started)
    return [len(inputs) / float(np.median(times[1:])) for times in seconds]
