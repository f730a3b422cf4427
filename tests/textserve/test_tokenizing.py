from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from math import inf
from types import SimpleNamespace
from typing import cast

import pytest

from textserve.classifier import Classifier, Encoding, PairTooLong, Truncation
from textserve.errors import InputTooLong
from textserve.spec import Input
from textserve.tokenizing import CHUNK_CHARACTERS, INLINE_CHARACTERS, Tokenizing, size

LONG = ["1".ljust(INLINE_CHARACTERS)] * 12
PATIENCE = 60.0


class FakeTokenizer:
    """A text has one token, its length. Threads other than the test's wait for ``gate``. Every pair is too long."""

    spec = SimpleNamespace(tokenization=SimpleNamespace(max_tokens=100, truncation="only_first"))

    def __init__(self) -> None:
        self.main = threading.current_thread()
        self.gate = threading.Event()
        self.encoded: list[list[Input]] = []

    def encode(self, texts: Sequence[Input], truncation: Truncation = "right") -> list[Encoding]:
        assert threading.current_thread() is self.main or self.gate.wait(PATIENCE)
        if pairs := [index for index, text in enumerate(texts) if isinstance(text, tuple)]:
            raise PairTooLong(pairs[0])
        self.encoded.append(list(texts))
        return [Encoding([len(text)], truncated=False) for text in texts]


def tokenizing() -> tuple[FakeTokenizer, Tokenizing]:
    fake = FakeTokenizer()
    return fake, Tokenizing(cast(Classifier, fake))


def test_a_long_request_is_tokenized_beside_others_in_order_and_counted_meanwhile() -> None:
    async def run() -> None:
        fake, tokenizer = tokenizing()
        long = asyncio.ensure_future(tokenizer.encode(LONG, "right", inf))
        await asyncio.sleep(0)
        assert [*tokenizer.pending.values()] == [tokenizer.estimate(LONG)]
        assert await tokenizer.encode(["1"], "right", inf) == [Encoding([1], truncated=False)]
        fake.gate.set()
        assert await long == [Encoding([INLINE_CHARACTERS], truncated=False)] * len(LONG)
        assert [*tokenizer.pending.values()] == []
        assert all(sum(map(size, chunk)) <= CHUNK_CHARACTERS for chunk in fake.encoded)

    asyncio.run(run())


@pytest.mark.parametrize("before", [["1"], LONG])
def test_a_pair_with_a_text_that_is_too_long_and_never_cut_is_rejected_by_its_index(before: list[str]) -> None:
    async def run() -> None:
        fake, tokenizer = tokenizing()
        fake.gate.set()
        with pytest.raises(InputTooLong) as error:
            await tokenizer.encode([*before, ("cut", "kept")], "right", inf)
        assert error.value.where == f"texts[{len(before)}].text_pair"
        assert [*tokenizer.pending.values()] == []

    asyncio.run(run())


def test_long_requests_take_turns() -> None:
    async def run() -> None:
        fake, tokenizer = tokenizing()
        first = asyncio.ensure_future(tokenizer.encode(LONG, "right", inf))
        second = asyncio.ensure_future(tokenizer.encode(["2".ljust(INLINE_CHARACTERS)] * 4, "right", inf))
        await asyncio.sleep(0)
        fake.gate.set()
        await asyncio.gather(first, second)
        assert [chunk[0][0] for chunk in fake.encoded] == ["1", "2", "1", "1"]

    asyncio.run(run())


def test_a_late_or_cancelled_request_is_not_tokenized_further() -> None:
    async def run() -> None:
        fake, tokenizer = tokenizing()
        assert await tokenizer.encode(LONG, "right", time.monotonic() - 1) is None
        cancelled = asyncio.ensure_future(tokenizer.encode(LONG, "right", inf))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        fake.gate.set()
        await tokenizer.encode(["2".ljust(INLINE_CHARACTERS)], "right", inf)
        assert [*tokenizer.pending.values()] == []
        assert len(fake.encoded) <= 2

    asyncio.run(run())


def test_the_estimate_counts_what_the_model_reads_and_what_is_only_tokenized() -> None:
    _, tokenizer = tokenizing()
    assert tokenizer.estimate(["x" * 40] * 3) == 36
    assert tokenizer.estimate(["x" * 20_000]) == 100 + 50
