"""Starts the real service as its users do, on ports and with a model store of its own, and stops all its processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
# The limit of whatever the tests wait for, long enough for a busy machine.
LIMIT_SECONDS = 600.0
BENTOML = str(Path(sys.executable).with_name("bentoml"))
# The command of the image.
ONE_PROCESS = (sys.executable, "-m", "textserve.bento.start")
# Below the ports that Linux gives to clients (32768 to 60999): a client must not take a port between two tests.
PORTS = range(10_000, 30_000)
# Other processes that run these tests, such as workers of pytest-xdist, start at another port.
_first = os.getpid() * 199 % len(PORTS)
_ports: Iterator[int] = itertools.cycle([*PORTS[_first:], *PORTS[:_first]])


@dataclass(frozen=True)
class Server:
    """A running service: its URL, its first process, its log file, its model store, and its gRPC port."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    home: Path
    grpc_port: int

    @property
    def port(self) -> int:
        """The port of HTTP."""
        return int(self.url.rsplit(":", 1)[1])

    def log(self) -> str:
        """The log so far."""
        return self.log_file.read_text(encoding="utf-8")

    def processes(self) -> list[psutil.Process]:
        """The first process and its descendants."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = LIMIT_SECONDS) -> int:
        """Send a signal, wait for the process to exit, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def free_port() -> int:
    """A port on which nothing listens, on any address; a different one at each call."""
    for port in itertools.islice(_ports, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as listening:
            # As servers do: a port counts as free although its closed connections have not timed out yet.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("0.0.0.0", port))  # noqa: S104  # a port may be taken on any address
            return port
    raise RuntimeError("no free port")


def save_model(home: Path, name: str = "sentiment-pl-en", root: Path = ROOT) -> str:
    """Save a model into the store of ``home`` with scripts/save.py; its tag."""
    command = [sys.executable, "-m", "scripts.save", name]
    done = subprocess.run(
        command, cwd=root, env=environment(home), capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
    )
    return done.stdout.strip()


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a service whose model store is ``home``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TEXTSERVE_", "BENTOML_"))}
    return {**inherited, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **extra}


def fail_to_serve(home: Path, **extra: str) -> str:
    """The output of a `bentoml serve` that must exit with an error."""
    done = subprocess.run(
        [BENTOML, "serve", "service:TextClassifier"],
        cwd=ROOT,
        env=environment(home, **{"TEXTSERVE_GRPC_PORT": str(free_port()), "BENTOML_PORT": str(free_port()), **extra}),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    return output


@contextlib.contextmanager
def serve(
    home: Path,
    bento: str = "service:TextClassifier",
    *,
    ready: bool = True,
    supervisor: bool = False,
    command: Sequence[str] = ONE_PROCESS,
    port: int | None = None,
    **extra: str,
) -> Iterator[Server]:
    """Serve ``bento`` until the block ends; ``ready=False`` waits only until it is live.

    It starts one process by ``command``, as the image does, or with ``supervisor=True`` `bentoml serve`, whose
    supervisor doubles the time of the start and kills a worker that takes longer than 30 s to stop. ``port`` is the
    HTTP port if ``extra`` sets it.

    Kills the processes that remain after it has stopped.
    """
    chosen, grpc_port = port is None, free_port()
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    log_file = home / "service.log"
    variables = {
        "TEXTSERVE_GRPC_HOST": "127.0.0.1",
        "TEXTSERVE_GRPC_PORT": str(grpc_port),
        "TEXTSERVE_STOP_DELAY_SECONDS": "0",
        **extra,
    }
    if supervisor:
        command = [BENTOML, "serve", bento, "--host", "127.0.0.1", "--port", str(port)]
    else:
        variables |= {"BENTO_PATH": bento, **({"PORT": str(port)} if chosen else {})}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(home, **variables), stdout=log, stderr=subprocess.STDOUT
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
                process.wait(120)
        _, alive = psutil.wait_procs(started, timeout=30)
        for remaining in alive:
            remaining.kill()


def _wait(server: Server, path: str, verify: ssl.SSLContext | bool) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the service exited with {server.process.returncode}:\n{server.log()}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(server.url + path, timeout=10, verify=verify).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{path} did not answer 200 within {LIMIT_SECONDS} s:\n{server.log()}")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files in ``folder``."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


def trusting(certificate: str | None) -> ssl.SSLContext | bool:
    """The ``verify`` of httpx that trusts a certificate, or the system's authorities."""
    return ssl.create_default_context(cafile=certificate) if certificate else True
