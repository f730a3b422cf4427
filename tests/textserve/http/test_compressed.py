"""Invalid compressed bodies, sent to the real service, which must not hold the decompressed data."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from tests import http2
from tests.grpc_client import MODEL, SERVICE, request
from tests.server import Server, serve
from textserve.grpc.inference_pb2 import ModelInferResponse

MEBIBYTE = 2**20
LIMIT = 4 * MEBIBYTE
BOMB_BYTES = 512 * MEBIBYTE
# AT_ONCE bodies, each compressed and decompressed up to the limit, and what the allocator keeps.
GROWTH_BYTES = 160 * MEBIBYTE
AT_ONCE = 8
PATHS = ["/classify", "/explain", "/", "/predict", f"/v2/models/{MODEL}/infer"]


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_MAX_BODY_BYTES=str(LIMIT)) as running:
        yield running


@pytest.fixture(autouse=True)
def _answers_afterwards(server: Server) -> Iterator[None]:
    yield
    answer = httpx.post(f"{server.url}/classify", json={"texts": ["It was great!"]}, timeout=30)
    assert answer.json()["results"][0]["label"] == "positive"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        message = request(["It was great!"]).SerializeToString()
        found: Any = ModelInferResponse.FromString(channel.unary_unary(SERVICE + "ModelInfer")(message, timeout=30))
    assert list(found.outputs[0].contents.bytes_contents) == [b"positive"]
    assert 'outcome="internal"' not in httpx.get(f"{server.url}/metrics").text
    assert "Traceback" not in server.log()
    assert "unexpected" not in server.log()


def compressed(size: int, bits: int) -> bytes:
    """``size`` bytes of white space, compressed; ``bits`` is zlib's ``wbits``."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, bits)
    blank = b" " * MEBIBYTE
    return b"".join([*(compressor.compress(blank) for _ in range(size // MEBIBYTE)), compressor.flush()])


def growth(server: Server, act: Callable[[], None]) -> int:
    """By how many bytes the service's memory grew, at most, during ``act``."""
    (worker,) = server.processes()
    before = worker.memory_info().rss
    # Resets the peak (proc(5), clear_refs).
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5", encoding="ascii")
    act()
    return _peak(worker) - before


def _peak(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_a_bomb_over_http_is_rejected_and_not_held(server: Server, encoding: str, bits: int) -> None:
    bomb = compressed(BOMB_BYTES, bits)
    assert len(bomb) < LIMIT

    def post(path: str) -> int:
        headers = {"content-encoding": encoding}
        return httpx.post(server.url + path, content=bomb, headers=headers, timeout=60).status_code

    def throw() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert set(pool.map(post, PATHS * 4)) == {413}

    assert growth(server, throw) < GROWTH_BYTES


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_bomb_over_grpc_is_rejected_and_not_held(server: Server, compression: Any) -> None:
    bomb = b"\0" * (BOMB_BYTES // 2)

    def throw() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.unary_unary(SERVICE + "ModelInfer")
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as caught:
                    call(bomb, compression=compression, timeout=60)
                assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    assert growth(server, throw) < GROWTH_BYTES


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(request(["a"]).SerializeToString())[:-9]),
        ("deflate", b"\x78\x9cnot deflate"),
        ("deflate", gzip.compress(request(["a"]).SerializeToString())),
        ("br", request(["a"]).SerializeToString()),
    ],
)
def test_an_invalid_compressed_message_is_rejected_by_grpc(server: Server, encoding: str, message: bytes) -> None:
    # The service does not receive it; grpc/doc/compression.md requires INTERNAL.
    code = http2.call(server.grpc_port, SERVICE + "ModelInfer", message, encoding=encoding, compressed=True)
    assert code == grpc.StatusCode.INTERNAL.value[0]


def test_a_compressed_message_is_answered(server: Server) -> None:
    message = request(["It was great!"]).SerializeToString()
    for encoding, body in (("gzip", gzip.compress(message)), ("deflate", zlib.compress(message))):
        assert http2.call(server.grpc_port, SERVICE + "ModelInfer", body, encoding=encoding, compressed=True) == 0
