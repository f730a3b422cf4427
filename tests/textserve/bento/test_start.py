"""The command of the image, as a process of this machine."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server import LIMIT_SECONDS, ROOT, environment, free_port, self_signed, serve

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@contextlib.contextmanager
def started(home: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The serving process, until the block ends."""
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
        process.communicate(timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("number", SIGNALS)
def test_it_serves_in_one_process_until_a_signal(home: Path, number: signal.Signals) -> None:
    with serve(home) as server:
        assert len(server.processes()) == 1, "BentoML's worker starts processes: see run_worker"
        answer = httpx.post(f"{server.url}/classify", json={"texts": ["Świetnie!"]}, timeout=LIMIT_SECONDS)
        assert answer.json()["results"][0]["label"] == "positive"
        assert server.stop(number) == 0


def test_with_a_certificate_it_serves_tls_only(home: Path, tmp_path: Path) -> None:
    certificate, key = map(str, self_signed(tmp_path))
    with (
        serve(home, TEXTSERVE_TLS_CERTIFICATE=certificate, TEXTSERVE_TLS_KEY=key) as server,
        pytest.raises(httpx.HTTPError),
    ):
        httpx.get(f"http://127.0.0.1:{server.port}/livez", timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_start_stops_it(home: Path, number: signal.Signals) -> None:
    port = free_port()
    with started(home, PORT=str(port)) as process:
        while not _listens(port):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(LIMIT_SECONDS) == 0


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BENTO_PATH": ""}, "BENTO_PATH is not set"),
        ({"BENTO_PATH": "no-such-folder"}, "BENTO_PATH: no-such-folder is not the folder of a Bento"),
        ({"PORT": "http"}, "PORT: 'http' is not a port; set it to a number from 1 to 65535"),
        ({"PORT": "70000"}, "PORT: '70000' is not a port"),
        ({"AIP_HTTP_PORT": "http"}, "AIP_HTTP_PORT: 'http' is not a port"),
        ({"TEXTSERVE_TREADS": "1"}, "TEXTSERVE_TREADS: no such setting"),
        ({"TEXTSERVE_TLS_KEY": "no-such-file"}, "TEXTSERVE_TLS_KEY: no-such-file cannot be read"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    with started(tmp_path, **variables) as process:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 1
    assert message in output
    assert "Traceback" not in output


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with (
        socket.create_server(("0.0.0.0", port := free_port())),  # noqa: S104  # as the service listens
        started(tmp_path, PORT=str(port)) as process,
    ):
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 1
    assert output == f"HTTP cannot listen on port {port} of 0.0.0.0: Address already in use; set PORT to another one\n"


def test_a_model_that_cannot_be_loaded_is_named_in_the_log(home: Path) -> None:
    (model,) = (home / "models" / "sentiment-pl-en").glob("*/files/model.onnx")
    model.chmod(0o644)
    model.write_bytes(b"damaged")
    with started(home, PORT=str(free_port())) as process:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 3
    assert f"{model} cannot be loaded" in output
