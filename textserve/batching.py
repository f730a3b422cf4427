"""Chooses the texts of the next batch: fair between requests, and of near-equal length within a batch.

Padding is the cost of batching on a CPU: texts of mixed length padded to the longest are slower than no batch at all.
So the queue keeps waiting texts by length, and a batch is the next scheduled text with others of similar length.

Scheduling is self-clocked fair queueing (Golestani, INFOCOM 1994). Every request has a virtual time at which its next
text would finish if all waiting requests shared the machine. The request with the earliest time is next; if it is
large, its time then advances by the tokens computed for it. A new request starts slightly after the current virtual
time. So a single text does not wait for a request of a thousand texts; small requests are first come, first served; and
an endless stream of small ones leaves large ones a share. Texts that fill up another request's batch are not charged.

While the queue is long, texts of common lengths fill up many batches of others, and texts of rare lengths wait twice as
long as the queue is. So a batch for a late request takes only texts from the older half of those that arrived since.

A running batch cannot be interrupted, so while small requests arrive, large ones get only a small part of each batch,
and after a batch of a large request a waiting small request is next.

Answers do not depend on the batch, so texts with equal tokens have equal answers: waiting texts with equal tokens are
taken together, whoever sent them, and only the first of them is computed and charged.

No threads, models or clocks here: they belong to :mod:`textserve.runner`.
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

# Tokens charged to every request on arrival, about one text. Without them, a stream of new requests would starve an
# older request; with the request's real length, shorter new requests would overtake it.
QUANTUM = 32
# A request of more tokens is large: it yields after each batch. A small request keeps its turn until it is done.
# If requests of similar size all yielded, all would finish late.
LARGE = 512
# While small requests arrive, large ones get this many tokens of a batch that starts with their own text, and none of
# other batches: a small request waits some 10 ms on one core at most.
LARGE_SHARE = 96
# Seconds after the last small request for which ``LARGE_SHARE`` applies.
SMALL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be, and how much its texts may differ in length.

    ``texts`` and ``tokens`` (padding included) bound a batch; a text longer than ``tokens`` is computed alone.
    A text joins a batch if it adds at most ``padding`` tokens of padding, its own or the others': every run has a fixed
    cost, and padding that costs less is worth it. A padding of 0 allows only texts of equal length, as a graph without
    an attention mask requires.
    """

    texts: int
    tokens: int
    padding: int

    def admit(self, length: int, texts: int, longest: int) -> bool:
        """Whether a text of ``length`` tokens may join ``texts`` others, the longest of ``longest`` tokens."""
        padding = longest - length if length <= longest else (length - longest) * texts
        return texts < self.texts and (texts + 1) * max(longest, length) <= self.tokens and padding <= self.padding


@dataclass(slots=True, eq=False)
class Work:
    """The texts of one request. From ``deadline`` on, none of them is computed; from ``late`` on, it is late.

    ``waiting_tokens`` counts its tokens that are in the queue.
    """

    encodings: Sequence[Encoding]
    deadline: float = field(default=inf, kw_only=True)
    late: float = field(default=inf, kw_only=True)
    waiting_tokens: int = field(default=0, init=False)
    rows: list[bytes] = field(default_factory=list, init=False)
    _waiting: OrderedDict[int, None] = field(default_factory=OrderedDict, init=False)
    _turn: int = field(default=0, init=False)
    _arrival: int = field(default=0, init=False)
    _large: bool = field(default=False, init=False)

    @property
    def waiting_texts(self) -> int:
        """The number of its texts in the queue."""
        return len(self._waiting)

    def forget(self) -> None:
        """Count no text as waiting, since the queue was discarded."""
        self._waiting.clear()
        self.waiting_tokens = 0


@dataclass(frozen=True, slots=True)
class Text(Generic[W]):
    """One text of a request, by its index."""

    work: W
    index: int

    @property
    def encoding(self) -> Encoding:
        """The token ids of this text."""
        return self.work.encodings[self.index]

    @property
    def row(self) -> bytes:
        """The :attr:`~textserve.classifier.Encoding.row` of this text, once it was queued."""
        return self.work.rows[self.index]


