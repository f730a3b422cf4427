"""What the script does before its first look, and between two: HAProxy and Prometheus are stand-ins that count."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operate.checks import Limits
from operate.errors import OperateError
from operate.haproxy import BACKENDS, HAProxy
from operate.rollout import Where
from operate.state import StateFile
from scripts import rollout as script
from tests.operate.test_parts import answering

OK, FAULTS = "textserve_requests_total", "haproxy_server_response_errors_total"


@contextlib.contextmanager
def weighing(path: Path) -> Iterator[dict[str, int]]:
    """HAProxy's runtime socket with two ready versions, until the block ends; their weights."""
    weights = {"blue": 100, "green": 0}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            command = self.rfile.readline().decode().split()
            if command[:2] == ["set", "server"]:
                weights[command[2].partition("/")[2]] = int(command[4])
                return
            rows = [f"{backend},{version},{weights[version]},UP" for backend in BACKENDS for version in weights]
            self.wfile.write("\n".join(["# pxname,svname,weight,status", *rows]).encode())

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield weights
        server.shutdown()


class Judged:
    """A rollout of green, and what Prometheus and the proxy say of it."""

    def __init__(self, where: Where, samples: list[Any], weights: dict[str, int]) -> None:
        self.where, self.samples, self.weights = where, samples, weights


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Judged]:
    samples: list[Any] = []
    with (
        weighing(tmp_path / "haproxy.sock") as weights,
        answering(200, {"data": {"result": samples}}) as prometheus,
    ):
        where = Where(HAProxy(tmp_path / "haproxy.sock"), StateFile(tmp_path / "rollout.json"), prometheus)
        yield Judged(where, samples, weights)


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that something else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mirror-port", "taken", "cannot listen for mirrored texts"),
        ("--mirror-port", "70000", "127.0.0.1:70000: cannot listen for mirrored texts"),
        ("--disagreement", "5", "disagreement: expected shares from 0 to 1"),
        ("--look", "nan", "between two looks"),
        ("--look", "inf", "between two looks"),
        ("--patience", "nan", "for a step"),
    ],
)
def test_a_start_that_fails_moves_no_request_and_leaves_no_rollout(
    judged: Judged, taken: str, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    where = judged.where
    arguments = ["start", "green", option, taken if value == "taken" else value]
    arguments += ["--socket", str(where.proxy.path), "--server-state", str(where.proxy.path.with_name("servers"))]
    assert script.main([*arguments, "--state", str(where.state.path), "--prometheus", where.prometheus]) == 1
    assert message in capsys.readouterr().err
    assert judged.weights == {"blue": 100, "green": 0}
    assert where.state.read() is None


@pytest.mark.parametrize("limits", [{"disagreement": (-0.1, 0.05)}, {"labels": (0.2, 0.05)}, {"blocks": (1.0, 1.2)}])
def test_limits_that_no_share_can_be_judged_by_are_named(limits: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(OperateError, match=f"{next(iter(limits))}: expected shares from 0 to 1"):
        Limits(**limits)
