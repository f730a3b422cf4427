"""BentoML's stores below ``BENTOML_HOME``: writes into them, and their layout, which its Python API does not expose.

Checked with BentoML 1.4.39 (``bentoml._internal.store``).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textserve.environment import unset_empty

# What lies in HOME/tmp for longer than a day was left by a process that was killed.
STALE_SECONDS = 86_400


class StoreError(Exception):
    """``BENTOML_HOME`` cannot be used."""


def find_model(tag: str) -> Any:
    """The stored ``bentoml.Model`` of the tag NAME:VERSION or NAME:latest; ``None`` if it is missing or damaged.

    Raises:
        StoreError: if ``BENTOML_HOME`` is not a folder and cannot be made one.
    """
    bentoml = _bentoml()
    try:
        return bentoml.models.get(tag)
    except bentoml.exceptions.BentoMLException:
        return None


def set_latest(item: Path) -> None:
    """Make a stored item, in the folder ``NAME/VERSION``, the one that the tag ``NAME:latest`` resolves to.

    BentoML moves ``latest`` only when it creates or deletes an item, and has no call that moves it back. Writes nothing
    if the item is the latest already, so that a read-only store works.
    """
    latest = item.parent / "latest"
    with contextlib.suppress(OSError):
        if latest.read_text(encoding="utf-8") == item.name:
            return
    with tempfile.TemporaryDirectory(dir=staging_folder(item.parents[2])) as folder:
        file = Path(folder, "latest")
        file.write_text(item.name, encoding="utf-8")
        file.replace(latest)


@contextlib.contextmanager
def create_model(tag: str, **options: Any) -> Iterator[Path]:
    """Create a model ``NAME:VERSION``: yields a staging folder, and moves it into the store once it is complete.

    Replaces a stored model of that tag. ``options`` are those of ``bentoml.models.create``, which would write into the
    store itself: an interrupted write would leave half a model, which counts as saved.
    """
    bentoml = _bentoml()
    from bentoml._internal.container import BentoMLContainer
    from bentoml._internal.models import ModelStore

    home = Path(BentoMLContainer.bentoml_home.get())
    with tempfile.TemporaryDirectory(dir=staging_folder(home)) as folder:
        with bentoml.models.create(tag, _model_store=ModelStore(folder), **options) as model:
            yield Path(model.path)
        move_into(home / "models", Path(folder, *tag.split(":")))


@contextlib.contextmanager
def home_aside(model: Path) -> Iterator[Path]:
    """A temporary ``BENTOML_HOME`` with the model store of a stored model, ``HOME/models/NAME/VERSION``, and no Bentos.

    BentoML writes Bentos into the store itself, where an interrupted build leaves half of one, which counts as built.
    :func:`move_into` moves a complete Bento into the store. BentoML has no setting for the folder of one store alone.
    """
    with tempfile.TemporaryDirectory(dir=staging_folder(model.parents[2])) as home:
        Path(home, "models").symlink_to(model.parents[1], target_is_directory=True)
        yield Path(home)


def move_into(store: Path, item: Path) -> None:
    """Move a complete ``item``, in a folder ``NAME/VERSION``, into ``store``, where it replaces a damaged item."""
    target = store / item.parent.name / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            # Atomic; fails if the target exists and is not empty.
            item.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        # Other processes never see the item without some of its files.
        with (
            tempfile.TemporaryDirectory(dir=staging_folder(store.parent)) as folder,
            contextlib.suppress(FileNotFoundError),
        ):
            target.rename(Path(folder, "replaced"))
    set_latest(target)


def staging_folder(home: Path) -> Path:
    """Create and return ``HOME/tmp``: on the same file system as the stores, and outside of them."""
    folder = home / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)
    return folder


def _bentoml() -> Any:
    unset_empty("BENTOML_")
    home = Path(os.path.expandvars(os.environ.get("BENTOML_HOME", "~"))).expanduser()
    if "BENTOML_HOME" in os.environ:
        os.environ["BENTOML_HOME"] = str(home)  # BentoML expands less
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"BENTOML_HOME: {home} cannot be used as a folder: {error.strerror}") from None
    return importlib.import_module("bentoml")