class BatchQueue(Generic[W]):
    """Waiting texts: :meth:`add` a request, :meth:`take` the next batch, :meth:`cancel` a request.

    Attributes:
        tokens: tokens of all waiting texts.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._by_length: dict[tuple[int, bool], OrderedDict[Text[W], None]] = {}
        self._by_row: dict[bytes, dict[Text[W], None]] = {}
        self._turns: dict[bool, list[tuple[int, int, W]]] = {False: [], True: []}  # of small and of large requests
        self._virtual_time = 0
        self._arrivals = 0
        self._large_was_last = False
        self._small_arrived = False
        self._small_until = -inf
        self.tokens = 0
        self._distinct_tokens = 0
        self._first_batches = 0

    @property
    def tokens_ahead(self) -> int:
        """Estimate of the tokens computed before a request that arrives now gets its first turn.

        Counts at most one batch of each request, since another one is next after it, and texts with equal tokens once.
        """
        return min(self._first_batches, self._distinct_tokens)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def add(self, work: W) -> None:
        """Queue every text of ``work``."""
        if not work.encodings:
            return
        tokens = sum(len(encoding.ids) for encoding in work.encodings)
        work._large = tokens > LARGE and len(work.encodings) > 1
        self._small_arrived = self._small_arrived or not work._large
        work.rows = [encoding.row for encoding in work.encodings]
        for index, (encoding, row) in enumerate(zip(work.encodings, work.rows, strict=True)):
            text = Text(work, index)
            self._by_length.setdefault((len(encoding.ids), work._large), OrderedDict())[text] = None
            if row not in self._by_row:
                self._by_row[row] = {}
                self._distinct_tokens += len(encoding.ids)
            self._by_row[row][text] = None
            work._waiting[index] = None
        self._count(work, tokens)
        work._turn = self._virtual_time + QUANTUM
        work._arrival = self._arrivals
        self._arrivals += 1
        self._push(work)

    def cancel(self, work: W) -> None:
        """Remove the texts of ``work`` that are still waiting."""
        for index in list(work._waiting):
            self._remove(Text(work, index))
        if not self:
            self._turns = {False: [], True: []}

    def take(self, now: float) -> list[Text[W]]:
        """Remove and return the next batch, the scheduled text first; empty if nothing waits.

        Texts with equal tokens follow each other, and only one of them needs to be computed. Work whose deadline has
        passed at ``now`` is removed.
        """
        work = self._next_work(now)
        if work is None:
            return []
        first = Text(work, next(iter(work._waiting)))
        batch = self._take_equal(first, now)
        length = longest = own = len(first.encoding.ids)
        computed = 1
        room_for_large = self._room_for_large(work, now) - length
        newest = (work._arrival + self._arrivals) // 2 if now >= work.late else self._arrivals
        for candidate, large in self._near(length):
            while self._limits.admit(candidate, computed, longest) and not (large and candidate > room_for_large):
                text = self._oldest((candidate, large), now)
                if text is None or text.work._arrival > newest:
                    break
                batch += self._take_equal(text, now)
                computed += 1
                own += candidate if text.work is work else 0
                longest = max(longest, candidate)
                room_for_large -= candidate if large else 0
        self._virtual_time = max(self._virtual_time, work._turn)
        if work._large:
            work._turn += own
        if work._waiting:
            self._push(work)
        return batch

    def _take_equal(self, first: Text[W], now: float) -> list[Text[W]]:
        """Remove and return ``first`` and all texts with equal tokens whose deadline has not passed."""
        others = [text for text in self._by_row[first.row] if text != first]
        self._remove(first)
        taken = [first]
        for text in others:
            if text.work.deadline <= now:
                self.cancel(text.work)
            elif text.index in text.work._waiting:
                taken.append(text)
                self._remove(text)
        return taken

    def _next_work(self, now: float) -> W | None:
        while turns := self._next_turns():
            _, _, work = heapq.heappop(turns)
            if work.deadline <= now:
                self.cancel(work)
            if work._waiting:
                self._large_was_last = work._large
                return work
        return None

    def _next_turns(self) -> list[tuple[int, int, W]]:
        """The heap whose first request is next: after a batch of a large request, that of small ones if any wait."""
        small, large = self._turns[False], self._turns[True]
        return small if small and (self._large_was_last or not large or small[0] < large[0]) else large

    def _room_for_large(self, work: W, now: float) -> float:
        """Tokens that large requests may take of a batch that starts with a text of ``work``."""
        if self._small_arrived:
            self._small_arrived = False
            self._small_until = now + SMALL_SECONDS
        if now >= self._small_until:
            return inf
        return LARGE_SHARE if work._large else 0

    def _push(self, work: W) -> None:
        # The oldest request wins a tie.
        heapq.heappush(self._turns[work._large], (work._turn, work._arrival, work))

    def _near(self, length: int) -> list[tuple[int, bool]]:
        """Waiting lengths that may share a batch with ``length``, of small and large requests, nearest first."""
        near = [key for key in self._by_length if abs(key[0] - length) <= self._limits.padding]
        return sorted(near, key=lambda key: (abs(key[0] - length), key[1]))

    def _oldest(self, key: tuple[int, bool], now: float) -> Text[W] | None:
        """The first queued text of this length and kind of request whose deadline has not passed."""
        while (texts := self._by_length.get(key)) is not None:
            text = next(iter(texts))
            if text.work.deadline > now:
                return text
            self.cancel(text.work)
        return None

    def _remove(self, text: Text[W]) -> None:
        length = len(text.encoding.ids)
        key = length, text.work._large
        del text.work._waiting[text.index]
        texts = self._by_length[key]
        del texts[text]
        if not texts:
            del self._by_length[key]
        equal = self._by_row[text.row]
        del equal[text]
        if not equal:
            del self._by_row[text.row]
            self._distinct_tokens -= length
        self._count(text.work, -length)

    def _count(self, work: W, tokens: int) -> None:
        before = min(work.waiting_tokens, self._limits.tokens)
        work.waiting_tokens += tokens
        self.tokens += tokens
        self._first_batches += min(work.waiting_tokens, self._limits.tokens) - before
