"""Two services, HAProxy with deploy/rollout/haproxy.cfg and a real Prometheus, for the tests of a rollout."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from operate.haproxy import HAProxy
from operate.plan import Rollout
from operate.state import StateFile
from tests.server import LIMIT_SECONDS, ROOT, Server, free_port, serve

FOLDER = ROOT / "deploy" / "rollout"
# A busy machine may be late, and must not refuse for it.
VARIABLES: dict[str, Any] = {"TEXTSERVE_THREADS": "1", "TEXTSERVE_MAX_QUEUE_SECONDS": "30"}
CANDIDATE = (sys.executable, "-m", "tests.operate.faulty_start")


@dataclass(frozen=True)
class Stand:
    """What runs: ports of the proxy and of Prometheus, both versions, and the folder of state and logs."""

    folder: Path
    http: int
    grpc: int
    mirror: int
    prometheus: int
    blue: Server
    green: Server

    @property
    def proxy(self) -> HAProxy:
        """The proxy's runtime socket."""
        return HAProxy(self.folder / "haproxy.sock", self.folder / "servers")

    @property
    def state(self) -> StateFile:
        """The state of the rollout."""
        return StateFile(self.folder / "rollout.json")

    def command(self, *arguments: str) -> list[str]:
        """The command line of scripts/rollout.py on this stand."""
        options = {
            "--socket": self.proxy.path,
            "--server-state": self.proxy.state_file,
            "--state": self.state.path,
            "--prometheus": f"http://127.0.0.1:{self.prometheus}",
            "--blue": self.blue.url,
            "--green": self.green.url,
            "--mirror-port": self.mirror,
            "--look": 1,
        }
        named = [str(word) for pair in options.items() for word in pair]
        return [sys.executable, "-m", "scripts.rollout", *arguments, *named]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/rollout.py to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=3 * LIMIT_SECONDS
        )

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """scripts/rollout.py until the block ends, which kills it."""
        with subprocess.Popen(self.command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def break_candidate(self) -> None:
        """Let the candidate's fault begin."""
        (self.folder / "fault").touch()

    def rollout(self) -> Rollout:
        """The rollout on the disk."""
        rollout = self.state.read()
        assert rollout is not None
        return rollout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {LIMIT_SECONDS} s"
        time.sleep(0.1)


@contextlib.contextmanager
def process(command: list[str], log_file: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the block ends."""
    with log_file.open("wb") as log:
        started = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(60)


def proxy_variables(stand: Stand, metrics: int) -> dict[str, str]:
    """The variables of deploy/rollout/haproxy.cfg."""
    return {
        "HTTP_BIND": f"127.0.0.1:{stand.http}",
        "GRPC_BIND": f"127.0.0.1:{stand.grpc}",
        "METRICS_BIND": f"127.0.0.1:{metrics}",
        "BLUE_HTTP": f"127.0.0.1:{stand.blue.port}",
        "BLUE_GRPC": f"127.0.0.1:{stand.blue.grpc_port}",
        "GREEN_HTTP": f"127.0.0.1:{stand.green.port}",
        "GREEN_GRPC": f"127.0.0.1:{stand.green.grpc_port}",
        "ADMIN_SOCKET": str(stand.proxy.path),
        "SERVER_STATE": str(stand.proxy.state_file),
        "MIRROR": f"127.0.0.1:{stand.mirror}",
        "MIRROR_LUA": str(FOLDER / "mirror.lua"),
    }


@contextlib.contextmanager
def proxied(stand: Stand, metrics: int) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy in front of both versions until the block ends."""
    stand.folder.joinpath("servers").touch()
    command = ["haproxy", "-db", "-f", str(FOLDER / "haproxy.cfg")]
    with process(command, stand.folder / "haproxy.log", **proxy_variables(stand, metrics)) as started:
        wait_for(lambda: answers(f"http://127.0.0.1:{stand.http}/readyz"), "an answer through HAProxy")
        yield started


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=10).status_code == 200
    return False


def prometheus_file(stand: Stand, metrics: int) -> str:
    """deploy/rollout/prometheus.yaml with the addresses of the stand, scraping each second."""
    content = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    targets = {"blue": stand.blue.port, "green": stand.green.port, "proxy": metrics}
    content["global"]["scrape_interval"] = "1s"
    for job in content["scrape_configs"]:
        for group in job["static_configs"]:
            group["targets"] = [f"127.0.0.1:{targets[group.get('labels', {}).get('version', 'proxy')]}"]
    return yaml.safe_dump(content)


@contextlib.contextmanager
def stand(folder: Path, store: Path, fault: str = "none") -> Iterator[Stand]:
    """Everything, until the block ends; green has the fault once told to."""
    with contextlib.ExitStack() as stack:
        homes = [folder / version for version in ("blue", "green")]
        for home in homes:
            shutil.copytree(store / "models", home / "models")
        blue = stack.enter_context(serve(homes[0], **VARIABLES))
        green = stack.enter_context(
            serve(homes[1], command=CANDIDATE, FAULT=fault, FAULT_FILE=str(folder / "fault"), **VARIABLES)
        )
        standing = Stand(folder, free_port(), free_port(), free_port(), free_port(), blue, green)
        metrics = free_port()
        stack.enter_context(proxied(standing, metrics))
        configuration = folder / "prometheus.yaml"
        configuration.write_text(prometheus_file(standing, metrics), encoding="utf-8")
        command = [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{standing.prometheus}",
        ]
        stack.enter_context(process(command, folder / "prometheus.log"))
        wait_for(lambda: answers(f"http://127.0.0.1:{standing.prometheus}/-/ready"), "a start of Prometheus")
        yield standing
