from __future__ import annotations

from textserve.errors import TextserveError

ERRORS = TextserveError.__subclasses__()


def test_error_types_are_unique_and_statuses_separate_client_from_server_errors() -> None:
    assert len({error.type for error in ERRORS}) == len(ERRORS)
    assert {error.type for error in ERRORS if not 400 <= error.status < 500} == {
        "deadline_exceeded",
        "not_ready",
        "shutting_down",
        "internal",
    }
    assert [error.type for error in ERRORS if error.status >= 600] == []
