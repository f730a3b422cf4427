"""API keys and TLS on the real service, over HTTP."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.server import LIMIT_SECONDS, Server, environment, fail_to_serve, self_signed, serve, trusting

ONE_TEXT = {"texts": ["Świetnie!"]}
KEYS = ("from-the-environment", "another-from-there", "key-from-the-file")
REQUESTS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/classify", ONE_TEXT),
    ("POST", "/explain", {"text": "Świetnie!"}),
    ("POST", "/", {"inputs": "Świetnie!"}),
    ("POST", "/predict", {"inputs": "Świetnie!"}),
    ("GET", "/info", None),
    ("GET", "/v2", None),
    ("GET", "/v2/models/sentiment-pl-en", None),
    ("GET", "/", None),
    ("GET", "/docs.json", None),
    ("GET", "/schema.json", None),
    ("GET", "/no/such/path", None),
]


@pytest.fixture(scope="module")
def closed(store: Path) -> Iterator[Server]:
    file = store / "keys"
    file.write_text("key-from-the-file\n", encoding="utf-8")
    keys = ",".join(KEYS[:2])
    with serve(store, TEXTSERVE_API_KEYS=keys, TEXTSERVE_API_KEYS_FILE=str(file)) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_accepted(closed: Server, key: str) -> None:
    answer = httpx.post(f"{closed.url}/classify", json=ONE_TEXT, headers=bearer(key))
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_without_a_key_every_request_is_rejected_in_the_form_of_its_protocol(
    closed: Server, method: str, path: str, body: dict[str, Any] | None
) -> None:
    for headers in ({}, bearer("guessed")):
        answer = httpx.request(method, closed.url + path, json=body, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "error" in answer.json()
    assert httpx.request(method, closed.url + path, json=body, headers=bearer(KEYS[0])).status_code in (200, 404)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"])
def test_health_and_metrics_stay_open(closed: Server, path: str) -> None:
    assert httpx.get(closed.url + path).status_code == 200


def test_no_key_is_logged(closed: Server) -> None:
    httpx.post(f"{closed.url}/classify", json=ONE_TEXT, headers=bearer("guessed"))
    assert [key for key in (*KEYS, "guessed") if key in closed.log()] == []


def test_bentomls_client_can_send_a_key(closed: Server) -> None:
    script = (
        "import sys, bentoml\n"
        "with bentoml.SyncHTTPClient(sys.argv[1], token=sys.argv[2]) as client:\n"
        "    print(client.classify(texts=['Świetnie!'], truncate=False)['results'][0]['label'])\n"
    )
    command = [sys.executable, "-c", script, closed.url, KEYS[2]]
    done = subprocess.run(
        command, env=environment(closed.home), capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
    )
    assert done.stdout.strip() == "positive"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    certificate, key = self_signed(tmp_path_factory.mktemp("tls"))
    return str(certificate), str(key)


def test_with_a_certificate_it_serves_tls_only(store: Path, tmp_path: Path, certificate: tuple[str, str]) -> None:
    shutil.copytree(store / "models", tmp_path / "models")
    with serve(tmp_path, TEXTSERVE_TLS_CERTIFICATE=certificate[0], TEXTSERVE_TLS_KEY=certificate[1]) as secured:
        verify = trusting(certificate[0])
        answer = httpx.post(f"{secured.url}/classify", json=ONE_TEXT, verify=verify)
        assert answer.json()["results"][0]["label"] == "positive"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{secured.url}/livez", verify=ssl.create_default_context())
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{secured.port}/livez")


def test_a_renewed_certificate_is_used_without_a_restart(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "models", tmp_path / "models")
    certificate, key = self_signed(tmp_path)
    with serve(tmp_path, TEXTSERVE_TLS_CERTIFICATE=str(certificate), TEXTSERVE_TLS_KEY=str(key)) as secured:
        old = certificate.read_bytes()
        key.write_text("half of a renewal", encoding="utf-8")
        assert httpx.get(f"{secured.url}/livez", verify=trusting(str(certificate))).status_code == 200
        (tmp_path / "renewed").mkdir()
        for new, current in zip(self_signed(tmp_path / "renewed"), (certificate, key), strict=True):
            new.replace(current)
        assert httpx.get(f"{secured.url}/livez", verify=trusting(str(certificate))).status_code == 200
        assert is_live(secured.grpc_port, certificate.read_bytes())
        assert not is_live(secured.grpc_port, old)
        assert "are not used" in secured.log()


def is_live(port: int, roots: bytes) -> bool:
    """Whether gRPC answers a client that trusts ``roots``."""
    with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(roots)) as channel:
        try:
            channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=60)
        except grpc.RpcError:
            return False
        return True


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"TEXTSERVE_API_KEYS_FILE": "/no/such/file"}, "TEXTSERVE_API_KEYS_FILE: /no/such/file cannot be read"),
        ({"TEXTSERVE_TLS_KEY": "/no/such/file"}, "TEXTSERVE_TLS_KEY: /no/such/file cannot be read"),
        ({"TEXTSERVE_TLS_KEY": __file__}, "TEXTSERVE_TLS_CERTIFICATE and TEXTSERVE_TLS_KEY: set both or neither"),
    ],
)
def test_a_wrong_setting_fails_the_start_with_its_name(tmp_path: Path, wrong: dict[str, str], problem: str) -> None:
    output = fail_to_serve(tmp_path, TEXTSERVE_API_KEYS="secret-key-0123456789", **wrong)
    assert problem in output
    assert "secret-key-0123456789" not in output
