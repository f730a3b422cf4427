"""Loads the model while the service around it is still being loaded.

Half of the time that each of the two takes is spent where Python is not needed, so they go on at the same time. Who
starts the process calls :func:`load_early`, and the application, which knows nothing of that, calls :func:`load`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from textserve.classifier import Classifier

_early: dict[Path, Future[Classifier]] = {}


def load_early(folder: Path) -> None:
    """Begin to load the model in ``folder``; what is wrong with it is said by :func:`load`."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="load")
    _early[folder.resolve()] = pool.submit(Classifier, folder)
    pool.shutdown(wait=False)


def load(folder: Path) -> Classifier:
    """The model in ``folder``, which may have been begun to be loaded.

    Raises:
        SpecError, ModelFilesError: if the folder holds no usable model.
    """
    begun = _early.pop(folder.resolve(), None)
    return begun.result() if begun else Classifier(folder)
