"""Notices when files, such as secrets and certificates, are replaced while the service runs."""

from __future__ import annotations

from pathlib import Path


class ReplacedFiles:
    """Files that are read again when they change. Symbolic links are followed: Kubernetes mounts secrets as links."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen = self._identity()

    def changed(self) -> bool:
        """Whether a file has changed since the last call, or since the start."""
        before, self._seen = self._seen, self._identity()
        return before != self._seen

    def _identity(self) -> list[tuple[int, int, int] | None]:
        return [_identity(path) for path in self._paths]


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
