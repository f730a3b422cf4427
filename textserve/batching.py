"""Which texts are computed next, and together: fair between requests, of near-equal length within a batch.

Padding is what batching costs on a CPU: texts of mixed length padded to the longest are slower than no batch at all.
So the queue keeps waiting texts by length, and a batch is the text whose turn it is with others of about its length.

Whose turn it is follows self-clocked fair queueing (Golestani, INFOCOM 1994). Every request has a virtual time at which
its next text would be finished if all waiting requests shared the machine. The earliest is next, and if it is large it
moves on by the tokens computed for it. A request that arrives starts a little after the one being served. So a request
of one text beside a request of a thousand is next, not last; small requests are served in the order they came; and a
request of a thousand beside an endless stream of them still gets its share. Texts that fill up another's batch are not
charged: they take no one's turn.

A batch, once begun, cannot be interrupted: while small requests come and go, large ones get little of it at a time.

Nothing here knows of threads, models or the time of day; :mod:`textserve.runner` does.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from textserve.classifier import Encoding

W = TypeVar("W", bound="Work")

# Tokens that every request is charged as it arrives, about those of one text: none, and a stream of new requests would
# keep an older one waiting for ever; its real length, and shorter ones would overtake it.
QUANTUM = 32
# A request of more tokens is large: it gives way to others after each batch, where a smaller one keeps its turn until
# it is done. Requests of about one size that all gave way would all be done late.
LARGE = 512
# Beside small requests, large ones get this much of a batch that starts with one of theirs, and nothing of another:
# some 10 ms on one core, for which a small request may have to wait.
LARGE_SHARE = 96
# Seconds after the last small request for which that holds.
SMALL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be, and how different its texts.

    ``texts`` and ``tokens`` (padding included) bound a batch; a text longer than ``tokens`` is a batch of its own.
    A text joins a batch if that makes for at most ``padding`` tokens more of padding, its own or that of the others:
    a run costs some time however short its texts are, and padding that costs less than a run more is worth it.
    A padding of 0 keeps to texts of equal length, as a graph without an attention mask needs.
    """

    texts: int
    tokens: int
    padding: int

    def admit(self, length: int, texts: int, longest: int) -> bool:
        """Whether a text of ``length`` may join a batch of ``texts``, the longest of which has ``longest`` tokens."""
        padding = longest - length if length <= longest else (length - longest) * texts
        return texts < self.texts and (texts + 1) * max(longest, length) <= self.tokens and padding <= self.padding


@dataclass(slots=True, eq=False)
class Work:
    """The texts of one request: ``deadline`` is the time from which on none of them is to be computed any more.

    ``waiting_tokens`` are those of the texts still in the queue, 0 before and after.
    """

    encodings: Sequence[Encoding]
    deadline: float = field(default=inf, kw_only=True)
    waiting_tokens: int = field(default=0, init=False)
    _waiting: OrderedDict[int, None] = field(default_factory=OrderedDict, init=False)
    _turn: int = field(default=0, init=False)
    _arrival: int = field(default=0, init=False)
    _large: bool = field(default=False, init=False)

    @property
    def waiting_texts(self) -> int:
        """How many of its texts are still in the queue."""
        return len(self._waiting)


@dataclass(frozen=True, slots=True)
class Text(Generic[W]):
    """One text of a request: whose it is, and its place there."""

    work: W
    place: int

    @property
    def encoding(self) -> Encoding:
        """The token ids of this text."""
        return self.work.encodings[self.place]


