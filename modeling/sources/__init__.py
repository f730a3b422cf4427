"""Fetch a checkpoint from its source into a folder, and check that it is complete and has the right digests.

:mod:`~modeling.sources.hub` reads a Hugging Face hub, :mod:`~modeling.sources.tracking` reads MLflow, and
:mod:`~modeling.sources.selection` selects the files.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from modeling.errors import ModelingError
from modeling.files import ROOT, ModelFiles, sha256
from modeling.sources import hub, selection
from modeling.spec import ModelSpec, Source, is_path
from textserve.spec import SPEC_FILE, SpecError

CARD_FILE = "README.md"
HUB_ID = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
MLFLOW_SCHEMES = ("models:/", "runs:/")


def download(files: ModelFiles, other: str | None, *, allow_pickle: bool) -> str:
    """Fetch the checkpoint, or ``other``, add the section ``source``, and return a summary; raises as :func:`fetch`."""
    spec, folder = _spec(files), f"build/{files.folder.name}/checkpoint"
    source = override(spec.source, other) if other else spec.source
    if source.kind == "training":
        if (files.checkpoint / "config.json").exists():
            return f"{folder}: exists from training; nothing to fetch"
        raise ModelingError(
            f"{spec.name}: its checkpoint comes from training: make train MODEL={spec.name}, or fetch a trained one "
            "with --source (a folder, or models:/NAME@ALIAS of MLflow)"
        )
    if _is_there(files, source):
        return f"{folder}: has {source.repository}@{source.revision} already"
    section = fetch(source, files.checkpoint, allow_pickle=allow_pickle)
    files.add_to_report("source", section)
    revision = f"@{section['revision']}" if "revision" in section else ""
    size = sum((files.checkpoint / name).stat().st_size for name in section["sha256"])
    return f"{folder}: {len(section['sha256'])} files, {size / 1e6:.1f} MB from {section['repository']}{revision}"


def _is_there(files: ModelFiles, source: Source) -> bool:
    """Whether the checkpoint is the whole commit of ``source`` on the hub; other sources may have changed since."""
    recorded = files.report().get("source", {})
    of = ("kind", "repository", "revision")
    if source.kind != "huggingface" or [recorded.get(key) for key in of] != [getattr(source, key) for key in of]:
        return False
    found = _digests(files.checkpoint)
    return found == recorded["sha256"] and source.sha256.items() <= found.items()


def locate(location: str) -> Source:
    """The pinned source of ``location``: a folder, or ``ID`` or ``ID@REVISION`` on the hub, by default its main branch.

    Raises :class:`ModelingError` if it is neither, or the hub does not have it.
    """
    folder = Path(location).expanduser()
    if location and folder.is_dir():
        path = folder.resolve()
        return Source(kind="folder", repository=str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))
    match = HUB_ID.fullmatch(location)
    if match is None or is_path(location):
        raise ModelingError(f"SOURCE={location}: is neither a folder nor an id on the hub, OWNER/NAME or ID@REVISION")
    repository, revision = match["repository"], match["revision"] or "main"
    return Source(kind="huggingface", repository=repository, revision=hub.commit_of(repository, revision))


def glance(source: Source, into: Path) -> None:
    """Copy only the configuration of a checkpoint, and its card if it has one, into the folder ``into``.

    Raises :class:`ModelingError` if the source cannot be read, or is no checkpoint.
    """

    def select(names: list[str]) -> list[str]:
        selection.check_checkpoint(names)
        return [name for name in (selection.CONFIG_FILE, CARD_FILE) if name in names]

    with _plain_disk_errors():
        _files(source.repository, source.revision, into, select, local=source.kind == "folder")


def _spec(files: ModelFiles) -> ModelSpec:
    """The spec. If its revision is a branch or a tag, the error names the commit to pin."""
    try:
        return files.spec()
    except SpecError:
        file, content = files.folder / SPEC_FILE, None
        with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        match content:
            case {"source": {"kind": "huggingface", "repository": repository, **other}}:
                revision = str(other.get("revision", "main"))
                if not COMMIT.fullmatch(revision):
                    problem = _unpinned(str(repository), revision)
                    raise ModelingError(f"{file}: source.revision: {problem}") from None
        raise


def _unpinned(repository: str, revision: str) -> str:
    commit = hub.commit_of(repository, revision)
    return f"{revision!r} is a branch or a tag, which moves; the commit to pin is {commit}"


def override(source: Source, other: str) -> Source:
    """``source`` with another location: a folder, an MLflow URI, or ``ID@COMMIT`` on the hub.

    The digests of ``source`` still apply. A ready ONNX file then has its tokenizer beside it. Raises
    :class:`ModelingError` if ``other`` is none of these, or names a branch or a tag.
    """
    ready, revision = source.kind == "onnx", None
    if other.startswith(MLFLOW_SCHEMES) and not ready:
        kind, repository = "mlflow", other
    elif Path(other).expanduser().is_dir():
        kind, repository = "folder", str(Path(other).expanduser().resolve())
    elif (match := HUB_ID.fullmatch(other)) and match["revision"]:
        kind, repository, revision = "huggingface", match["repository"], match["revision"]
        if not COMMIT.fullmatch(revision):
            raise ModelingError(f"--source {other}: {_unpinned(repository, revision)}")
    else:
        forms = "a folder, ID@COMMIT" + ("" if ready else ", models:/NAME@ALIAS, models:/NAME/VERSION, runs:/…")
        raise ModelingError(f"--source {other}: is neither an existing folder nor another source; give {forms}")
    # The digests of a training source are those of its base checkpoint.
    digests = {} if source.kind == "training" else source.sha256
    kind = "onnx" if ready else kind
    return Source.model_validate({"kind": kind, "repository": repository, "revision": revision, "sha256": digests})


def fetch(source: Source, folder: Path, *, allow_pickle: bool = False) -> dict[str, Any]:
    """Atomically replace ``folder`` by the files of ``source``, and return the section ``source`` of the report.

    ``source`` is of any kind but ``training``; ``allow_pickle`` accepts ``pytorch_model.bin`` where there are no
    safetensors. Raises :class:`ModelingError` if the source cannot be fetched, is incomplete, or does not match the
    digests of the spec.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _plain_disk_errors(), tempfile.TemporaryDirectory(prefix="download-", dir=folder.parent) as temporary:
        into = Path(temporary) / folder.name
        into.mkdir()
        section = _ready_onnx(source, into) if source.kind == "onnx" else _checkpoint(source, into, allow_pickle)
        digests = _digests(into)
        _check_digests(source, digests)
        selection.check_complete(into)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        into.rename(folder)
    return {"kind": source.kind, "repository": source.repository, **section, "sha256": digests}


