"""Finds inputs and outputs by name: a local path, an address of pyarrow's file systems, or - for a pipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import pyarrow as pa
from pyarrow import fs

from bulk.errors import BulkError

PIPE = "-"
Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
KNOWN = ", ".join(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder: its file system, its path in that file system, and the ``name`` that the user wrote."""

    system: fs.FileSystem
    path: str
    name: str

    @classmethod
    def of(cls, address: str) -> Place:
        """The file or folder at an address such as ``s3://bucket/key``, or at a local path.

        Raises:
            BulkError: if pyarrow does not know the address.
        """
        if "://" not in address:
            return cls(fs.LocalFileSystem(), str(Path(address).expanduser().absolute()), address)
        try:
            system, path = fs.FileSystem.from_uri(address)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BulkError(f"{address}: is not an address that pyarrow can open: {error}") from None
        return cls(system, path, address)

    @property
    def local(self) -> bool:
        """Whether the file or folder is on this machine's file system."""
        return isinstance(self.system, fs.LocalFileSystem)

    def kind(self) -> fs.FileType:
        """The type of the path: a file, a folder, or not found.

        Raises:
            BulkError: if the file system cannot tell, for example without permission to read.
        """
        try:
            return self.system.get_file_info(self.path).type
        except OSError as error:
            raise BulkError(f"{self.name}: cannot be read: {reason(error)}") from None

    def beside(self, prefix: str, suffix: str) -> Place:
        """The path in the same folder whose name has ``prefix`` and ``suffix`` added."""
        folder, _, own = self.path.rpartition("/")
        shown, slash, _ = self.name.rpartition("/")
        name = f"{prefix}{own}{suffix}"
        return Place(self.system, f"{folder}/{name}", f"{shown}{slash}{name}")


@dataclass(frozen=True, slots=True)
class Source:
    """One input file: where it is (``None`` for standard input), its format, and its size in bytes (0 if unknown)."""

    place: Place | None
    format: Format
    size: int

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return self.place.name if self.place else "standard input"


def sources(address: str, wanted: Format | None = None) -> list[Source]:
    """The files of ``address``: a file, all files of a known format in a folder, or those that match a pattern.

    The files are sorted by path; names that begin with . or _ are left out, as is usual for data sets.

    Args:
        address: a path or address; its last parts may contain ``*``, ``?`` and ``[…]``.
        wanted: the format, if the file's name does not tell it.

    Raises:
        BulkError: if there is no such file, or the format of a file is unknown.
    """
    if address == PIPE:
        return [Source(None, wanted or "jsonl", 0)]
    place = Place.of(address)
    kind = place.kind()
    if kind == fs.FileType.File:
        found = [place.system.get_file_info(place.path)]
    elif kind == fs.FileType.Directory:
        found = [info for info in _below(place, place.path) if wanted or _format(info.path)]
    elif pattern := re.search(r"[*?[]", place.path):
        base = place.path[: pattern.start()].rpartition("/")[0]
        found = [info for info in _below(place, base or "/") if _matches(info.path, place.path)]
    else:
        raise BulkError(f"{address}: does not exist")
    if not found:
        raise BulkError(f"{address}: has no file of a known format: {KNOWN}")
    one = kind == fs.FileType.File
    return [_source(place, info, address if one else _shown(address, place, info.path), wanted) for info in found]


def output_format(address: str, inputs: Sequence[Source], wanted: Format | None = None) -> Format:
    """The format of an output: ``wanted``, or that of the output's name, or for a pipe that of the input.

    Raises:
        BulkError: if the format is unknown, or cannot be written to a pipe.
    """
    if address != PIPE:
        found = wanted or _format(address)
        if found is None or address.endswith(tuple(COMPRESSED)):
            raise BulkError(f"{address}: its name does not tell the format; end it in {KNOWN}, or give --to")
        return found
    found = wanted or inputs[0].format
    if found == "parquet":
        raise BulkError("standard output: Parquet cannot be written to a pipe; give --to csv or --to jsonl")
    if found == "csv" and inputs[0].format == "jsonl":
        raise BulkError("standard output: the columns of JSON Lines are known only at the end; give --to jsonl")
    return found


def reason(error: BaseException) -> str:
    """The message of the operating system or pyarrow, in one line and without details."""
    strerror = getattr(error, "strerror", None)
    return strerror or str(error).split("\n", 1)[0].split(". Detail:", 1)[0]


def _below(place: Place, base: str) -> list[fs.FileInfo]:
    try:
        found = place.system.get_file_info(fs.FileSelector(base, recursive=True))
    except OSError as error:
        raise BulkError(f"{place.name}: cannot be listed: {reason(error)}") from None
    files = [info for info in found if info.type == fs.FileType.File]
    visible = [info for info in files if not re.search(r"(^|/)[._]", info.path[len(base) :])]
    return sorted(visible, key=lambda info: info.path)


def _matches(path: str, pattern: str) -> bool:
    same_depth = path.count("/") == pattern.count("/")
    return same_depth and PurePosixPath(path).match(pattern)


def _shown(address: str, place: Place, path: str) -> str:
    """The name of a file found by a folder or pattern, as the user would write it."""
    written = address.rstrip("/")
    root = place.path.rstrip("/")
    while root and not path.startswith(f"{root}/"):
        root, written = root.rpartition("/")[0], written.rpartition("/")[0]
    return f"{written}/{path[len(root) + 1 :]}" if written else path[len(root) + 1 :]


def _source(place: Place, info: fs.FileInfo, name: str, wanted: Format | None) -> Source:
    found = wanted or _format(info.path)
    if found is None:
        raise BulkError(f"{name}: its name does not tell the format; it must end in {KNOWN}, or give --from")
    return Source(Place(place.system, info.path, name), found, info.size or 0)


def _format(path: str) -> Format | None:
    name = path.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return SUFFIXES.get(PurePosixPath(name).suffix)
