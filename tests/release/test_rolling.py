"""`make deploy` behind HAProxy: real services, a real rollout, and scripts for docker and cosign that log."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from operate.haproxy import HAProxy
from operate.plan import STRATEGIES, Rollout
from operate.rollout import Mirror, Pace, Where
from operate.state import StateFile
from release.errors import ReleaseError
from release.rolling import PORTS, Host, roll
from scripts.rollout import MIRROR_PORT, PROMETHEUS
from tests.faults.honest import beside
from tests.operate.stand import FOLDER, Stand, stand
from tests.operate.test_judging import weighing
from tests.release.test_deploy import IMAGE, PROGRAM, SIGNED_BY

INTERVAL = "0.04"
# Sends standard input to HAProxy's runtime socket.
SEND = (
    f'{sys.executable} -c \'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect("SOCKET"); '
    "s.sendall(sys.stdin.buffer.read()); s.recv(9)'"
)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of docker and cosign, which do nothing: the versions run already."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "cosign"):
        (folder / name).write_text(PROGRAM, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def host(running: Stand, strategy: str) -> Host:
    where = Where(running.proxy, running.state, f"http://127.0.0.1:{running.prometheus}")
    mirror = Mirror(("127.0.0.1", running.mirror), (running.blue.url, running.green.url))
    return Host(where, mirror, STRATEGIES[strategy], Pace(look=1))


@pytest.mark.rollout
@pytest.mark.timeout(3000)
def test_a_new_image_takes_over_without_a_failed_request_and_the_one_before_stays(
    tmp_path: Path, saved_model: Path, notes: Path
) -> None:
    said: list[str] = []
    with stand(tmp_path, saved_model) as running:
        with beside(running.http, running.grpc, "--grpc", "--interval", INTERVAL, "--probe", "1") as seen:
            roll(host(running, "blue-green"), IMAGE, SIGNED_BY, ["keys"], said.append)
        assert set(running.proxy.share("green").values()) == {100}
        assert running.blue.process.poll() is None
    assert {sent.outcome for sent in seen.requests} == {"ok"}
    assert said[-1].startswith("promoted")
    verified, proxy, started = notes.read_text(encoding="utf-8").splitlines()
    assert verified.startswith("cosign verify ")
    assert "--project-name textserve-proxy" in proxy
    assert "--project-name textserve-green" in started
    assert "deploy/compose.keys.yaml" in started
    assert started.endswith(f"textserve IMAGE={IMAGE.lower()}")


def test_the_first_image_of_a_host_answers_at_once(tmp_path: Path, saved_model: Path, notes: Path) -> None:
    said: list[str] = []
    with stand(tmp_path, saved_model) as running:
        # As before the first start; what docker starts last is found ready.
        running.proxy.ask("set server http/blue state maint")
        starting = (
            f"{PROGRAM}case \"$*\" in *textserve-blue*) echo 'set server http/blue state ready' | {SEND} ;; esac\n"
        )
        (tmp_path / "bin" / "docker").write_text(starting.replace("SOCKET", str(running.proxy.path)), encoding="utf-8")
        roll(host(running, "canary"), IMAGE, SIGNED_BY, [], said.append)
        assert running.proxy.ready("blue")
        assert running.state.read() is None
    assert "no previous version" in said[-1]
    assert "--project-name textserve-blue" in notes.read_text(encoding="utf-8")


def test_an_image_with_tls_of_its_own_is_refused_before_anything_starts(tmp_path: Path, notes: Path) -> None:
    where = Where(HAProxy(tmp_path / "none"), StateFile(tmp_path / "rollout.json"), "http://127.0.0.1:1")
    with pytest.raises(ReleaseError, match="behind the proxy the service has no TLS"):
        roll(Host(where, None, (100,)), IMAGE, SIGNED_BY, ["tls"], print)
    assert not notes.exists()


def test_a_taken_port_of_the_mirror_is_an_error_before_any_request_moves(tmp_path: Path, notes: Path) -> None:
    with weighing(tmp_path / "haproxy.sock") as weights, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = Where(HAProxy(tmp_path / "haproxy.sock"), StateFile(tmp_path / "rollout.json"), "http://127.0.0.1:1")
        with pytest.raises(ReleaseError, match="cannot listen for mirrored texts"):
            roll(Host(where, Mirror(taken.getsockname(), ("", "")), (100,)), IMAGE, SIGNED_BY, [], print)
        assert weights == {"blue": 100, "green": 0}
        # The next deployment is not refused.
        assert where.state.read() is None


def test_a_rollout_that_runs_is_not_replaced(tmp_path: Path, notes: Path) -> None:
    where = Where(HAProxy(tmp_path / "none"), StateFile(tmp_path / "rollout.json"), "http://127.0.0.1:1")
    where.state.write(Rollout("green", (100,), mirror=False))
    with pytest.raises(ReleaseError, match="a rollout of green is running"):
        roll(Host(where, None, (100,)), IMAGE, SIGNED_BY, [], print)
    assert not notes.exists()


def test_the_ports_are_those_of_the_proxy_and_of_its_prometheus() -> None:
    content = (FOLDER / "haproxy.cfg").read_text(encoding="utf-8")
    scraped = (FOLDER / "prometheus.yaml").read_text(encoding="utf-8")
    for version, (http, grpc) in PORTS.items():
        assert f'server {version} "${{{version.upper()}_HTTP-127.0.0.1:{http}}}"' in content
        assert f'server {version} "${{{version.upper()}_GRPC-127.0.0.1:{grpc}}}"' in content
        assert f"127.0.0.1:{http}" in scraped
    assert PROMETHEUS.removeprefix("http://") in (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    assert f"127.0.0.1:{MIRROR_PORT}" in (FOLDER / "mirror.lua").read_text(encoding="utf-8")
