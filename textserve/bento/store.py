"""The layout of BentoML's stores below ``BENTOML_HOME``, which its Python API does not expose.

Checked with BentoML 1.4.39 (``bentoml._internal.store``).
"""

from __future__ import annotations

from pathlib import Path


def set_latest(model: Path) -> None:
    """Make a stored model, in the folder ``models/NAME/VERSION``, the one that the tag ``NAME:latest`` resolves to.

    BentoML moves ``latest`` only when it creates or deletes a model, and has no call that moves it back.
    """
    (model.parent / "latest").write_text(model.name, encoding="utf-8")


def share_models(model: Path, home: Path) -> None:
    """Let the empty ``BENTOML_HOME`` in ``home`` have the model store that holds ``model``.

    ``BENTOML_HOME`` sets the folder of both stores, models and Bentos; no setting moves one of them alone.
    """
    (home / "models").symlink_to(model.parents[1], target_is_directory=True)


def bento_folder(home: Path, name: str, version: str) -> Path:
    """The folder of a Bento in ``home``: BentoML's Python API reads the store of its own process alone."""
    return home / "bentos" / name / version
