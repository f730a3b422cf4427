"""Reads and sets the weights of the two versions by HAProxy's runtime socket (Management Guide, section 9.3)."""

from __future__ import annotations

import csv
import io
import socket
from dataclasses import dataclass
from pathlib import Path

from operate.errors import OperateError

# The names of the sections `backend` in deploy/rollout/haproxy.cfg, one for each protocol.
BACKENDS = ("http", "grpc")
SECONDS = 5.0


@dataclass(frozen=True)
class Slot:
    """A version in one backend: its weight, from 0 to 256, and whether health checks find it ready."""

    weight: int
    up: bool


@dataclass(frozen=True)
class HAProxy:
    """A running HAProxy, whose runtime socket is ``path``; it reads its weights from ``state_file`` when it starts."""

    path: Path
    state_file: Path | None = None

    def ask(self, command: str) -> str:
        """Send a command and return the answer; raises :class:`OperateError` if HAProxy cannot be reached."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(SECONDS)
                connection.connect(str(self.path))
                connection.sendall(f"{command}\n".encode())
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except OSError as error:
            raise OperateError(
                f"{self.path}: HAProxy does not answer ({error.strerror or error}); is it running, and is this its "
                "runtime socket (ADMIN_SOCKET of deploy/rollout/haproxy.cfg)?"
            ) from None

    def slots(self) -> dict[str, dict[str, Slot]]:
        """The slots by version and backend; raises :class:`OperateError` if a backend lacks a version."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        found: dict[str, dict[str, Slot]] = {"blue": {}, "green": {}}
        for row in rows:
            if row["pxname"] in BACKENDS and row["svname"] in found:
                # "UP 1/2" is about to be down. A server that tracks another shows "no check" or its state.
                found[row["svname"]][row["pxname"]] = Slot(int(row["weight"]), row["status"].startswith("UP"))
        if missing := [version for version, by in found.items() if set(by) != set(BACKENDS)]:
            raise OperateError(f"{self.path}: HAProxy has no server {missing[0]} in each of {', '.join(BACKENDS)}")
        return found

    def share(self, version: str) -> dict[str, int]:
        """The percentage of requests that a version gets, by backend."""
        slots = self.slots()
        shares = {}
        for backend in BACKENDS:
            total = sum(by[backend].weight for by in slots.values())
            shares[backend] = round(100 * slots[version][backend].weight / total) if total else 0
        return shares

    def ready(self, version: str) -> bool:
        """Whether health checks find a version ready, for every protocol."""
        return all(slot.up for slot in self.slots()[version].values())

    def route(self, candidate: str, stable: str, share: int) -> None:
        """Send ``share`` percent of new requests to ``candidate``; requests in flight stay with their version.

        The larger weight is set first, so that there is no moment without a version.
        """
        weights = sorted([(100 - share, stable), (share, candidate)], reverse=True)
        for weight, version in weights:
            for backend in BACKENDS:
                if answer := self.ask(f"set server {backend}/{version} weight {weight}").strip():
                    raise OperateError(f"{self.path}: HAProxy did not set the weight of {backend}/{version}: {answer}")
        self.remember()

    def remember(self) -> None:
        """Write the weights to the file from which HAProxy reads them when it starts again."""
        if self.state_file is not None:
            written = self.state_file.with_suffix(".new")
            written.write_text(self.ask("show servers state"), encoding="utf-8")
            written.replace(self.state_file)
