"""The finished parts of a run, kept beside the output until the output is complete.

Each window becomes a part: a Parquet file with its rows and answers, and a JSON record, written last. A part counts as
finished if its record has the SHA-256 of its Parquet file, so a run may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from bulk.addresses import Place, reason
from bulk.errors import BulkError
from bulk.scorer import Scored

Key: TypeAlias = tuple[int, int]
RUN_FILE, DONE_FILE, LOCK_FILE = "run.json", "done.json", "lock"
UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Record:
    """The counts and digests of a part, without its rows.

    ``position`` is the number of bytes of the input file up to the end of the part; ``input`` is the SHA-256 of the
    window, ``sha256`` that of the Parquet file; :class:`~bulk.scorer.Scored` describes ``read``.
    """

    rows: int
    bad: int
    truncated: int
    tokens: int
    labels: dict[str, float]
    position: int
    input: str
    sha256: str
    read: dict[str, list[int]]

    @classmethod
    def of(cls, scored: Scored, position: int, digest: str = "", sha256: str = "") -> Self:
        """The record of a scored window, with the SHA-256 of the window and that of the Parquet file."""
        return cls(
            rows=len(scored.table),
            bad=len(scored.bad),
            truncated=scored.truncated,
            tokens=scored.tokens,
            labels=scored.labels,
            position=position,
            input=digest,
            sha256=sha256,
            read=scored.read,
        )


class Parts:
    """The folder with the parts of one output; only one run at a time uses it."""

    def __init__(self, output: Place) -> None:
        """Set the folder for ``output``; nothing is read or written yet."""
        self.place = output.beside(".", ".parts")
        self._system, self._folder = self.place.system, self.place.path
        self._lock: Any = None

    def open(self, run: Mapping[str, Any]) -> dict[Key, Record]:
        """Start or resume the run that ``run`` describes, and return the records of its finished parts.

        Raises:
            BulkError: if the folder has parts of a run with another description, another run is using it, or it cannot
                be written.
        """
        with self._writing():
            self._system.create_dir(self._folder, recursive=False)
        self._take_lock()
        try:
            return self._begun(run)
        except BulkError:
            self.close()
            raise

    def _begun(self, run: Mapping[str, Any]) -> dict[Key, Record]:
        before = self._read(RUN_FILE)
        if before is None:
            self._put(RUN_FILE, _dump(run))
            return {}
        if differing := [name for name in {**before, **run} if before.get(name) != run.get(name)]:
            was = "; ".join(f"{name}: {before.get(name)!r} then, {run.get(name)!r} now" for name in differing)
            message = f"{self.place.name}: has parts of a run that differs from this one in {was}"
            raise BulkError(f"{message}; run the same command as then, or delete that folder to start over")
        return dict(self._finished())

    def save(self, key: Key, scored: Scored, digest: str, position: int) -> Record:
        """Write a scored window, whose input has the SHA-256 ``digest``, as a part, and return its record.

        Raises:
            BulkError: if it cannot be written, for example on a full disk.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(scored.table, sink, compression="zstd")
        content = sink.getvalue()
        record = Record.of(scored, position, digest, hashlib.sha256(content).hexdigest())
        self._put(f"{_name(key)}.parquet", content)
        self._put(f"{_name(key)}.json", _dump({**asdict(record), "bad": [each.as_dict() for each in scored.bad]}))
        return record

    def table(self, key: Key) -> pa.Table:
        """The rows of a finished part."""
        with self._system.open_input_file(f"{self._folder}/{_name(key)}.parquet") as stream:
            return pq.read_table(stream)

    def bad(self, key: Key) -> list[dict[str, Any]]:
        """The bad rows of a finished part."""
        found: list[dict[str, Any]] = (self._read(f"{_name(key)}.json") or {}).get("bad", [])
        return found

    @property
    def done(self) -> bool:
        """Whether the output was already complete when the run was killed."""
        return self._read(DONE_FILE) is not None

    def set_done(self) -> None:
        """Note that the output is complete, and only has to be moved to its name."""
        self._put(DONE_FILE, b"{}")

    @contextlib.contextmanager
    def whole(self, target: Place) -> Iterator[Any]:
        """A stream to a temporary file, which :meth:`move` renames to ``target``.

        Raises:
            BulkError: if it cannot be written, for example on a full disk.
        """
        path = self._staged(target)
        with self._writing(), self._system.open_output_stream(path, compression=None) as stream:
            yield stream

    def move(self, target: Place) -> None:
        """Rename the file that :meth:`whole` wrote to ``target`` in one step; do nothing if it was renamed before."""
        if self._system.get_file_info(self._staged(target)).type == fs.FileType.File:
            with self._writing():
                self._system.move(self._staged(target), target.path)

    def remove(self) -> None:
        """Delete all parts."""
        self._system.delete_dir(self._folder)
        self.close()

    def close(self) -> None:
        """Let another run use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _staged(self, target: Place) -> str:
        return f"{self._folder}/{target.path.rpartition('/')[2]}"

    def _take_lock(self) -> None:
        if not self.place.local:
            return  # object stores have no locks
        lock = Path(self._folder, LOCK_FILE).open("wb")  # noqa: SIM115  # the system frees it at the end of the process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise BulkError(f"{self.place.name}: another run is writing this output; wait until it ends") from None
        self._lock = lock

    def _finished(self) -> Iterator[tuple[Key, Record]]:
        for info in self._system.get_file_info(fs.FileSelector(self._folder)):
            if found := re.fullmatch(r"part-(\d+)-(\d+)\.json", info.path.rpartition("/")[2]):
                key = int(found[1]), int(found[2])
                record = self._checked(key)
                if record is not None:
                    yield key, record

    def _checked(self, key: Key) -> Record | None:
        content = self._read(f"{_name(key)}.json")
        if content is None:
            return None
        with contextlib.suppress(OSError, TypeError, KeyError):
            record = Record(**{**content, "bad": 0})
            with self._system.open_input_stream(f"{self._folder}/{_name(key)}.parquet", compression=None) as stream:
                if hashlib.sha256(stream.read()).hexdigest() == record.sha256:
                    return replace(record, bad=len(content["bad"]))
        return None

    def _read(self, name: str) -> dict[str, Any] | None:
        path = f"{self._folder}/{name}"
        if self._system.get_file_info(path).type != fs.FileType.File:
            return None
        with contextlib.suppress(ValueError), self._system.open_input_stream(path) as stream:
            found: dict[str, Any] = json.loads(stream.read())
            return found
        return None

    def _put(self, name: str, content: Any) -> None:
        path = f"{self._folder}/{name}"
        with self._writing():
            with self._system.open_output_stream(f"{path}{UNFINISHED}", compression=None) as stream:
                stream.write(content)
            self._system.move(f"{path}{UNFINISHED}", path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = "finished parts are kept: fix the cause and run the same command again"
            raise BulkError(f"{self.place.name}: cannot be written: {reason(error)}; {kept}") from None


def _name(key: Key) -> str:
    return f"part-{key[0]:06d}-{key[1]:08d}"


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
