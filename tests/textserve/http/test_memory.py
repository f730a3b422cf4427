from __future__ import annotations

import asyncio

import pytest

from textserve.errors import Overloaded, ReceiveTimeout
from textserve.http import memory
from textserve.http.body import read_body
from textserve.http.memory import SHORT_BYTES, BodyMemory, BodyShare

CHUNK = b"x" * SHORT_BYTES
PATIENCE = 60.0


class Sender:
    """A client that sends ``chunks``, and the rest only when told to."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.goes_on = asyncio.Event()
        self.stalled = asyncio.Event()

    async def receive(self) -> dict[str, object]:
        if self.chunks == 0:
            self.stalled.set()
            await self.goes_on.wait()
            return {"type": "http.request", "body": b"end", "more_body": False}
        self.chunks -= 1
        return {"type": "http.request", "body": CHUNK, "more_body": True}


def start(sender: Sender, share: BodyShare) -> asyncio.Task[bytes]:
    return asyncio.create_task(read_body({}, sender.receive, 10**9, share))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SLOW_SECONDS", -1.0)


def test_the_oldest_slow_body_gives_way() -> None:
    async def run() -> None:
        total = BodyMemory(5 * SHORT_BYTES)
        senders = [Sender(4), Sender(4), Sender(4)]
        shares = [BodyShare(total) for _ in senders]
        tasks = []
        for sender, share in zip(senders, shares, strict=True):
            tasks.append(start(sender, share))
            await sender.stalled.wait()
            assert total.total <= 7 * SHORT_BYTES
        for evicted in tasks[:2]:
            with pytest.raises(ReceiveTimeout):
                await evicted
        senders[2].goes_on.set()
        assert await tasks[2] == CHUNK * 4 + b"end"
        shares[2].release()
        assert (total.total, total.receiving) == (0, {})

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_as_many_slow_bodies_give_way_as_hold_what_is_needed() -> None:
    async def run() -> None:
        total = BodyMemory(3 * SHORT_BYTES)
        senders = [Sender(1), Sender(2), Sender(2), Sender(2)]
        tasks = []
        for sender in senders:
            tasks.append(start(sender, BodyShare(total)))
            await sender.stalled.wait()
        assert total.total == 3 * SHORT_BYTES
        new = BodyShare(total)
        with pytest.raises(Overloaded):
            new.add(4 * SHORT_BYTES)
        assert total.total == 3 * SHORT_BYTES
        new.add(2 * SHORT_BYTES)
        assert total.total == 3 * SHORT_BYTES
        for sender in senders:
            sender.goes_on.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, ReceiveTimeout) for result in found] == [False, True, True, False]

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_without_a_slow_body_a_new_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SLOW_SECONDS", PATIENCE)

    async def run() -> None:
        total = BodyMemory(4 * SHORT_BYTES)
        first, second = Sender(4), Sender(4)
        task = start(first, BodyShare(total))
        await first.stalled.wait()
        with pytest.raises(Overloaded) as error:
            await start(second, share := BodyShare(total))
        assert (error.value.where, error.value.retry_after) == ("body", 1)
        share.release()
        first.goes_on.set()
        await task

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_a_received_body_holds_its_memory_until_it_is_answered_and_a_short_one_none() -> None:
    async def run() -> None:
        total = BodyMemory(4 * SHORT_BYTES)
        sender, share = Sender(3), BodyShare(total)
        sender.goes_on.set()
        await start(sender, share)
        assert total.total > 2 * SHORT_BYTES
        short, other = Sender(0), BodyShare(total)
        short.goes_on.set()
        before = total.total
        assert await start(short, other) == b"end"
        assert total.total == before
        with pytest.raises(Overloaded):
            await start(Sender(3), BodyShare(total))
        share.release()
        assert total.total < 3 * SHORT_BYTES

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
