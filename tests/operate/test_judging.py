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

from operate.checks import Limits, Mirrored
from operate.errors import OperateError
from operate.haproxy import BACKENDS, HAProxy
from operate.plan import STRATEGIES, Rollout
from operate.rollout import Judging, Pace, Where
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

    def judging(self, pace: Pace | None = None) -> Judging:
        """A judge that has not looked yet."""
        return Judging(self.where, Limits(), pace or Pace(), lambda line: None)

    def count(self, blue: int, green: int, faults: int | None = 0) -> None:
        """Let the versions have answered so many requests, and green's connections so many faults; None: no proxy."""
        self.samples.clear()
        for version, answered in (("blue", blue), ("green", green)):
            self._add(answered, __name__=OK, version=version, outcome="ok")
            if faults is not None:
                self._add(faults if version == "green" else 0, __name__=FAULTS, server=version)

    def _add(self, value: int, **labels: str) -> None:
        self.samples.append({"metric": labels, "value": [0, str(value)]})


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


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_fresh_candidate_that_restarts_in_its_first_step_is_bad_at_once(judged: Judged, strategy: str) -> None:
    rollout = Rollout("green", STRATEGIES[strategy], mirror=False)
    judged.where.state.write(rollout)
    judged.where.proxy.route("green", "blue", rollout.share)
    judging = judged.judging()
    for green in (0, 300):
        judged.count(6000 + green, green)
        assert judging.look(Mirrored()).status == "running"
    judged.count(6400, 1)
    ended = judging.look(Mirrored())
    assert (ended.status, ended.reason) == ("aborted", "green restarted")
    assert judged.where.state.read() == ended
    assert judged.weights == {"blue": 100, "green": 0}


def test_a_proxy_that_restarts_or_is_not_scraped_is_no_restart_of_the_candidate(judged: Judged) -> None:
    judged.where.state.write(Rollout("green", STRATEGIES["canary"], mirror=False))
    judging = judged.judging()
    judged.count(6000, 0, faults=3)
    began = judging.look(Mirrored())
    # Without the proxy's counts nothing follows.
    judged.count(6100, 5, faults=None)
    assert judging.look(Mirrored()) == began
    # It counts from 0 again, and so the step begins anew.
    judged.count(6200, 10, faults=0)
    anew = judging.look(Mirrored())
    assert (anew.status, anew.step, anew.base["green"].failed) == ("running", 0, 0)


@pytest.mark.parametrize(("strategy", "status"), [("canary", "promoted"), ("shadow", "observed")])
def test_a_rollout_that_goes_on_undecided_says_so_at_its_end(judged: Judged, strategy: str, status: str) -> None:
    judged.where.state.write(Rollout("green", STRATEGIES[strategy], mirror=False))
    judging = judged.judging(Pace(step=0, undecided="promote"))
    rollout = judging.look(Mirrored())
    while rollout.status == "running":
        rollout = judging.look(Mirrored())
    assert rollout.status == status
    for share in STRATEGIES[strategy] or (0,):
        assert f"no decision at {share} % within 0 s: no counts from Prometheus" in rollout.reason


@pytest.mark.parametrize("limits", [{"disagreement": (-0.1, 0.05)}, {"labels": (0.2, 0.05)}, {"blocks": (1.0, 1.2)}])
def test_limits_that_no_share_can_be_judged_by_are_named(limits: dict[str, Any]) -> None:
    with pytest.raises(OperateError, match=f"{next(iter(limits))}: expected shares from 0 to 1"):
        Limits(**limits)
