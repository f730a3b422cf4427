from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from textserve.errors import BodyTooLarge, InvalidRequest
from textserve.http.body import MAX_MEMBERS, read_body
from textserve.http.memory import BodyMemory, BodyShare

LIMIT = 10_000


def read(body: bytes, encoding: str) -> bytes:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return asyncio.run(
        read_body({b"content-encoding": encoding.encode()}, receive, LIMIT, BodyShare(BodyMemory(LIMIT)))
    )


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"whole")),
        ("x-gzip", gzip.compress(b"whole")),
        ("GZIP", gzip.compress(b"wh") + gzip.compress(b"") + gzip.compress(b"ole")),
        ("gzip", gzip.compress(b"whole") + b"\0" * 100),
        ("deflate", zlib.compress(b"whole")),
        ("identity", b"whole"),
    ],
)
def test_every_member_of_compressed_data_is_read(encoding: str, body: bytes) -> None:
    assert read(body, encoding) == b"whole"


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", gzip.compress(b"whole") + b"more", "is not valid gzip"),
        ("gzip", gzip.compress(b"wh") + gzip.compress(b"ole")[:-1], "ends before the gzip data does"),
        (
            "gzip",
            gzip.compress(b"") * (MAX_MEMBERS + 1),
            f"has more than {MAX_MEMBERS} gzip members; send one",
        ),
        ("deflate", zlib.compress(b"whole") + b"more", "has bytes after the end of the deflate data"),
        ("gzip", b"", "ends before the gzip data does"),
        ("br", b"whole", "must be gzip, deflate or identity"),
    ],
)
def test_invalid_compressed_data_is_rejected(encoding: str, body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read(body, encoding)
    assert error.value.message == message


def test_all_members_together_are_limited() -> None:
    with pytest.raises(BodyTooLarge):
        read(gzip.compress(b"a" * (LIMIT // 2)) * 3, "gzip")
