from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc.aio import EOF

from textserve.errors import InvalidRequest, ReceiveTimeout
from textserve.grpc import receiving
from textserve.grpc.receiving import Receiving

PATIENCE = 60.0


class Stream:
    """The call of a client, whose message comes when ``arrived`` is set."""

    def __init__(self, *, there: bool = False) -> None:
        self.arrived = asyncio.Event()
        self.asked = asyncio.Event()
        if there:
            self.arrived.set()

    async def read(self) -> bytes:
        self.asked.set()
        await self.arrived.wait()
        return b"message"


def test_more_messages_than_slots_wait_and_slow_ones_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "CONTENDED_SECONDS", 0.01)

    async def run() -> None:
        slots = Receiving(PATIENCE, slots=2)
        slow = [Stream(), Stream()]
        tasks = [asyncio.create_task(slots.message(stream.read)) for stream in slow]
        for stream in slow:
            await stream.asked.wait()
        assert await slots.message(Stream(there=True).read) == b"message"
        with pytest.raises(ReceiveTimeout):
            await tasks[0]
        slow[1].arrived.set()
        assert await tasks[1] == b"message"

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_the_newest_waiting_message_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "CONTENDED_SECONDS", PATIENCE)

    async def run() -> None:
        slots = Receiving(PATIENCE, slots=1)
        first, second, third = Stream(), Stream(), Stream()
        tasks = []
        for stream in (first, second, third):
            tasks.append(asyncio.create_task(slots.message(stream.read)))
            await asyncio.sleep(0)
        first.arrived.set()
        await third.asked.wait()
        assert not second.asked.is_set()
        tasks[2].cancel()
        await second.asked.wait()
        second.arrived.set()
        assert await tasks[1] == b"message"

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_a_message_that_never_arrives_times_out_and_a_missing_one_is_invalid() -> None:
    async def nothing() -> Any:
        return EOF

    async def run() -> None:
        slots = Receiving(0.01)
        with pytest.raises(ReceiveTimeout):
            await slots.message(Stream().read)
        with pytest.raises(InvalidRequest, match="missing"):
            await slots.message(nothing)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_whoever_waits_gets_a_slot_in_the_end_though_others_hold_and_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "CONTENDED_SECONDS", 0.001)

    async def run() -> None:
        slots = Receiving(PATIENCE, slots=2)
        slow = [asyncio.create_task(slots.message(Stream().read)) for _ in range(20)]
        await asyncio.sleep(0)
        quick = [asyncio.create_task(slots.message(Stream(there=True).read)) for _ in range(20)]
        for task in (*slow[5:10], *quick[5:10]):
            await asyncio.sleep(0)
            task.cancel()
        slow += [asyncio.create_task(slots.message(Stream().read)) for _ in range(20)]
        assert await asyncio.gather(*quick[:5], *quick[10:]) == [b"message"] * 15
        while sum(not task.done() for task in slow) > 2:  # nobody waits for the last two slots
            await asyncio.sleep(0)
        assert await slots.message(Stream(there=True).read) == b"message"
        for task in slow:
            task.cancel()
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ReceiveTimeout, asyncio.CancelledError}

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
