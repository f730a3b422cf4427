"""The states of a rollout and the transitions between them; nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from operate.counts import Counts
from operate.errors import OperateError

# The candidate's share at each step, in percent. A shadow has no steps: no client gets an answer of the candidate.
STRATEGIES: Mapping[str, tuple[int, ...]] = {"canary": (5, 25, 50, 100), "blue-green": (100,), "shadow": ()}
Status = Literal["running", "promoted", "aborted", "observed"]
OTHER = {"blue": "green", "green": "blue"}


@dataclass(frozen=True)
class Rollout:
    """The state of a rollout: which version gets how much traffic, and why.

    ``step`` is the number of steps that have passed, ``base`` the counts of both versions at the beginning of the step.
    A rollout ends as ``promoted`` or ``aborted``, a shadow that passes as ``observed``; these states are final. Raises
    :class:`OperateError` unless there are no steps, or they rise from above 0 to 100.
    """

    candidate: str
    steps: tuple[int, ...]
    mirror: bool
    step: int = 0
    status: Status = "running"
    reason: str = ""
    base: Mapping[str, Counts] = field(default_factory=dict)
    mirrored: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.candidate not in OTHER:
            raise OperateError(f"the candidate is blue or green; found: {self.candidate}")
        rising = all(a < b for a, b in zip((0, *self.steps), self.steps, strict=False))
        if self.steps and (not rising or self.steps[-1] != 100):
            raise OperateError(f"the steps must rise from above 0 to 100 percent; found: {self.steps}")

    @property
    def stable(self) -> str:
        """The version that the candidate would replace."""
        return OTHER[self.candidate]

    @property
    def share(self) -> int:
        """The percentage of requests that the candidate should get in this state."""
        if self.status == "promoted":
            return 100
        return self.steps[self.step] if self.status == "running" and self.steps else 0

    def passed(self, undecided: str = "") -> Rollout:
        """The state after the current step has passed, or was left ``undecided`` for a reason; a final state stays."""
        if self.status != "running":
            return self
        reason = "; ".join(filter(None, (self.reason, undecided)))
        if not self.steps:
            return replace(self, status="observed", reason=reason or "every check passed on mirrored texts")
        following = replace(self, step=self.step + 1, reason=reason, base={}, mirrored=(0, 0))
        if following.step < len(self.steps):
            return following
        reason = reason or "every check of every step passed"
        return replace(following, step=self.step, status="promoted", reason=reason)

    def promoted(self) -> Rollout:
        """The state after a person has promoted the candidate, skipping the remaining steps; a final state stays."""
        return replace(self, status="promoted", reason="promoted by hand") if self.status == "running" else self

    def aborted(self, reason: str) -> Rollout:
        """The state after the candidate was found bad or a person aborted the rollout; a final state stays."""
        return replace(self, status="aborted", reason=reason) if self.status == "running" else self

    def to_json(self) -> dict[str, Any]:
        """The rollout as a dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Rollout:
        """The rollout of :meth:`to_json`; raises :class:`TypeError` or :class:`KeyError` for other content."""
        base = {version: Counts(**counts) for version, counts in content["base"].items()}
        steps, mirrored = tuple(content["steps"]), tuple(content["mirrored"])
        return cls(**{**content, "steps": steps, "mirrored": mirrored, "base": base})
