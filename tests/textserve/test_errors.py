from __future__ import annotations

from textserve.errors import TextserveError

ERRORS = TextserveError.__subclasses__()


def test_every_error_has_a_type_of_its_own() -> None:
    types = [error.type for error in ERRORS]
    assert len(types) >= 9
    assert len(set(types)) == len(types)


def test_every_error_is_a_refusal_in_http() -> None:
    assert [error.__name__ for error in ERRORS if not 400 <= error.status <= 599] == []


def test_what_the_caller_can_mend_is_4xx_and_what_he_cannot_is_5xx() -> None:
    server = {error.type for error in ERRORS if error.status >= 500}
    assert server == {"deadline_exceeded", "not_ready", "shutting_down", "internal"}
