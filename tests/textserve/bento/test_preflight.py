"""`bentoml serve` and `bentoml build` say in one sentence what is wrong, and change nothing that runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import BENTOML, LIMIT_SECONDS, ROOT, Server, environment, fail_to_serve, free_port, serve

CORS: dict[str, Any] = {
    "BENTOML_CONFIG_OPTIONS": "services.textserve.http.cors.enabled=true "
    "services.textserve.http.cors.access_control_allow_origins=https://shop.example"
}


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, **CORS) as running:
        yield running


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TEXTSERVE_THREADS": "two"}, "TEXTSERVE_THREADS: must be a whole number"),
        ({"TEXTSERVE_THREDS": "2"}, "TEXTSERVE_THREDS: no such setting; did you mean TEXTSERVE_THREADS?"),
        ({"TEXTSERVE_MODEL": "no-model"}, "no-model: the model store has no such model; run make save MODEL=no-model"),
        ({"BENTOML_CONFIG_OPTIONS": "services.textserve.workers=2"}, "workers: 2: this service runs in one process"),
        ({"BENTOML_PORT": "99999"}, "HTTP: 99999 is not a port"),
    ],
)
def test_a_wrong_start_ends_with_one_sentence(server: Server, variables: dict[str, str], message: str) -> None:
    output = fail_to_serve(server.home, **variables)
    lines = [line for line in output.splitlines() if "Applying user config override" not in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_port_that_is_in_use_or_that_of_grpc_is_named(server: Server) -> None:
    with socket.create_server(("0.0.0.0", port := free_port())):  # noqa: S104  # as the service listens
        assert f"HTTP cannot listen on port {port}" in fail_to_serve(server.home, BENTOML_PORT=str(port))
    free = str(free_port())
    message = f"port {free} is set for both HTTP and gRPC; set TEXTSERVE_GRPC_PORT"
    assert message in fail_to_serve(server.home, BENTOML_PORT=free, TEXTSERVE_GRPC_PORT=free)


def test_another_start_leaves_the_metrics_of_a_running_service_alone(server: Server) -> None:
    httpx.post(f"{server.url}/classify", json={"texts": ["Hello!"]}, timeout=LIMIT_SECONDS).raise_for_status()
    before = own_metrics(server)
    fail_to_serve(server.home, TEXTSERVE_GRPC_PORT=str(server.grpc_port))
    with serve(server.home, supervisor=True) as other:
        assert "textserve_texts_total 0.0" in httpx.get(f"{other.url}/metrics").text
    assert own_metrics(server) == before
    assert "textserve_texts_total 0.0" not in before


def own_metrics(server: Server) -> list[str]:
    """The metrics of the service, without those of its process, which change by themselves."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return [line for line in lines if line.startswith("textserve_")]


@pytest.mark.parametrize("path", ["/classify", "/predict", "/v2/models/sentiment-pl-en/infer", "/", "/explain"])
def test_bentomls_settings_of_cors_hold_for_every_protocol(server: Server, path: str) -> None:
    origin = {"Origin": "https://shop.example"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = httpx.options(server.url + path, headers=origin | preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin["Origin"])
    answer = httpx.post(server.url + path, headers=origin, json={})
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    other = httpx.post(server.url + path, headers={"Origin": "https://other.example"}, json={})
    assert "access-control-allow-origin" not in other.headers


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `bentoml serve` and `bentoml build` read, without what make writes."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("service.py", "bentofile.yaml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "textserve", folder / "textserve")
    return folder


def test_the_working_directory_is_not_served_as_a_store(checkout: Path) -> None:
    done = subprocess.run(
        [BENTOML, "serve", "service:TextClassifier"],
        cwd=checkout,
        env=environment(checkout, BENTOML_HOME=""),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1
    assert "BENTOML_HOME is empty, which BentoML takes for the working directory; unset it" in done.stderr


@pytest.mark.parametrize("missing", ["model", "requirements"])
def test_a_build_without_what_it_is_made_of_says_what_to_run(checkout: Path, home: Path, missing: str) -> None:
    if missing == "model":
        (checkout / "build").mkdir()
        (checkout / "build" / "requirements.txt").touch()
        shutil.rmtree(home / "models" / "sentiment-pl-en")
    done = subprocess.run(
        [BENTOML, "build"],
        cwd=checkout,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    output = done.stderr + done.stdout
    assert done.returncode == 1
    assert {"model": "run make save MODEL=sentiment-pl-en", "requirements": "run make bento"}[missing] in output
    assert "Traceback" not in output


def test_a_bentoml_without_the_services_packages_says_what_to_run() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; import service"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == 1
    assert "onnxruntime not installed beside this BentoML; run make bento once" in done.stderr
