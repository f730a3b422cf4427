"""Promotions and rollbacks as a state machine, compared with a list, on a registry in memory and on MLflow's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import mlflow
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from modeling.errors import ModelingError
from modeling.registry import champion
from modeling.registry.versions import CHAMPION, STAGING, Registry, Version

pytestmark = pytest.mark.export

NAME = "tiny"


class Interrupted(Exception):
    """The process was ended in the middle of a move."""


class MemoryRegistry(Registry):
    """Versions and aliases in memory, which interrupt the process after ``writes_left`` more writes."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.writes_left = -1

    def create(self) -> str:
        number = str(len(self.tags) + 1)
        self.tags[number] = {}
        return number

    def delete(self, number: str) -> None:
        self.tags[number] = {"deleted": "yes"}

    def _write(self) -> None:
        if self.writes_left == 0:
            raise Interrupted
        self.writes_left -= 1

    def version(self, name: str, number: str) -> Version | None:
        if "deleted" in self.tags[number]:
            return None
        return Version(name, number, None, dict(self.tags[number]))

    def version_of(self, name: str, alias: str) -> Version | None:
        return self.version(name, self.aliases[alias]) if alias in self.aliases else None

    def set_alias(self, name: str, alias: str, number: str) -> None:
        self._write()
        self.aliases[alias] = number

    def remove_alias(self, name: str, alias: str) -> None:
        self._write()
        self.aliases.pop(alias, None)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._write()
            self.tags[version.number][key] = value


class SqliteRegistry(Registry):
    """MLflow's registry in a database, with versions that have no run."""

    writes_left = -1

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:///{folder / 'mlflow.db'}")
        self._folder = folder
        self._client.create_registered_model(NAME)

    def create(self) -> str:
        return str(self._client.create_model_version(NAME, source=self._folder.as_uri()).version)


class Moves(RuleBasedStateMachine):
    """Expects a stack of champions, of which the last is in use, and at most one candidate."""

    registry: MemoryRegistry | SqliteRegistry

    def make(self) -> MemoryRegistry | SqliteRegistry:
        return MemoryRegistry()

    @initialize()
    def start(self) -> None:
        self.registry = self.make()
        self.known: list[str] = []
        self.champions: list[str] = []
        self.staging: str | None = None
        self.moves = 0

    @rule()
    def train(self) -> None:
        number = self.registry.create()
        self.known.append(number)
        self.registry.set_alias(NAME, STAGING, number)
        self.staging = number

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def stage_an_earlier_version_again(self, data: st.DataObject) -> None:
        self.staging = data.draw(st.sampled_from(self.known))
        self.registry.set_alias(NAME, STAGING, self.staging)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.known))
        if number != self.staging or number in self.champions[-1:]:
            # The invariant checks that nothing has changed.
            with pytest.raises(ModelingError, match=f"{NAME}: "):
                self.move(number)
            return
        self.move(number)
        self.check_recorded(number, self.champions[-1] if self.champions else "none", "promote")
        self.champions.append(number)
        self.staging = None

    @rule()
    def roll_back(self) -> None:
        if len(self.champions) < 2:
            with pytest.raises(ModelingError, match="nothing to roll back"):
                self.back()
            return
        old, new = self.back()
        assert (old.number, new.number) == (self.champions[-1], self.champions[-2])
        self.check_recorded(new.number, old.number, "rollback")
        left = self.registry.version(NAME, old.number)
        assert left
        assert left.tags["rolled_back.to"] == new.number
        self.champions.pop()

    def move(self, number: str) -> None:
        self.moves += 1
        version = self.registry.version(NAME, number)
        assert version
        tags = {"champion.report": f"report {number}"}
        champion.promote(self.registry, version, by="Ada", at=str(self.moves), tags=tags)

    def back(self) -> tuple[Version, Version]:
        self.moves += 1
        return champion.roll_back(self.registry, NAME, by="Bob", at=str(self.moves))

    def number_of(self, alias: str) -> str | None:
        version = self.registry.version_of(NAME, alias)
        return version.number if version else None

    def check_recorded(self, number: str, before: str, move: str) -> None:
        version = self.registry.version(NAME, number)
        assert version
        who = "Ada" if move == "promote" else "Bob"
        expected = {"by": who, "at": str(self.moves), "from": before, "move": move, "report": f"report {number}"}
        assert {key: version.tags[f"champion.{key}"] for key in expected} == expected

    @invariant()
    def aliases_and_stack_are_as_expected(self) -> None:
        assert self.number_of(CHAMPION) == (self.champions[-1] if self.champions else None)
        assert self.number_of(STAGING) == self.staging
        assert champion.before(self.registry.version_of(NAME, CHAMPION)) == self.champions[:-1]