def _checkpoint(source: Source, into: Path, allow_pickle: bool) -> dict[str, Any]:
    select = partial(selection.checkpoint_files, allow_pickle=allow_pickle)
    if source.kind != "mlflow":
        return _files(source.repository, source.revision, into, select, local=source.kind == "folder")
    # MLflow takes seconds to import, and most sources do not need it.
    from modeling.sources import tracking

    with tempfile.TemporaryDirectory(prefix="mlflow-", dir=into.parent) as temporary:
        fetched, section = tracking.fetch(source.repository, Path(temporary))
        _copy(fetched, into, select)
    return section


def _ready_onnx(source: Source, into: Path) -> dict[str, Any]:
    select, repository = selection.tokenizer_files, source.repository
    section = _files(repository, source.revision, into, lambda names: list(source.sha256), local=is_path(repository))
    if source.tokenizer is None:
        _files(repository, section.get("revision"), into, select, local=is_path(repository))
        return section
    repository = source.tokenizer.repository
    own = _files(repository, source.tokenizer.revision, into, select, local=is_path(repository))
    return {**section, "tokenizer": {"repository": repository, **own}}


def _files(repository: str, revision: str | None, into: Path, select: hub.Select, *, local: bool) -> dict[str, Any]:
    """Copy the selected files of a folder or of a repository on the hub, and return its commit as ``revision``."""
    if not local:
        return {"revision": hub.fetch(repository, revision, into, select)}
    folder = ROOT / Path(repository).expanduser()
    if not folder.is_dir():
        raise ModelingError(f"{folder}: is not a folder; source.repository is relative to the project's root")
    _copy(folder, into, select)
    return {}


def _copy(folder: Path, into: Path, select: hub.Select) -> None:
    try:
        names = select(sorted(file.name for file in folder.iterdir() if file.is_file()))
    except ModelingError as error:
        raise ModelingError(f"{folder}: {error}") from error
    for name in names:
        if not (folder / name).is_file():
            raise ModelingError(f"{folder}: has no {name}")
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, into / name)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by path; a ready ONNX file may be in a subfolder."""
    return {file.relative_to(folder).as_posix(): sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}


def _check_digests(source: Source, found: dict[str, str]) -> None:
    for name, wanted in source.sha256.items():
        if name not in found:
            raise ModelingError(f"{source.repository}: has no {name}, which is in source.sha256")
        if found[name] != wanted:
            mismatch = f"its SHA-256 is {found[name]}, source.sha256 has {wanted}"
            raise ModelingError(f"{source.repository}: {name} is not the file of the spec: {mismatch}")


@contextmanager
def _plain_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = error.strerror
        if error.errno == errno.ENOSPC:
            reason = "no space left; free some, or set HF_HOME to another folder for the hub's files"
        raise ModelingError(f"{error.filename or 'the disk'}: {reason}") from error
