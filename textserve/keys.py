"""API keys, the same on every protocol. Without any, no key is required."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from textserve.errors import Unauthorized
from textserve.flood import FloodLog
from textserve.replaced import ReplacedFiles

logger = logging.getLogger(__name__)

SCHEME = "bearer "
# Below this, keys can be guessed. 16 random characters of base64 have 96 bits.
MIN_CHARACTERS = 16
# How often to check whether the file with keys has changed, in seconds.
FILE_SECONDS = 1.0
# Wrong keys that an address may send in a minute; the answer to each further wrong key is delayed.
WRONG_KEYS = 10
WINDOW_SECONDS = 60.0
DELAY_SECONDS = 1.0
# Maximum addresses remembered; beyond it, the one that was seen first is forgotten.
ADDRESSES = 10_000


class ApiKeys:
    """The accepted keys, stored as digests, so that printing or dumping this object shows none.

    Args:
        keys: the keys that never change.
        file: a file with more keys, one per line, which is read again when it changes.

    Raises:
        ValueError: if a key is too short, or the file has no key.
        OSError: if the file cannot be read.
    """

    def __init__(self, keys: Iterable[str], file: Path | None = None) -> None:
        self._fixed = [_digest(key) for key in keys]
        self._file = file
        self._replaced = ReplacedFiles(file) if file else None
        self._from_file = read_digests(file) if file else []
        self._looked = time.monotonic()
        self._wrong = FloodLog(logger, "%d requests had a wrong API key")
        self._guesses: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._fixed or self._from_file)

    def check(self, authorization: str) -> None:
        """Check the HTTP header or gRPC metadata ``authorization``, empty if it is missing.

        Every key is compared, each in constant time, so timing leaks nothing.

        Raises:
            Unauthorized: if it is not ``Bearer KEY`` with one of the keys.
        """
        self._look_at_file()
        if not self:
            return
        if not authorization.lower().startswith(SCHEME):
            problem = "has another scheme" if authorization else "is missing"
            raise Unauthorized(f"{problem}; send 'Authorization: Bearer KEY'", where="authorization")
        found = hashlib.sha256(authorization[len(SCHEME) :].strip().encode()).digest()
        matches = [hmac.compare_digest(found, digest) for digest in (*self._fixed, *self._from_file)]
        if not any(matches):
            raise Unauthorized("is not one of the keys of this service", where="authorization")

    async def authorize(self, authorization: str, address: str) -> None:
        """:meth:`check` for a client at ``address``; if it keeps sending wrong keys, the refusal is delayed."""
        try:
            self.check(authorization)
        except Unauthorized:
            if authorization:
                await self._delay_guess(address)
            raise

    async def _delay_guess(self, address: str) -> None:
        self._wrong.add()
        now = time.monotonic()
        since, count = self._guesses.get(address, (now, 0))
        if now - since > WINDOW_SECONDS:
            since, count = now, 0
        self._guesses[address] = since, count + 1
        if len(self._guesses) > ADDRESSES:
            self._guesses.popitem(last=False)
        if count >= WRONG_KEYS:
            await asyncio.sleep(DELAY_SECONDS)

    def readable(self) -> bool:
        """Whether the file can be read now and has keys; ``True`` without a file."""
        try:
            return self._file is None or bool(read_digests(self._file))
        except (OSError, ValueError):
            return False

    def _look_at_file(self) -> None:
        now = time.monotonic()
        if self._file is None or self._replaced is None or now - self._looked < FILE_SECONDS:
            return
        self._looked = now
        if self._replaced.changed():
            try:
                self._from_file = read_digests(self._file)
            except (OSError, ValueError) as error:
                logger.error("%s is not used, and the keys read before stay valid: %s", self._file, error)
            else:
                logger.info("%s was read again", self._file)


def read_digests(file: Path) -> list[bytes]:
    """The digests of the keys in ``file``.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it has no key, or a key that is too short, or is not UTF-8.
    """
    digests = [_digest(key) for line in file.read_text(encoding="utf-8").splitlines() if (key := line.strip())]
    if not digests:
        raise ValueError("it has no key")
    return digests


def _digest(key: str) -> bytes:
    if len(key) < MIN_CHARACTERS:
        raise ValueError(
            f"a key has {len(key)} characters; use at least {MIN_CHARACTERS}, such as openssl rand -hex 16"
        )
    return hashlib.sha256(key.encode()).digest()
