"""Which version of a registered model is in use: how the alias ``champion`` moves forward, and back.

What came before is a stack. It is kept with the version that has the alias, in its tag ``champion.before``: the numbers
of the earlier champions, the latest last. Each move first writes the tags of the version that the alias goes to, and
moves the alias last, so that a move that is interrupted has not happened:

- promote: the version with ``staging`` gets ``champion``, and the champion until now goes onto the stack. ``staging``
  is taken away: there is no candidate until the next training.
- roll back: the top of the stack gets ``champion`` back, and the rest is its stack; versions that were deleted since
  are passed over. So several in a row go back one promotion each, until there is none left, which is refused. There is
  no roll back of a roll back, but ``staging`` may be given to any version again, and that be promoted.

The tags of the champion say why it is in use: ``champion.by``, ``champion.at`` (UTC), ``champion.from`` (the champion
until then), ``champion.move`` (promote or rollback); since its promotion also ``champion.report`` (SHA-256),
``champion.commit``, ``champion.files`` (where what is served is among its run's artifacts). A version that was rolled
back from has ``rolled_back.by``, ``rolled_back.at`` and ``rolled_back.to``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

from modeling.errors import ModelingError
from modeling.registry.versions import CHAMPION, STAGING, Version

BEFORE = "champion.before"
FILES = "champion.files"
# MLflow's tags hold 5,000 characters; earlier champions than these are forgotten.
MAX_BEFORE = 100


class Versions(Protocol):
    """What is needed of :class:`modeling.registry.versions.Registry`."""

    def version_of(self, name: str, alias: str) -> Version | None:
        """The version that has ``alias``."""

    def version(self, name: str, number: str) -> Version | None:
        """The version of that number."""

    def set_alias(self, name: str, alias: str, number: str) -> None:
        """Give ``alias`` to a version."""

    def remove_alias(self, name: str, alias: str) -> None:
        """Take ``alias`` away."""

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""


def before(champion: Version | None) -> list[str]:
    """The stack of ``champion``: numbers of earlier champions, the latest last."""
    stack: list[str] = json.loads(champion.tags.get(BEFORE, "[]")) if champion else []
    return stack


def check(versions: Versions, candidate: Version) -> Version | None:
    """Whether ``candidate`` may become the champion as the aliases are now; returns the present one.

    Raises:
        ModelingError: if ``staging`` is not the candidate's, or it is the champion already.
    """
    name = candidate.name
    staging, champion = versions.version_of(name, STAGING), versions.version_of(name, CHAMPION)
    if champion and champion.number == candidate.number:
        raise ModelingError(f"{name}: version {candidate.number} is the {CHAMPION} already")
    if staging is None:
        raise ModelingError(f"{name}: no version has the alias {STAGING}; train a model, or give it to a version")
    if staging.number != candidate.number:
        raise ModelingError(
            f"{name}: version {candidate.number} was evaluated, but {STAGING} is version {staging.number} now; "
            "make the model from that one, and evaluate it"
        )
    return champion


def promote(versions: Versions, candidate: Version, *, by: str, at: str, tags: Mapping[str, str]) -> None:
    """Make ``candidate`` the champion.

    Args:
        versions: the registry.
        candidate: the version that was evaluated.
        by: who does it.
        at: when, in UTC.
        tags: what else to record on the version.

    Raises:
        ModelingError: as :func:`check` does.
    """
    champion = check(versions, candidate)
    stack = [*before(champion), *([champion.number] if champion else [])][-MAX_BEFORE:]
    moved = {"by": by, "at": at, "from": champion.number if champion else "none", "move": "promote"}
    versions.set_tags(candidate, {**tags, **_champion(moved), BEFORE: json.dumps(stack)})
    versions.set_alias(candidate.name, CHAMPION, candidate.number)
    versions.remove_alias(candidate.name, STAGING)


def roll_back(versions: Versions, name: str, *, by: str, at: str) -> tuple[Version, Version]:
    """Give the alias back to the champion before this one, and return the versions that it went from and to.

    Raises:
        ModelingError: if there is no champion, or none before it.
    """
    champion = versions.version_of(name, CHAMPION)
    if champion is None:
        raise ModelingError(f"{name}: no version has the alias {CHAMPION}; there is nothing to roll back")
    stack, target = before(champion), None
    while stack and target is None:
        target = versions.version(name, stack.pop())
    if target is None:
        raise ModelingError(f"{name}: version {champion.number} is the first {CHAMPION}; there is none to go back to")
    moved = {"by": by, "at": at, "from": champion.number, "move": "rollback"}
    versions.set_tags(target, {**_champion(moved), BEFORE: json.dumps(stack)})
    versions.set_alias(name, CHAMPION, target.number)
    versions.set_tags(champion, {"rolled_back.by": by, "rolled_back.at": at, "rolled_back.to": target.number})
    return champion, target


def _champion(moved: Mapping[str, str]) -> dict[str, str]:
    return {f"champion.{key}": value for key, value in moved.items()}
