"""Keeps the state of a rollout on disk, where it survives the script that runs the rollout."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operate.errors import OperateError
from operate.plan import Rollout


def default_file() -> Path:
    """The default path of the state: outside the checkout, which a CI runner may clean."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "textserve" / "rollout.json"


@dataclass(frozen=True)
class StateFile:
    """A file with a rollout; each change replaces the whole file."""

    path: Path

    def read(self) -> Rollout | None:
        """The rollout, or None if there has been none; raises :class:`OperateError` if the file has other content."""
        try:
            return Rollout.from_json(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OperateError) as error:
            raise OperateError(
                f"{self.path}: not the state of a rollout ({error}); remove the file. HAProxy keeps the weights it has"
            ) from None

    def write(self, rollout: Rollout) -> None:
        """Replace the rollout; after a crash at any moment, the file has either the old or the new rollout."""
        written = self.path.with_suffix(".new")
        with written.open("w", encoding="utf-8") as stream:
            json.dump(rollout.to_json(), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        written.replace(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while state and weights change together; the lock ends with the process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
