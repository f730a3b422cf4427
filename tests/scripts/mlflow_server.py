"""A pytest plugin: a real MLflow server with users and passwords, shared by all tests because it starts slowly."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.server import free_port

START_SECONDS = 600.0
ADMIN = ("admin", "a password of tests")


@dataclass(frozen=True)
class MlflowServer:
    """URL and administrator of a running server."""

    url: str
    user: str
    password: str

    def log_in(self, monkeypatch: pytest.MonkeyPatch, user: str = "", password: str = "") -> None:
        """Set MLflow's environment variables, by default to the administrator's."""
        login = {"URI": self.url, "USERNAME": user or self.user, "PASSWORD": password or self.password}
        for name, value in login.items():
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    def add_user(self, user: str, password: str) -> None:
        """Add a user who can read everything and write own models."""
        answer = httpx.post(
            f"{self.url}/api/2.0/mlflow/users/create",
            json={"username": user, "password": password},
            auth=(self.user, self.password),
            timeout=30.0,
        )
        answer.raise_for_status()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow that is empty at first; each test uses names of its own."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    settings, port = folder / "basic_auth.ini", free_port()
    settings.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'users.db'}\n"
        f"admin_username = {ADMIN[0]}\n"
        f"admin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    environment = {
        **inherited,
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for tests",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait(f"http://127.0.0.1:{port}/health", process, log_file)
        yield MlflowServer(f"http://127.0.0.1:{port}", *ADMIN)
    finally:
        stop(process)


def wait(url: str, process: subprocess.Popen[bytes], log_file: Path) -> str:
    """Wait until the server answers at ``url``, and return the body."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(url, timeout=50.0)
            if answer.status_code == 200:
                return answer.text
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start:\n{log_file.read_text(encoding='utf-8')}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for running in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                running.terminate()
        for alive in psutil.wait_procs(started, timeout=60)[1]:
            alive.kill()
    process.wait(60)
