"""What the image starts, as a process of this machine."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.server import ROOT, environment, free_port, self_signed, trusting

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@contextlib.contextmanager
def started(home: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The process that serves, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "textserve.bento.start"],
        cwd=ROOT,
        env=environment(home, **{"BENTO_PATH": "service:TextClassifier", "TEXTSERVE_GRPC_PORT": "0", **variables}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def wait_ready(process: subprocess.Popen[str], url: str, certificate: str | None = None) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2, verify=trusting(certificate)).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("not ready within 60 s")


@pytest.mark.parametrize("told", SIGNALS)
def test_one_process_serves_and_ends_with_0_when_it_is_told_to(home: Path, told: signal.Signals) -> None:
    port = free_port()
    with started(home, PORT=str(port)) as process:
        wait_ready(process, f"http://127.0.0.1:{port}")
        assert psutil.Process(process.pid).children(recursive=True) == []
        answer = httpx.post(f"http://127.0.0.1:{port}/classify", json={"texts": ["Świetnie!"]}, timeout=30)
        assert answer.json()["results"][0]["label"] == "positive"
        process.send_signal(told)
        assert process.wait(30) == 0


def test_with_a_certificate_it_talks_tls(home: Path, tmp_path: Path) -> None:
    port, (certificate, key) = free_port(), self_signed(tmp_path)
    tls = {"TEXTSERVE_TLS_CERTIFICATE": str(certificate), "TEXTSERVE_TLS_KEY": str(key)}
    with started(home, PORT=str(port), **tls) as process:
        wait_ready(process, f"https://127.0.0.1:{port}", str(certificate))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2)


@pytest.mark.parametrize("told", SIGNALS)
def test_told_to_stop_while_it_starts_it_stops(home: Path, told: signal.Signals) -> None:
    port = free_port()
    with started(home, PORT=str(port)) as process:
        while not _listens(port):
            assert process.poll() is None
        process.send_signal(told)
        assert process.wait(10) == 0


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BENTO_PATH": ""}, "BENTO_PATH is not set"),
        ({"PORT": "http"}, "PORT: 'http' is not a port; set it to a number from 1 to 65535"),
        ({"PORT": "70000"}, "PORT: '70000' is not a port"),
        ({"TEXTSERVE_TREADS": "1"}, "TEXTSERVE_TREADS: no such setting"),
        ({"TEXTSERVE_TLS_KEY": "no-such-file"}, "TEXTSERVE_TLS_KEY: no-such-file cannot be read"),
    ],
)
def test_what_is_set_wrongly_is_named(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    with started(tmp_path, **variables) as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
    assert said in output
    assert "Traceback" not in output


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104  # as the service listens
        port = other.getsockname()[1]
        with started(tmp_path, PORT=str(port)) as process:
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 1
    assert output == f"HTTP cannot listen on port {port}: Address already in use; set PORT to another one\n"


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(home: Path) -> None:
    (model,) = (home / "models" / "sentiment-pl-en").glob("*/files/model.onnx")
    model.chmod(0o644)
    model.write_bytes(b"damaged")
    with started(home, PORT=str(free_port())) as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 3
    assert f"{model} cannot be loaded" in output
