from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from tests.conftest import DEFAULT_MODEL
from textserve.cpus import available_cpus
from textserve.settings import Settings

LIMITS = [
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float) and name != "grpc_port"
]
MAY_BE_ZERO = ("max_padding_tokens", "batch_wait_seconds", "stop_delay_seconds")


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEXTSERVE_")]:
        monkeypatch.delenv(name)


def test_by_default_the_projects_model_is_served_on_every_available_core() -> None:
    settings = Settings()
    assert settings.model == DEFAULT_MODEL.name
    assert settings.threads == available_cpus()


def test_by_default_a_request_within_the_limits_fits_into_the_body_and_the_queue() -> None:
    settings = Settings()
    assert settings.max_waiting_tokens >= settings.max_batch_tokens * settings.threads
    assert settings.request_seconds > settings.max_queue_seconds
    assert settings.max_body_bytes > 4 * settings.max_characters  # UTF-8 takes up to four bytes per character


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, "7", 7) for name in LIMITS),
        *((name, "0", 0) for name in (*MAY_BE_ZERO, "grpc_port")),
        ("model", "another-model", "another-model"),
        ("grpc_host", "::1", "::1"),
        ("api_keys", "a,b", SecretStr("a,b")),
    ],
)
def test_settings_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object
) -> None:
    assert len(LIMITS) >= 14
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", value)
    assert getattr(Settings(), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in LIMITS for value in ("-1", "many", "")),
        *((name, "0") for name in LIMITS if name not in MAY_BE_ZERO),
        ("grpc_port", "65536"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name) as error:
        Settings()
    assert [problem["loc"] for problem in error.value.errors()] == [(name,)]


def test_an_unknown_variable_is_an_error_that_lists_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTSERVE_THREDS", "2")
    with pytest.raises(ValidationError, match=r"TEXTSERVE_THREDS: no such setting; .*TEXTSERVE_THREADS"):
        Settings()


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_a_certificate_and_its_key_are_set_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    file = tmp_path / "only.pem"
    file.write_text("content", encoding="utf-8")
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", str(file))
    with pytest.raises(ValidationError, match="set both or neither"):
        Settings()


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (b" \n", "is empty"), (b"\xff", "decode")])
@pytest.mark.parametrize("name", ["API_KEYS_FILE", "TLS_CERTIFICATE", "TLS_KEY"])
def test_a_file_that_is_missing_empty_or_binary_is_an_error_that_names_it_and_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("TEXTSERVE_API_KEYS", "my-secret-key")
    assert "my-secret" not in repr(Settings())
    monkeypatch.setenv(f"TEXTSERVE_{name}", str(file))
    with pytest.raises(ValidationError, match=f"TEXTSERVE_{name}: {file}.*{problem}") as error:
        Settings()
    assert "my-secret" not in str(error.value)
