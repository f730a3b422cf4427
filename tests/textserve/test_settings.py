from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from textserve.cpus import available_cpus
from textserve.settings import Settings, SettingsError

LIMITS = [
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float) and name != "grpc_port"
]
KEY = "0123456789abcdef"
MAY_BE_ZERO = ("cache_megabytes", "max_padding_tokens", "batch_wait_seconds", "stop_delay_seconds")


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEXTSERVE_")]:
        monkeypatch.delenv(name)


def test_by_default_every_available_core_computes() -> None:
    assert Settings().threads == available_cpus()


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
        ("spread_batches", "false", False),
        ("api_keys", f"{KEY},{KEY}", SecretStr(f"{KEY},{KEY}")),
        *(("cors_origins", value, value) for value in ("*", "https://shop.example", "http://[::1]:3000, https://a.b")),
    ],
)
def test_settings_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object
) -> None:
    assert len(LIMITS) >= 14
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", value)
    assert getattr(Settings(), name) == expected


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = getattr(Settings.read(), name)
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", "")
    assert getattr(Settings.read(), name) == default


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, "-1", "must be greater than") for name in LIMITS),
        *((name, "many", "must be a (whole )?number") for name in LIMITS),
        *((name, "0", "must be greater than") for name in LIMITS if name not in MAY_BE_ZERO),
        ("grpc_port", "65536", "must be less than or equal to 65535"),
        ("grpc_port", "tcp", "must be a whole number"),
        ("drain_seconds", "inf", "must be a finite number"),
        ("request_seconds", "nan", "must be a finite number"),
        ("spread_batches", "maybe", "must be true or false"),
        ("model", "Model 1", "must be NAME or NAME:VERSION"),
        *(
            ("cors_origins", value, "must be \\* or origins such as https://shop.example, without a path")
            for value in ("shop.example", "https://shop.example/", "https://*.example", "https://a.b *")
        ),
    ],
)
def test_an_invalid_value_is_an_error_of_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"^TEXTSERVE_{name.upper()}: {message}.*$"):
        Settings.read()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_mistyped_setting_is_an_error_that_names_the_likely_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mistyped = f"TEXTSERVE_{name[:-2]}{name[-1]}".upper()
    monkeypatch.setenv(mistyped, "2")
    message = f"^{mistyped}: no such setting; did you mean TEXTSERVE_{name.upper()}\\?$"
    with pytest.raises(SettingsError, match=message):
        Settings.read()


def test_batches_are_spread_over_all_threads_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert Settings.model_validate({"threads": 3}).batch_threads == 3
    assert Settings.model_validate({"threads": 3, "spread_batches": False}).batch_threads == 1
    # On macOS, a thread has no priority of its own.
    monkeypatch.setattr("sys.platform", "darwin")
    assert Settings.model_validate({"threads": 3}).batch_threads == 1


# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
@pytest.mark.parametrize("service", ["TEXTSERVE", "TEXTSERVE_GRPC", "TEXTSERVE_MODEL"])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_neither_a_setting_nor_a_mistake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: str
) -> None:
    port = f"{service}_PORT_3000_TCP"
    variables = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "3000",
        f"{service}_SERVICE_PORT_HTTP": "3000",
        f"{service}_PORT": "tcp://10.0.0.1:3000",
        port: "tcp://10.0.0.1:3000",
        f"{port}_PROTO": "tcp",
        f"{port}_PORT": "3000",
        f"{port}_ADDR": "10.0.0.1",
    }
    before = Settings.read()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings.read() == before
    assert caplog.messages == []


def test_a_variable_that_is_like_no_setting_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEXTSERVE_OWNER", "a team")
    Settings.read()
    assert caplog.messages == ["TEXTSERVE_OWNER is not a setting and has no effect"]


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_a_certificate_and_its_key_are_set_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    file = tmp_path / "only.pem"
    file.write_text("content", encoding="utf-8")
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", str(file))
    with pytest.raises(SettingsError, match="set both or neither"):
        Settings.read()


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (b" \n", "is empty"), (b"\xff", "decode")])
@pytest.mark.parametrize("name", ["API_KEYS_FILE", "TLS_CERTIFICATE", "TLS_KEY"])
def test_a_file_that_is_missing_empty_or_binary_is_an_error_that_names_it_and_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("TEXTSERVE_API_KEYS", f"my-secret-{KEY}")
    assert "my-secret" not in repr(Settings())
    monkeypatch.setenv(f"TEXTSERVE_{name}", str(file))
    with pytest.raises(SettingsError, match=f"TEXTSERVE_{name}: {file}.*{problem}") as error:
        Settings.read()
    assert "my-secret" not in str(error.value)
