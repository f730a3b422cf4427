from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import pytest

from textserve import keys
from textserve.errors import Unauthorized
from textserve.keys import ApiKeys
from textserve.settings import Settings, SettingsError

FIRST, SECOND, THIRD, FOURTH = (f"{number}-0123456789abcdef" for number in range(4))
KEY = "first-key-17-long"
KEYS = ApiKeys(["first-key-17-long", "zażółć gęślą jaźń"])


@pytest.mark.parametrize("authorization", ["", "Bearer x", "Basic first-key-17-long"])
def test_without_keys_none_is_required(authorization: str) -> None:
    assert not ApiKeys([])
    ApiKeys([]).check(authorization)


@pytest.mark.parametrize(
    "authorization",
    [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} ", "Bearer zażółć gęślą jaźń"],
)
def test_each_of_several_keys_is_accepted(authorization: str) -> None:
    assert KEYS
    KEYS.check(authorization)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "first-key-17-long",
        "Basic first-key-17-long",
        "Bearer",
        "Bearer ",
        "Bearer first",
        "Bearer first-key-17-long2",
        "Bearer x y",
    ],
)
def test_anything_else_is_rejected_without_quoting_it(authorization: str) -> None:
    with pytest.raises(Unauthorized) as error:
        KEYS.check(authorization)
    assert error.value.where == "authorization"
    assert "first" not in error.value.message


def test_another_scheme_is_told_from_no_key() -> None:
    with pytest.raises(Unauthorized, match="is missing"):
        KEYS.check("")
    with pytest.raises(Unauthorized, match="has another scheme"):
        KEYS.check(f"Basic {KEY}")


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, key: bytes) -> bool:
        compared.append(key)
        return sent == key

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYS.check("Bearer first-key-17-long")
    assert len(compared) == 2


def test_the_object_shows_no_key() -> None:
    assert "first-key-17-long" not in repr(KEYS) + repr(vars(KEYS))


def test_keys_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{THIRD}\n\n  {FOURTH} \n", encoding="utf-8")
    monkeypatch.setenv("TEXTSERVE_API_KEYS", f"{FIRST}, {SECOND},")
    monkeypatch.setenv("TEXTSERVE_API_KEYS_FILE", str(file))
    accepted = Settings().keys()
    for key in (FIRST, SECOND, THIRD, FOURTH):
        accepted.check(f"Bearer {key}")
    for key in ("", f"{FIRST}, {SECOND}", "fifth"):
        with pytest.raises(Unauthorized):
            accepted.check(f"Bearer {key}")


@pytest.mark.parametrize("variable", ["TEXTSERVE_API_KEYS", "TEXTSERVE_API_KEYS_FILE"])
def test_a_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    file = tmp_path / "keys"
    file.write_text("short", encoding="utf-8")
    monkeypatch.setenv(variable, "short" if variable.endswith("KEYS") else str(file))
    with pytest.raises(SettingsError, match="a key has 5 characters; use at least 16") as error:
        Settings.read()
    assert "short" not in str(error.value)


def test_the_file_is_read_again_when_it_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "FILE_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text(FIRST, encoding="utf-8")
    accepted = ApiKeys([SECOND], file)
    file.write_text(f"{THIRD}\n", encoding="utf-8")
    for key in (SECOND, THIRD):
        accepted.check(f"Bearer {key}")
    with pytest.raises(Unauthorized):
        accepted.check(f"Bearer {FIRST}")
    for wrong in ("short", "\n"):
        file.write_text(wrong, encoding="utf-8")
        accepted.check(f"Bearer {THIRD}")
        assert "is not used, and the keys read before stay valid" in caplog.text
        caplog.clear()
    file.unlink()
    accepted.check(f"Bearer {THIRD}")
    assert THIRD not in caplog.text


def test_an_address_that_keeps_guessing_waits_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("textserve.keys.asyncio.sleep", sleep)

    async def refused(authorization: str, address: str) -> None:
        with pytest.raises(Unauthorized):
            await KEYS.authorize(authorization, address)

    async def guess(address: str, times: int) -> int:
        waited.clear()
        for _ in range(times):
            await refused("Bearer guess", address)
        return len(waited)

    async def run() -> None:
        assert await guess("10.0.0.1", keys.WRONG_KEYS) == 0
        assert await guess("10.0.0.1", 5) == 5
        waited.clear()
        await KEYS.authorize(f"Bearer {KEY}", "10.0.0.1")  # the right key never waits
        assert waited == []
        assert await guess("10.0.0.2", keys.WRONG_KEYS) == 0
        for _ in range(100):
            await refused("", "10.0.0.3")  # no key is no guess
        assert await guess("10.0.0.3", keys.WRONG_KEYS) == 0
        monkeypatch.setattr(keys, "WINDOW_SECONDS", -1.0)
        assert await guess("10.0.0.1", 1) == 0
        monkeypatch.setattr(keys, "ADDRESSES", 3)
        for number in range(100):
            await refused("Bearer guess", str(number))
        assert len(vars(KEYS)["_guesses"]) <= 5

    asyncio.run(run())
    assert [record.message for record in caplog.records] == ["1 requests had a wrong API key"]
