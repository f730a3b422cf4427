from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from pydantic import ValidationError

from textserve.errors import Unauthorized
from textserve.keys import ApiKeys
from textserve.settings import Settings

KEYS = ApiKeys(["first-key", "zażółć"])


@pytest.mark.parametrize("authorization", [None, "", "Bearer x", "Basic first-key"])
def test_without_keys_everybody_may_ask(authorization: str | None) -> None:
    assert not ApiKeys([])
    ApiKeys([]).check(authorization)


@pytest.mark.parametrize(
    "authorization", ["Bearer first-key", "bearer first-key", "BEARER  first-key ", "Bearer zażółć"]
)
def test_each_of_several_keys_is_accepted(authorization: str) -> None:
    assert KEYS
    KEYS.check(authorization)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "first-key", "Basic first-key", "Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Bearer x y"],
)
def test_anything_else_is_refused_without_quoting_it(authorization: str | None) -> None:
    with pytest.raises(Unauthorized) as refusal:
        KEYS.check(authorization)
    assert refusal.value.where == "authorization"
    assert "first" not in refusal.value.message


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYS.check("Bearer first-key")
    assert len(compared) == 2


def test_nothing_shows_a_key() -> None:
    assert "first-key" not in repr(KEYS) + repr(vars(KEYS))


def test_keys_come_from_the_environment_and_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("third\n\n  fourth \n", encoding="utf-8")
    monkeypatch.setenv("TEXTSERVE_API_KEYS", "first, second,")
    monkeypatch.setenv("TEXTSERVE_API_KEYS_FILE", str(file))
    keys = Settings().keys()
    for key in ("first", "second", "third", "fourth"):
        keys.check(f"Bearer {key}")
    for key in ("", "first, second", "fifth"):
        with pytest.raises(Unauthorized):
            keys.check(f"Bearer {key}")


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (" \n", "is empty"), (b"\xff", "decode")])
def test_a_file_without_keys_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | bytes | None, problem: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setenv("TEXTSERVE_API_KEYS_FILE", str(file))
    with pytest.raises(ValidationError, match=f"TEXTSERVE_API_KEYS_FILE: {file}.*{problem}"):
        Settings()


def test_no_error_of_a_setting_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTSERVE_API_KEYS", "my-secret-key")
    monkeypatch.setenv("TEXTSERVE_API_KEYS_FILE", "/no/such/file")
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert "my-secret" not in str(refusal.value)
    monkeypatch.delenv("TEXTSERVE_API_KEYS_FILE")
    assert "my-secret" not in repr(Settings())


@pytest.mark.parametrize("name", ["TLS_CERTIFICATE", "TLS_KEY"])
def test_a_certificate_without_its_key_or_a_key_without_its_certificate_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "one.pem"
    file.write_text("one", encoding="utf-8")
    monkeypatch.setenv(f"TEXTSERVE_{name}", str(file))
    with pytest.raises(ValidationError, match="set both, or none"):
        Settings()


def test_a_certificate_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CERTIFICATE", "TLS_KEY"):
        monkeypatch.setenv(f"TEXTSERVE_{name}", "/no/such.pem")
    with pytest.raises(ValidationError, match=r"TEXTSERVE_TLS_CERTIFICATE: /no/such.pem cannot be read: .*No such"):
        Settings()
