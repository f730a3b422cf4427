"""The version of a registered model in use: promotion and rollback of the alias ``champion``.

The champion's tag ``champion.before`` is a stack of version numbers, those of earlier champions, latest last. Each move
writes the tags of its target first and moves the alias last, so that an interrupted move has no effect:

- promote: the version with ``staging`` becomes the champion, and the previous champion is pushed onto the stack.
  ``staging`` is removed: there is no candidate until the next training.
- roll back: the top of the stack becomes the champion, and the rest is its stack; deleted versions are skipped.
  Repeated rollbacks undo one promotion each and fail when the stack is empty. To undo a rollback, set ``staging`` on
  the version and promote it.

The champion's tags are ``champion.by``, ``champion.at`` (UTC), ``champion.from`` (the previous champion) and
``champion.move`` (promote or rollback); after a promotion also ``champion.report`` (SHA-256), ``champion.commit`` and
``champion.files`` (artifact path of the served files). A version rolled back from has ``rolled_back.by``,
``rolled_back.at`` and ``rolled_back.to``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from modeling.errors import ModelingError
from modeling.registry.versions import CHAMPION, STAGING, Registry, Version

BEFORE = "champion.before"
FILES = "champion.files"
# MLflow tags are limited to 5,000 characters; older champions are dropped.
MAX_BEFORE = 100


def before(champion: Version | None) -> list[str]:
    """The stack of ``champion``: numbers of earlier champions, the latest last."""
    return list(json.loads(champion.tags.get(BEFORE, "[]"))) if champion else []


def check(registry: Registry, candidate: Version) -> Version | None:
    """The current champion; raises :class:`ModelingError` if ``candidate`` is not ``staging``, or is the champion."""
    name = candidate.name
    staging, champion = registry.version_of(name, STAGING), registry.version_of(name, CHAMPION)
    if champion and champion.number == candidate.number:
        raise ModelingError(f"{name}: version {candidate.number} is the {CHAMPION} already")
    if staging is None:
        raise ModelingError(f"{name}: no version has the alias {STAGING}; train a model, or set it on a version")
    if staging.number != candidate.number:
        raise ModelingError(
            f"{name}: version {candidate.number} was evaluated, but {STAGING} is version {staging.number} now; "
            "make the model from that version and evaluate it"
        )
    return champion


def promote(registry: Registry, candidate: Version, *, by: str, at: str, tags: Mapping[str, str]) -> None:
    """Make ``candidate`` the champion by user ``by`` at the UTC time ``at``, after :func:`check`, and set ``tags``."""
    champion = check(registry, candidate)
    stack = [*before(champion), *([champion.number] if champion else [])][-MAX_BEFORE:]
    last = champion.number if champion else "none"
    registry.set_tags(candidate, {**tags, **_moved(by, at, last, "promote"), BEFORE: json.dumps(stack)})
    registry.set_alias(candidate.name, CHAMPION, candidate.number)
    registry.remove_alias(candidate.name, STAGING)


def roll_back(registry: Registry, name: str, *, by: str, at: str) -> tuple[Version, Version]:
    """Make the previous champion the champion; returns old and new. Raises :class:`ModelingError` without one."""
    champion = registry.version_of(name, CHAMPION)
    if champion is None:
        raise ModelingError(f"{name}: no version has the alias {CHAMPION}; there is nothing to roll back")
    stack, target = before(champion), None
    while stack and target is None:
        target = registry.version(name, stack.pop())
    if target is None:
        raise ModelingError(f"{name}: version {champion.number} is the first {CHAMPION}; nothing to roll back to")
    registry.set_tags(target, {**_moved(by, at, champion.number, "rollback"), BEFORE: json.dumps(stack)})
    registry.set_alias(name, CHAMPION, target.number)
    registry.set_tags(champion, {"rolled_back.by": by, "rolled_back.at": at, "rolled_back.to": target.number})
    return champion, target


def _moved(by: str, at: str, last: str, move: str) -> dict[str, str]:
    return {"champion.by": by, "champion.at": at, "champion.from": last, "champion.move": move}
