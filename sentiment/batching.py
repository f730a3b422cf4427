"""Which texts are computed next, and together: fair between requests, of near-equal length within a batch.

Padding is what batching costs on a CPU: texts of mixed length padded to the longest are slower than no batch at all.
So the queue keeps waiting texts by length, and a batch is the text whose turn it is with others of about its length.

Whose turn it is follows start-time fair queueing (Goyal, Vin and Cheng 1996): a text's turn is the virtual time at
which its request arrived plus the tokens of the texts before it in the same request, and virtual time moves to the
turn of each text taken. A request of one text that arrives beside a request of a thousand is therefore next, not last.

Nothing here knows of threads, clocks or models; :mod:`sentiment.runner` does.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sentiment.classifier import Encoding

W = TypeVar("W", bound="Work")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be, and how different its texts.

    ``texts`` and ``tokens`` (padding included) bound a batch; a text longer than ``tokens`` is a batch of its own.
    Texts join a batch if they differ from its first in length by at most ``spread``, a share of that length.
    A spread of 0 keeps to texts of equal length, as a graph without an attention mask needs.
    """

    texts: int
    tokens: int
    spread: float = 0.1


@dataclass(slots=True, eq=False)
class Work:
    """The texts of one request. ``waiting_tokens`` are still in the queue; ``cancelled`` work is passed over there."""

    encodings: Sequence[Encoding]
    cancelled: bool = field(default=False, init=False)
    waiting_tokens: int = field(default=0, init=False)


@dataclass(frozen=True, slots=True, order=True)
class Text(Generic[W]):
    """One waiting text: its turn, the order of arrival that decides between equal turns, and whose it is."""

    turn: int
    arrival: int
    work: W = field(compare=False)
    place: int = field(compare=False)

    @property
    def encoding(self) -> Encoding:
        """The token ids of this text."""
        return self.work.encodings[self.place]


class BatchQueue(Generic[W]):
    """Waiting texts, by length. :meth:`add` the texts of a request, :meth:`take` the next batch."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._waiting: dict[int, list[Text[W]]] = {}
        self._virtual_time = 0
        self._arrivals = 0
        self.tokens = 0
        """Tokens of the waiting texts, cancelled ones not counted."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, work: W) -> None:
        """Put every text of ``work`` into the queue."""
        turn = self._virtual_time
        for place, encoding in enumerate(work.encodings):
            length = len(encoding.ids)
            heapq.heappush(self._waiting.setdefault(length, []), Text(turn, self._arrivals, work, place))
            self._arrivals += 1
            turn += length
        work.waiting_tokens = turn - self._virtual_time
        self.tokens += work.waiting_tokens

    def cancel(self, work: W) -> None:
        """Have the waiting texts of ``work`` passed over; they count as waiting no more. Cancel it once at most."""
        if work.cancelled:
            return
        work.cancelled = True
        self.tokens -= work.waiting_tokens
        work.waiting_tokens = 0

    def take(self) -> list[Text[W]]:
        """Remove and return the next batch, the text whose turn it is first; empty if nothing waits.

        Texts of cancelled work are removed on the way and not returned.
        """
        first = self._pop_first()
        if first is None:
            return []
        batch, length = [first], len(first.encoding.ids)
        longest = length
        for candidate in self._near(length):
            widest = max(longest, candidate)
            room = min(self._limits.texts, self._limits.tokens // max(widest, 1))
            while len(batch) < room and (text := self._pop(candidate)) is not None:
                batch.append(text)
                longest = widest
        return batch

    def _near(self, length: int) -> list[int]:
        """Waiting lengths that may share a batch with ``length``, nearest first."""
        spread = int(length * self._limits.spread)
        return sorted((n for n in self._waiting if abs(n - length) <= spread), key=lambda n: abs(n - length))

    def _pop_first(self) -> Text[W] | None:
        while self._waiting:
            length = min(self._waiting, key=lambda n: self._waiting[n][0])
            # One at a time: behind a cancelled text of this length, the turn may be another length's.
            text = self._remove(length)
            if not text.work.cancelled:
                self._virtual_time = max(self._virtual_time, text.turn)
                return text
        return None

    def _pop(self, length: int) -> Text[W] | None:
        """Remove the text of this length whose turn comes first, passing over cancelled work; ``None`` if none is."""
        while length in self._waiting:
            text = self._remove(length)
            if not text.work.cancelled:
                return text
        return None

    def _remove(self, length: int) -> Text[W]:
        texts = self._waiting[length]
        text = heapq.heappop(texts)
        if not texts:
            del self._waiting[length]
        if not text.work.cancelled:
            text.work.waiting_tokens -= length
            self.tokens -= length
        return text
