"""A model's ONNX graph in ONNX Runtime: computed on the calling thread, or spread over several."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from textserve.denormals import AsZero

logger = logging.getLogger(__name__)

LOWEST_PRIORITY = 19

ort.disable_telemetry_events()


class Graph:
    """One graph. Thread-safe: runs on the calling thread share nothing.

    A spread run needs a second session, which takes the memory of the weights again. The first :meth:`can_spread` loads
    it in the background, so a process that never asks does not pay for it.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        """Load ``file``; a spread run uses ``threads`` threads, one of them its caller. Raises as ONNX Runtime does."""
        self._file, self._threads = file, threads
        self._session = open_session(file)
        self._spread: ort.InferenceSession | None = None
        self._begun = threading.Lock()

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [argument.name for argument in self._session.get_inputs()]

    @property
    def outputs(self) -> dict[str, list[Any]]:
        """The shape of each output by name: numbers, or names of variable dimensions."""
        return {argument.name: argument.shape for argument in self._session.get_outputs()}

    def can_spread(self) -> bool:
        """Whether :meth:`run` can spread a run now. The first call starts to load the second session."""
        if self._threads > 1 and self._begun.acquire(blocking=False):  # never released: it is tried once
            threading.Thread(target=self._load, name="load", daemon=True).start()
        return self._spread is not None

    def run(self, output: str, feeds: dict[str, npt.NDArray[np.int64]], *, spread: bool = False) -> Any:
        """Compute an output, an array.

        Args:
            output: the name of the output.
            feeds: the inputs by name.
            spread: whether to use several threads, if :meth:`can_spread`. On little work, synchronizing them would
                cost more than they gain.
        """
        session = self._spread if spread and self._spread else self._session
        with AsZero():
            return session.run([output], feeds)[0]

    def _load(self) -> None:
        try:
            # The session's threads inherit this priority: they use idle cores, and make way for runs on one thread.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
            self._spread = open_session(self._file, self._threads)
        except Exception:  # ONNX Runtime raises many classes
            logger.exception("batches are not spread over threads: %s cannot be loaded again", self._file.name)


def open_session(file: Path, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session that computes on the calling thread and ``threads - 1`` of its own."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads spin while they wait for each other within an operator, which is faster than a wake-up by the kernel, but
    # not between runs: spinning would take the core that another run needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads > 1:  # for the session's own threads; Graph.run does it for the calling thread
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