class BatchQueue(Generic[W]):
    """Waiting texts. :meth:`add` the texts of a request, :meth:`take` the next batch, :meth:`cancel` a request.

    Attributes:
        tokens: tokens of all waiting texts.
        tokens_ahead: how many of them are likely computed before a request that arrives now gets its first turn:
            of each request at most one batch, since then it is another's turn.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._by_length: dict[tuple[int, bool], OrderedDict[Text[W], None]] = {}
        self._turns: list[tuple[int, int, W]] = []
        self._virtual_time = 0
        self._arrivals = 0
        self._small_arrived = False
        self._small_until = -inf
        self.tokens = 0
        self.tokens_ahead = 0

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def add(self, work: W) -> None:
        """Put every text of ``work`` into the queue."""
        if not work.encodings:
            return
        tokens = sum(len(encoding.ids) for encoding in work.encodings)
        work._large = tokens > LARGE and len(work.encodings) > 1
        self._small_arrived = self._small_arrived or not work._large
        for place, encoding in enumerate(work.encodings):
            self._by_length.setdefault((len(encoding.ids), work._large), OrderedDict())[Text(work, place)] = None
            work._waiting[place] = None
        self._count(work, tokens)
        work._turn = self._virtual_time + QUANTUM
        work._arrival = self._arrivals
        self._arrivals += 1
        self._push(work)

    def cancel(self, work: W) -> None:
        """Remove the texts of ``work`` that are still waiting, if there are any."""
        for place in list(work._waiting):
            self._remove(Text(work, place))
        if not self:
            self._turns.clear()

    def take(self, now: float) -> list[Text[W]]:
        """Remove and return the next batch, the text whose turn it is first; empty if nothing waits.

        Texts of work whose deadline is not after ``now`` are removed on the way and not returned.
        """
        work = self._whose_turn(now)
        if work is None:
            return []
        first = Text(work, next(iter(work._waiting)))
        batch = [first]
        self._remove(first)
        length = longest = len(first.encoding.ids)
        room_for_large = self._room_for_large(work, now) - length
        for candidate, large in self._near(length):
            while self._limits.admit(candidate, len(batch), longest) and not (large and candidate > room_for_large):
                text = self._oldest((candidate, large), now)
                if text is None:
                    break
                batch.append(text)
                self._remove(text)
                longest = max(longest, candidate)
                room_for_large -= candidate if large else 0
        self._virtual_time = max(self._virtual_time, work._turn)
        if work._large:
            work._turn += sum(len(text.encoding.ids) for text in batch if text.work is work)
        if work._waiting:
            self._push(work)
        return batch

    def _whose_turn(self, now: float) -> W | None:
        while self._turns:
            _, _, work = heapq.heappop(self._turns)
            if work.deadline <= now:
                self.cancel(work)
            if work._waiting:
                return work
        return None

    def _room_for_large(self, work: W, now: float) -> float:
        """Tokens that large requests may have of a batch that starts with a text of ``work``."""
        if self._small_arrived:
            self._small_arrived = False
            self._small_until = now + SMALL_SECONDS
        if now >= self._small_until:
            return inf
        return LARGE_SHARE if work._large else 0

    def _push(self, work: W) -> None:
        # Between equal turns it is the oldest request's.
        heapq.heappush(self._turns, (work._turn, work._arrival, work))

    def _near(self, length: int) -> list[tuple[int, bool]]:
        """Waiting lengths that may share a batch with ``length``, of small and of large requests, nearest first."""
        near = [key for key in self._by_length if abs(key[0] - length) <= self._limits.padding]
        return sorted(near, key=lambda key: (abs(key[0] - length), key[1]))

    def _oldest(self, key: tuple[int, bool], now: float) -> Text[W] | None:
        """The text of this length and kind of request that has waited for longest and may still be computed."""
        while (texts := self._by_length.get(key)) is not None:
            text = next(iter(texts))
            if text.work.deadline > now:
                return text
            self.cancel(text.work)
        return None

    def _remove(self, text: Text[W]) -> None:
        length = len(text.encoding.ids)
        key = length, text.work._large
        del text.work._waiting[text.place]
        texts = self._by_length[key]
        del texts[text]
        if not texts:
            del self._by_length[key]
        self._count(text.work, -length)

    def _count(self, work: W, tokens: int) -> None:
        before = min(work.waiting_tokens, self._limits.tokens)
        work.waiting_tokens += tokens
        self.tokens += tokens
        self.tokens_ahead += min(work.waiting_tokens, self._limits.tokens) - before
