"""From a source to a folder with a complete checkpoint whose digests are checked.

:func:`fetch` is the entry point. :mod:`~modeling.sources.hub` reads a Hugging Face hub,
:mod:`~modeling.sources.tracking` reads MLflow, and :mod:`~modeling.sources.selection` selects the files.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.files import ROOT, sha256
from modeling.sources import hub, selection
from modeling.spec import Source, is_path

HUB_ID = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)@(?P<revision>[\w./-]+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
MLFLOW_SCHEMES = ("models:/", "runs:/")


def override(source: Source, other: str) -> Source:
    """``source`` with another location: a folder, an MLflow URI, or ``ID@COMMIT`` on the hub.

    Its digests still apply. The tokenizer of a ready ONNX file is then the one beside it.

    Raises:
        ModelingError: if ``other`` is none of these, or names a branch or a tag.
    """
    ready = source.kind == "onnx"
    # The digests of a training source are those of its base checkpoint.
    common = {"sha256": {} if source.kind == "training" else source.sha256}
    if other.startswith(MLFLOW_SCHEMES) and not ready:
        return Source.model_validate({"kind": "mlflow", "repository": other, **common})
    if Path(other).expanduser().is_dir():
        folder = str(Path(other).expanduser().resolve())
        return Source.model_validate({"kind": "onnx" if ready else "folder", "repository": folder, **common})
    if match := HUB_ID.fullmatch(other):
        repository, revision = match["repository"], match["revision"]
        if not COMMIT.fullmatch(revision):
            raise ModelingError(f"--source {other}: {unpinned(repository, revision)}")
        kind = "onnx" if ready else "huggingface"
        return Source.model_validate({"kind": kind, "repository": repository, "revision": revision, **common})
    forms = "a folder, ID@COMMIT" if ready else "a folder, ID@COMMIT, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/…"
    raise ModelingError(f"--source {other}: is not an existing folder or another source; give {forms}")


def unpinned(repository: str, revision: str) -> str:
    """The error message for a branch or a tag as revision, with the commit to pin.

    Raises:
        ModelingError: if the hub does not have the revision, or does not answer.
    """
    commit = hub.commit_of(repository, revision)
    return f"{revision!r} is a branch or a tag, which moves; the commit to pin is {commit}"


def fetch(source: Source, folder: Path, *, allow_pickle: bool = False) -> dict[str, Any]:
    """Atomically replace ``folder`` by the files of ``source``, and return the section ``source`` of the report.

    Args:
        source: any kind but ``training``.
        folder: of the checkpoint, or of the ready ONNX file and its tokenizer.
        allow_pickle: accept ``pytorch_model.bin`` where there are no safetensors.

    Returns:
        Kind, repository, revision (hub), run and version (MLflow), the tokenizer's own repository and revision, and the
        SHA-256 of every file.

    Raises:
        ModelingError: if the source cannot be fetched, is incomplete, or does not match the digests of the spec.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _plain_disk_errors(), tempfile.TemporaryDirectory(prefix="download-", dir=folder.parent) as temporary:
        into = Path(temporary) / folder.name
        into.mkdir()
        section = _ready_onnx(source, into) if source.kind == "onnx" else _checkpoint(source, into, allow_pickle)
        digests = {file.name: sha256(file) for file in sorted(into.iterdir())}
        _check_digests(source, digests)
        selection.check_complete(into)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        into.rename(folder)
    return {"kind": source.kind, "repository": source.repository, **section, "sha256": digests}


def _checkpoint(source: Source, into: Path, allow_pickle: bool) -> dict[str, Any]:
    if source.kind == "huggingface":
        commit = hub.fetch(
            source.repository, source.revision, into, lambda names: selection.checkpoint_files(names, allow_pickle)
        )
        return {"revision": commit}
    if source.kind == "folder":
        _copy(_folder(source.repository), into, allow_pickle)
        return {}
    # MLflow takes seconds to import, and most sources do not need it.
    from modeling.sources import tracking

    with tempfile.TemporaryDirectory(prefix="mlflow-", dir=into.parent) as temporary:
        fetched, section = tracking.fetch(source.repository, Path(temporary))
        _copy(fetched, into, allow_pickle)
    return section


def _ready_onnx(source: Source, into: Path) -> dict[str, Any]:
    section: dict[str, Any] = {}
    wanted = list(source.sha256)
    if is_path(source.repository):
        _copy_files(_folder(source.repository), into, wanted)
    else:
        section["revision"] = hub.fetch(source.repository, source.revision, into, lambda names: wanted)
    if source.tokenizer is None:
        if is_path(source.repository):
            beside = _folder(source.repository)
            _copy_files(beside, into, selection.tokenizer_files(_names(beside)))
        else:
            hub.fetch(source.repository, section["revision"], into, selection.tokenizer_files)
    elif is_path(source.tokenizer.repository):
        tokens = _folder(source.tokenizer.repository)
        _copy_files(tokens, into, selection.tokenizer_files(_names(tokens)))
        section["tokenizer"] = {"repository": source.tokenizer.repository}
    else:
        commit = hub.fetch(source.tokenizer.repository, source.tokenizer.revision, into, selection.tokenizer_files)
        section["tokenizer"] = {"repository": source.tokenizer.repository, "revision": commit}
    return section


def _folder(path: str) -> Path:
    folder = ROOT / Path(path).expanduser()
    if not folder.is_dir():
        raise ModelingError(f"{folder}: is not a folder; source.repository is relative to the project's root")
    return folder


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file())


def _copy(folder: Path, into: Path, allow_pickle: bool) -> None:
    try:
        names = selection.checkpoint_files(_names(folder), allow_pickle)
    except ModelingError as error:
        raise ModelingError(f"{folder}: {error}") from error
    _copy_files(folder, into, names)


def _copy_files(folder: Path, into: Path, names: list[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ModelingError(f"{folder}: has no {name}")
        shutil.copyfile(folder / name, into / name)


def _check_digests(source: Source, found: dict[str, str]) -> None:
    for name, wanted in source.sha256.items():
        if name not in found:
            raise ModelingError(f"{source.repository}: has no {name}, which is in source.sha256")
        if found[name] != wanted:
            raise ModelingError(
                f"{source.repository}: {name} is not the file of the spec: its SHA-256 is {found[name]}, "
                f"source.sha256 has {wanted}"
            )


@contextmanager
def _plain_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # ModelingError and the hub's errors are no OSError here; what remains is the disk.
        if error.errno == errno.ENOSPC:
            raise ModelingError(
                f"{error.filename or 'the disk'}: no space left; free some, or set HF_HOME to another "
                "folder for the hub's files"
            ) from error
        if error.errno is None:
            raise
        raise ModelingError(f"{error.filename}: {error.strerror}") from error
