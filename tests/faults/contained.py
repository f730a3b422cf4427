"""Serves as the container does: one process, within 512 MB, by a memory cgroup where this process may make one.

Elsewhere the address space is limited instead, which bounds a runaway only; the peak is measured in both cases.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.honest import Seen
from tests.faults.sending import Target
from tests.server import ONE_PROCESS, Server, serve

# mem_limit of deploy/compose.yaml.
MEMORY_BYTES = 512 * 2**20
# Without a cgroup: libraries reserve more than they use.
ADDRESS_SPACE_BYTES = 4 * MEMORY_BYTES
SAMPLE_SECONDS = 0.05
_numbers = itertools.count()


@dataclass
class Contained:
    """A server within the limit, and the most memory that it has used so far."""

    server: Server
    group: MemoryGroup | None
    peak_bytes: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def target(self) -> Target:
        """Where to attack it."""
        return Target(self.server.port, self.server.grpc_port)

    def state(self) -> str:
        """``running``, or how the process ended."""
        code = self.server.process.poll()
        if code is None:
            return "running"
        killed = self.group is not None and self.group.killed()
        return "killed for its memory" if killed else f"ended with {code}"

    def check(self, seen: Seen) -> None:
        """Assert that it runs, within its memory, and that the honest client beside it has lost no request."""
        assert self.state() == "running"
        # A cgroup has its own account, without the pages of files that other processes have read.
        assert self.group is not None or self.peak_bytes < MEMORY_BYTES
        assert seen.summary()["lost_as"] == {}
        assert any(sent.outcome == "ok" for sent in seen.requests)

    def rss_bytes(self) -> int:
        """The memory of the process now; 0 once it has ended."""
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(self.server.process.pid).memory_info().rss)
        return 0

    def watch(self) -> None:
        """Keep the peak up to date until the process ends: the kernel forgets it then."""
        status = Path("/proc", str(self.server.process.pid), "status")
        while not self._ended.wait(SAMPLE_SECONDS):
            with contextlib.suppress(OSError):
                if found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE):
                    self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)
        if self.group is not None and self.group.killed():
            self.peak_bytes = MEMORY_BYTES

    def unwatch(self) -> None:
        """End :meth:`watch`."""
        self._ended.set()


class MemoryGroup:
    """A cgroup with the limit of memory, of version 1 or 2, below this process's own.

    Raises:
        OSError: if this process may not make one.
    """

    def __init__(self) -> None:
        name = f"textserve-faults-{os.getpid()}-{next(_numbers)}"
        parent, self._version = _parent()
        self.folder = parent / name
        self.folder.mkdir()
        try:
            if self._version == 1:
                self._write("memory.limit_in_bytes", str(MEMORY_BYTES))
                with contextlib.suppress(OSError):  # a kernel that does not account swap
                    self._write("memory.memsw.limit_in_bytes", str(MEMORY_BYTES))
            else:
                self._write("memory.max", str(MEMORY_BYTES))
                with contextlib.suppress(OSError):
                    self._write("memory.swap.max", "0")
        except OSError:
            self.folder.rmdir()
            raise

    def _write(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value, encoding="ascii")

    def killed(self) -> bool:
        """Whether the kernel has killed a process of it for its memory."""
        events = "memory.oom_control" if self._version == 1 else "memory.events"
        text = (self.folder / events).read_text(encoding="ascii")
        found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
        return found is not None and found[1] != "0"

    def remove(self) -> None:
        """Remove it; its processes have ended."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _parent() -> tuple[Path, int]:
    """The memory cgroup of this process, and the version of cgroups."""
    own = {names: path for _, names, path in (line.split(":", 2) for line in _lines("/proc/self/cgroup"))}
    for line in _lines("/proc/self/mountinfo"):
        # man 5 proc: ID, parent, device, root, mount point, options …, "-", type, source, super options.
        fields, (kind, _, options) = line.split(" - ")[0].split(), line.split(" - ")[1].split(" ", 2)
        point = Path(fields[4])
        if kind == "cgroup" and "memory" in options.split(","):
            path = next(path for names, path in own.items() if "memory" in names.split(","))
            # In a container the mount may begin at its own cgroup.
            inside = point / path.lstrip("/")
            return (inside if inside.is_dir() else point), 1
        if kind == "cgroup2" and "" in own:
            inside = point / own[""].lstrip("/")
            folder = inside if inside.is_dir() else point
            if "memory" in (folder / "cgroup.controllers").read_text(encoding="ascii").split():
                (folder / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
                return folder, 2
    raise OSError("no memory cgroup is mounted")


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="ascii").splitlines()


@contextlib.contextmanager
def contained(
    home: Path,
    *,
    module: str = "textserve.bento.start",
    ulimit: str | None = None,
    core: int | None = None,
    **settings: Any,
) -> Iterator[Contained]:
    """Serve within the limit of memory until the block ends.

    Args:
        home: the model store.
        module: what to start in place of the image's command.
        ulimit: more limits, as the shell's ``ulimit`` takes them.
        core: the only core that it may use.
        settings: of :func:`tests.server.serve`.
    """
    group: MemoryGroup | None = None
    with contextlib.suppress(OSError):
        group = MemoryGroup()
    limits = f"echo $$ >{group.folder}/cgroup.procs" if group else f"ulimit -v {ADDRESS_SPACE_BYTES // 1024}"
    if ulimit:
        limits += f" && ulimit {ulimit}"
    if core is not None:
        limits += f" && taskset --cpu-list --pid {core} $$ >/dev/null"
    command = ("sh", "-c", f'{limits} && exec "$@"', "sh", *ONE_PROCESS[:-1], module)
    try:
        with serve(home, command=command, **settings) as server:
            served = Contained(server, group)
            watcher = threading.Thread(target=served.watch)
            watcher.start()
            try:
                yield served
            finally:
                served.unwatch()
                watcher.join()
    finally:
        if group is not None:
            group.remove()
