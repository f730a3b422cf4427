"""Pydantic's validation errors as short messages without input values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One validation error.

    Attributes:
        where: a path such as ``labels[0].name``, empty for the whole input.
        message: what is wrong, without the input's value.
        type: pydantic's error type.
        reason: the JSON parser's own message, with line and column; empty for other errors.
    """

    where: str
    message: str
    type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def problems(error: ValidationError, messages: Mapping[str, str]) -> list[Problem]:
    """Every problem, in the order of the input, without the input's value.

    ``messages`` are by pydantic's error type; other types keep pydantic's message.
    """
    return [
        Problem(
            location(found["loc"]),
            messages.get(found["type"], found["msg"].removeprefix("Value error, ")),
            found["type"],
            str(found["ctx"]["error"]) if found["type"] == "json_invalid" else "",
        )
        for found in error.errors(include_url=False, include_input=False)
        if found["type"] != "default_factory_not_called"  # of a field that depends on an invalid one
    ]


def location(parts: Sequence[int | str]) -> str:
    """A path such as ``inputs[2].shape``, from pydantic's tuple of keys and indices."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