class InterruptedMoves(Moves):
    """The same, but any write may be the last."""

    @precondition(lambda self: self.staging and self.staging not in self.champions[-1:])
    @rule(writes=st.integers(0, 8))
    def promote_interrupted(self, writes: int) -> None:
        assert self.staging
        self.registry.writes_left = writes
        with contextlib.suppress(Interrupted):
            self.move(self.staging)
        self.registry.writes_left = -1
        number = self.number_of(CHAMPION)
        if number and number not in self.champions[-1:]:
            self.champions.append(number)
        # An interruption may leave a candidate that is in use already.
        self.staging = self.number_of(STAGING)

    @precondition(lambda self: len(self.champions) > 1)
    @rule(writes=st.integers(0, 8))
    def roll_back_interrupted(self, writes: int) -> None:
        self.registry.writes_left = writes
        with contextlib.suppress(Interrupted):
            self.back()
        self.registry.writes_left = -1
        if self.number_of(CHAMPION) != self.champions[-1]:
            self.champions.pop()


@pytest.mark.parametrize("machine", [Moves, InterruptedMoves])
def test_champions_are_a_stack_and_an_interrupted_move_has_happened_or_has_no_effect(machine: type[Moves]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=150, stateful_step_count=30))


def test_champions_are_a_stack_in_mlflow(tmp_path: Path) -> None:
    first = SqliteRegistry(tmp_path)
    client = mlflow.MlflowClient(tracking_uri=first.uri, registry_uri=first.uri)

    class OverMlflow(Moves):
        def make(self) -> SqliteRegistry:
            # A new model, in the same database, because creating one takes seconds.
            client.delete_registered_model(NAME)
            client.create_registered_model(NAME)
            return first

    few = settings(max_examples=6, stateful_step_count=12, database=None)
    run_state_machine_as_test(OverMlflow, settings=settings(few, suppress_health_check=list(HealthCheck)))


def registry_with(champions: int, registry: MemoryRegistry | None = None) -> MemoryRegistry:
    """A registry with the given number of promotions."""
    registry = registry or MemoryRegistry()
    for _ in range(champions):
        number = registry.create()
        registry.set_alias(NAME, STAGING, number)
        version = registry.version(NAME, number)
        assert version
        champion.promote(registry, version, by="Ada", at="now", tags={})
    return registry


def test_a_rollback_skips_deleted_versions() -> None:
    registry = registry_with(4)
    for number in ("2", "3"):
        registry.delete(number)
    champion.roll_back(registry, NAME, by="Bob", at="now")
    assert registry.aliases[CHAMPION] == "1"
    with pytest.raises(ModelingError, match="version 1 is the first champion; nothing to roll back to"):
        champion.roll_back(registry, NAME, by="Bob", at="now")


def test_the_stack_fits_into_a_tag() -> None:
    registry = registry_with(300)
    stack = registry.tags["300"][champion.BEFORE]
    assert len(stack) < 5000
    assert champion.before(registry.version_of(NAME, CHAMPION))[-1] == "299"


def test_a_champion_that_was_set_by_hand_can_be_rolled_back_to() -> None:
    registry = MemoryRegistry()
    registry.set_alias(NAME, CHAMPION, registry.create())
    registry_with(1, registry)
    champion.roll_back(registry, NAME, by="Bob", at="now")
    assert registry.aliases[CHAMPION] == "1"


@pytest.mark.parametrize(
    ("staging", "reason"),
    [(None, "no version has the alias staging"), ("2", "version 1 was evaluated, but staging is version 2 now")],
)
def test_a_version_that_is_not_the_candidate_is_rejected(staging: str | None, reason: str) -> None:
    registry = MemoryRegistry()
    registry.tags = {"1": {}, "2": {}}
    registry.aliases = {STAGING: staging} if staging else {}
    with pytest.raises(ModelingError, match=reason):
        champion.promote(registry, Version(NAME, "1", None, {}), by="Ada", at="now", tags={})
    assert registry.tags == {"1": {}, "2": {}}
