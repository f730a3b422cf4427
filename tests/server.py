"""Starts the real service as its users do, with a port and a model store of its own, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A running service: its address, its first process, the file of its log, its model store, its port for gRPC."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    home: Path
    grpc_port: int

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def log(self) -> str:
        """Everything that it has logged so far."""
        return self.log_file.read_text(encoding="utf-8")

    def processes(self) -> list[psutil.Process]:
        """The first process and all that it has started."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


_given_ports: set[int] = set()


def free_port() -> int:
    """A port on which nothing listens, another one each time: the system may give the same one twice."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def save_model(home: Path, name: str = "sentiment-pl-en", root: Path = ROOT) -> str:
    """Save a model into the store of ``home`` with the project's own script; its tag."""
    command = [sys.executable, "-m", "scripts.save", name]
    done = subprocess.run(
        command, cwd=root, env=environment(home), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a service whose model store is ``home``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TEXTSERVE_", "BENTOML_"))}
    return {**inherited, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **extra}


@contextlib.contextmanager
def serve(home: Path, bento: str = "service:TextClassifier", *, ready: bool = True, **extra: str) -> Iterator[Server]:
    """Serve ``bento`` until the block ends; ``ready=False`` waits only for it to be alive.

    Whatever is still running afterwards is killed, and was a failure of the test that let it run.
    """
    port, grpc_port = free_port(), free_port()
    home.mkdir(parents=True, exist_ok=True)
    log_file = home / "service.log"
    bentoml = Path(sys.executable).with_name("bentoml")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [bentoml, "serve", bento, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment(
                home, **{"TEXTSERVE_GRPC_HOST": "127.0.0.1", "TEXTSERVE_GRPC_PORT": str(grpc_port), **extra}
            ),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    certificate = extra.get("TEXTSERVE_TLS_CERTIFICATE")
    server = Server(f"{'https' if certificate else 'http'}://127.0.0.1:{port}", process, log_file, home, grpc_port)
    started: list[psutil.Process] = []
    try:
        _wait(server, "/readyz" if ready else "/livez", trusting(certificate))
        started = server.processes()
        yield server
    finally:
        if process.poll() is None:
            started = server.processes()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        _, alive = psutil.wait_procs(started, timeout=10)
        for one in alive:
            one.kill()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that trusts itself, and its key, as files in ``folder``."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


def trusting(certificate: str | None) -> ssl.SSLContext | bool:
    """What httpx is to verify a server with: a certificate that it shows, or what the system trusts."""
    return ssl.create_default_context(cafile=certificate) if certificate else True


def _wait(server: Server, path: str, verify: ssl.SSLContext | bool) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the service ended with {server.process.returncode}:\n{server.log()}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(server.url + path, timeout=2, verify=verify).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{path} did not answer 200 within {START_SECONDS} s:\n{server.log()}")
