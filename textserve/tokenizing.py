"""Tokenizes the texts of requests without holding up the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from textserve.classifier import Classifier, Encoding, PairTooLong, Truncation
from textserve.errors import InputTooLong
from textserve.spec import Input

# A request of at most this many characters, some 2 ms, is tokenized on the event loop: passing it to a thread and back
# would cost more.
INLINE_CHARACTERS = 2000
# Characters tokenized at once on the thread; other requests take their turn in between.
CHUNK_CHARACTERS = 10_000
# The fixed cost of tokenizing a text, in characters.
TEXT_CHARACTERS = 50
# In European languages; only for estimates.
CHARACTERS_PER_TOKEN = 4
# Characters that cost as much to tokenize as one token to compute: tokenizing a text is some 100 times as fast as
# computing it, but also reads what is then truncated.
CHARACTERS_PER_COST = 400


class Tokenizing:
    """Tokenizes for one runner. Long requests are tokenized on a thread, in turn: the tokenizer releases the GIL.

    Attributes:
        pending: the estimated tokens of each request that is being tokenized on the thread.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self.pending: dict[object, int] = {}

    def estimate(self, texts: Sequence[Input]) -> int:
        """The approximate cost of ``texts``, in tokens that the model computes, from their lengths."""
        longest = self._classifier.spec.tokenization.max_tokens
        return sum(
            min(longest, 2 + count // CHARACTERS_PER_TOKEN) + count // CHARACTERS_PER_COST
            for count in map(characters, texts)
        )

    async def encode(self, texts: Sequence[Input], truncation: Truncation, deadline: float) -> list[Encoding] | None:
        """The encodings of ``texts``, or ``None`` if ``deadline``, by ``time.monotonic()``, passes first.

        Raises:
            InputTooLong: if a text of a pair is too long and the model never truncates it.
        """
        if sum(map(size, texts)) <= INLINE_CHARACTERS:
            return self._encode(texts, truncation, 0)
        loop, request = asyncio.get_running_loop(), object()
        encodings: list[Encoding] = []
        self.pending[request] = self.estimate(texts)
        try:
            for chunk in chunks(texts):
                if time.monotonic() >= deadline:
                    return None
                encodings += await loop.run_in_executor(self._thread, self._encode, chunk, truncation, len(encodings))
        finally:
            del self.pending[request]
        return encodings

    def _encode(self, texts: Sequence[Input], truncation: Truncation, before: int) -> list[Encoding]:
        """The encodings of ``texts``, which follow ``before`` others of their request."""
        try:
            return self._classifier.encode(texts, truncation)
        except PairTooLong as error:
            whole = "text" if self._classifier.spec.tokenization.truncation == "only_second" else "text_pair"
            message = "is longer than the model's input, and this model cuts the other text only; send a shorter one"
            raise InputTooLong(message, where=f"texts[{before + error.index}].{whole}") from None


def characters(text: Input) -> int:
    """The characters of a text, or of both texts of a pair."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


def size(text: Input) -> int:
    """The cost of tokenizing ``text``, in characters."""
    return characters(text) + TEXT_CHARACTERS


def chunks(texts: Sequence[Input]) -> Iterator[list[Input]]:
    """``texts`` in parts of at most ``CHUNK_CHARACTERS`` by :func:`size`, or of one longer text."""
    chunk: list[Input] = []
    total = 0
    for text in texts:
        if chunk and total + size(text) > CHUNK_CHARACTERS:
            yield chunk
            chunk, total = [], 0
        chunk.append(text)
        total += size(text)
    yield chunk
