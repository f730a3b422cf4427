"""Loads the model in parallel with the imports of the service; each spends about half of its time without the GIL.

The process's entry point may call :func:`load_early`; the application calls :func:`load`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from textserve.classifier import Classifier

_early: dict[Path, Future[Classifier]] = {}


def load_early(folder: Path, threads: int) -> None:
    """Start loading the model in ``folder`` with ``threads``, as for ``Classifier``; :func:`load` raises its errors."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="load")
    _early[folder.resolve()] = pool.submit(Classifier, folder, threads)
    pool.shutdown(wait=False)


def load(folder: Path, threads: int) -> Classifier:
    """The model in ``folder``, from :func:`load_early` if it was called.

    Raises:
        SpecError, ModelFilesError: if the folder has no usable model.
    """
    early = _early.pop(folder.resolve(), None)
    return early.result() if early else Classifier(folder, threads)
