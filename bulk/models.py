"""Finds the model of a run: in the model store, in a folder, or at an address of pyarrow's file systems."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from bulk.addresses import Place, reason
from bulk.errors import BulkError
from textserve.bento.store import find_model
from textserve.classifier import MODEL_FILE, TOKENIZER_FILE, Classifier, GoldenMismatch
from textserve.drift import REFERENCE_FILE, Reference
from textserve.spec import SPEC_FILE, STORED_FOLDER, ModelSpec

FILES = (SPEC_FILE, MODEL_FILE, TOKENIZER_FILE)
TAG_DIGITS = 16


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on this machine.

    Attributes:
        name: by which another machine finds the model: NAME:VERSION in the store, a folder, or an address.
        folder: the model's files on this machine.
        tag: name and version, which the column ``model`` of the output has.
        digest: SHA-256 of the model's files.
        spec: the model's spec.
        reference: what the model read and answered on known texts, or ``None``.
    """

    name: str
    folder: Path
    tag: str
    digest: str
    spec: ModelSpec
    reference: Reference | None


def find(name: str) -> FoundModel:
    """Find a model by ``name``: NAME or NAME:VERSION in the model store, a folder, or an address ``…://…``.

    Raises:
        BulkError: if there is no such model, or a file is missing.
        SpecError: if its ``model.yaml`` is not valid.
    """
    if "://" in name:
        return _in_folder(name, _fetched(name))
    if "/" in name or Path(name).is_dir():
        return _in_folder(name, Path(name).expanduser())
    stored = find_model(name if ":" in name else f"{name}:latest")
    if stored is None:
        save = f"make save MODEL={name.partition(':')[0]}"
        raise BulkError(f"the model {name} is not in the model store; save it by {save}, or name a folder, ./{name}")
    folder = Path(stored.path) / STORED_FOLDER
    tag = str(stored.tag)
    return FoundModel(tag, folder, tag, _digest(name, folder), ModelSpec.load(folder), Reference.load(folder))


def load(found: FoundModel) -> Classifier:
    """Load the model, and check that it answers its golden texts.

    Raises:
        SpecError, ModelFilesError: if the model cannot be loaded.
        BulkError: if its answer to a golden text is wrong.
    """
    classifier = Classifier(found.folder)
    try:
        classifier.check_golden()
    except GoldenMismatch as error:
        raise BulkError(f"the model fails its golden texts, so its answers cannot be trusted: {error}") from None
    return classifier


def _in_folder(name: str, folder: Path) -> FoundModel:
    stored = folder / STORED_FOLDER
    folder = stored if stored.is_dir() else folder  # the folder is a model of a copied store
    digest = _digest(name, folder)
    spec = ModelSpec.load(folder)
    return FoundModel(name, folder, f"{spec.name}:{digest[:TAG_DIGITS]}", digest, spec, Reference.load(folder))


def _digest(name: str, folder: Path) -> str:
    digest = hashlib.sha256()
    for file in FILES:
        try:
            digest.update(hashlib.sha256((folder / file).read_bytes()).digest())
        except OSError as error:
            raise BulkError(f"the model {name}: {file} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


@functools.cache
def _fetched(address: str) -> Path:
    """Copy the model at ``address`` to a temporary folder, once per process, and return the folder."""
    place = Place.of(address)
    folder = Path(_temporary().name, hashlib.sha256(address.encode()).hexdigest()[:TAG_DIGITS])
    folder.mkdir()
    system, path = place.system, place.path
    try:
        if system.get_file_info(f"{path}/{STORED_FOLDER}").type == fs.FileType.Directory:
            path = f"{path}/{STORED_FOLDER}"
        has_reference = system.get_file_info(f"{path}/{REFERENCE_FILE}").type == fs.FileType.File
        for file in (*FILES, REFERENCE_FILE) if has_reference else FILES:
            with system.open_input_stream(f"{path}/{file}", compression=None) as source:
                (folder / file).write_bytes(source.read())
    except (OSError, pa.ArrowException) as error:
        raise BulkError(f"the model {address}: cannot be read: {reason(error)}") from None
    return folder


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="textserve-")
