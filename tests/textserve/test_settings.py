from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from textserve.cpus import available_cpus
from textserve.settings import Settings

MODELS = Path(__file__).resolve().parents[2] / "models"
LIMITS = [
    "threads",
    "max_batch_texts",
    "max_batch_tokens",
    "max_padding_tokens",
    "batch_wait_seconds",
    "max_queue_seconds",
    "max_waiting_tokens",
    "request_seconds",
    "max_body_bytes",
    "max_texts",
    "max_characters",
    "max_explained_words",
    "drain_seconds",
    "stop_delay_seconds",
]
MAY_BE_ZERO = ("max_padding_tokens", "batch_wait_seconds", "stop_delay_seconds")
OTHERS = {"model", "api_keys", "api_keys_file", "tls_certificate", "tls_key", "grpc_host", "grpc_port"}


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("TEXTSERVE_")]:
        monkeypatch.delenv(name)


def test_by_default_the_model_of_the_project_is_served_on_every_core_it_may_use() -> None:
    settings = Settings()
    assert (MODELS / settings.model / "model.onnx").is_file()
    assert settings.threads == available_cpus()


def test_by_default_a_request_within_the_limits_fits_in_the_body_and_in_the_queue() -> None:
    settings = Settings()
    assert settings.max_waiting_tokens >= settings.max_batch_tokens * settings.threads
    assert settings.request_seconds > settings.max_queue_seconds
    assert settings.max_body_bytes > 4 * settings.max_characters  # UTF-8 takes up to four bytes a character


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert getattr(Settings(), name) != 7
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", "7")
    assert getattr(Settings(), name) == 7


def test_the_model_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTSERVE_MODEL", "another-model")
    assert Settings().model == "another-model"


def test_every_other_setting_is_a_limit_that_these_tests_know() -> None:
    assert set(Settings.model_fields) == {*OTHERS, *LIMITS}


def test_the_readme_lists_every_setting_with_its_default() -> None:
    readme = (MODELS.parent / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `TEXTSERVE_(\w+)` \| (.+?) \|", readme, re.MULTILINE))
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items() if name != "threads"}
    assert rows.keys() == defaults.keys() | {"THREADS"}
    assert {name: rows[name] for name in defaults} == {name: shown(default) for name, default in defaults.items()}


def shown(default: object) -> str:
    if default is None or default == SecretStr(""):
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("name", MAY_BE_ZERO)
def test_what_is_waited_for_need_not_be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", "0")
    assert getattr(Settings(), name) == 0


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in MAY_BE_ZERO])
@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TEXTSERVE_{name.upper()}", value)
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert [error["loc"] for error in refusal.value.errors()] == [(name,)]
    assert name in str(refusal.value)


def test_a_mistyped_variable_is_named_with_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTSERVE_THREDS", "2")
    with pytest.raises(ValidationError, match=r"TEXTSERVE_THREDS: no such setting; there are .*TEXTSERVE_THREADS"):
        Settings()
