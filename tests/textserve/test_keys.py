from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from textserve.errors import Unauthorized
from textserve.keys import ApiKeys
from textserve.settings import Settings

KEYS = ApiKeys(["first-key", "zażółć"])


@pytest.mark.parametrize("authorization", ["", "Bearer x", "Basic first-key"])
def test_without_keys_none_is_required(authorization: str) -> None:
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
    ["", "first-key", "Basic first-key", "Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Bearer x y"],
)
def test_anything_else_is_rejected_without_quoting_it(authorization: str) -> None:
    with pytest.raises(Unauthorized) as error:
        KEYS.check(authorization)
    assert error.value.where == "authorization"
    assert "first" not in error.value.message


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, key: bytes) -> bool:
        compared.append(key)
        return sent == key

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYS.check("Bearer first-key")
    assert len(compared) == 2


def test_the_object_shows_no_key() -> None:
    assert "first-key" not in repr(KEYS) + repr(vars(KEYS))


def test_keys_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
