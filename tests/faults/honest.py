"""A client that means well, beside an attack: a request each 200 ms, and a look at ``/readyz`` each 100 ms.

    python -m tests.faults.honest PORT GRPC_PORT [--grpc] [--interval 0.2] [--probe 0.1] [--key KEY] …

It is a process of its own, so that the attack's work does not count as the service's time. Every request is a new
connection, and is sent on time whether or not those before it were answered. It runs until its standard input is
closed, and then prints what it saw as JSON. Its times are of the clock that all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from tests.server import ROOT
from textserve.grpc.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse

REQUEST_SECONDS = 0.2
PROBE_SECONDS = 0.1
# A client that has waited so long has lost its request.
PATIENCE_SECONDS = 30.0
TEXTS = {"Polecam, świetna obsługa!": "positive", "The worst film I have seen.": "negative"}
REFUSED = ("429", "503")
MODEL = "sentiment-pl-en"


@dataclass(frozen=True)
class Address:
    """The port of HTTP, and the address that this client has."""

    port: int
    source: str


@dataclass(frozen=True)
class Sent:
    """A request: the protocol, when it was sent (:func:`time.monotonic`), the seconds until its outcome, the outcome.

    The outcome is ``ok``, a status, or the name of an exception.
    """

    protocol: str
    at: float
    seconds: float
    outcome: str


@dataclass
class Seen:
    """What an honest client saw: its requests, and its looks at ``/readyz``, whose outcome is a status."""

    requests: list[Sent] = field(default_factory=list)
    probes: list[Sent] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Numbers of requests by what became of them; times in milliseconds."""
        answered = [sent.seconds for sent in self.requests if sent.outcome == "ok"]
        lost = [f"{sent.protocol} {sent.outcome}" for sent in self.lost()]
        return {
            "sent": len(self.requests),
            "answered": len(answered),
            "refused": sum(sent.outcome in REFUSED for sent in self.requests),
            "lost": len(lost),
            "lost_as": {reason: lost.count(reason) for reason in sorted(set(lost))},
            "p50_ms": percentile(answered, 50),
            "p99_ms": percentile(answered, 99),
            "max_ms": percentile(answered, 100),
            "probes": len(self.probes),
            "probes_not_ready": sum(probe.outcome != "200" for probe in self.probes),
            "probe_p50_ms": percentile([probe.seconds for probe in self.probes], 50),
            "probe_p99_ms": percentile([probe.seconds for probe in self.probes], 99),
            "longest_pause_ms": percentile([probe.seconds for probe in self.probes], 100),
        }

    def lost(self) -> list[Sent]:
        """The requests that were neither answered right nor refused."""
        return [sent for sent in self.requests if sent.outcome not in ("ok", *REFUSED)]

    def pause(self, start: float, end: float) -> float:
        """The longest time that ``/readyz`` took between two times, in seconds: so long the event loop stood still."""
        return max(
            (probe.seconds for probe in self.probes if probe.at < end and probe.at + probe.seconds > start), default=0.0
        )


def percentile(seconds: Sequence[float], percent: int) -> float | None:
    """The percentile in milliseconds."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 1)


def median_pause(seen: Seen, rounds: Sequence[tuple[float, float]]) -> float:
    """The median of the longest pauses of an attack's rounds, in seconds: other work may prolong one of them."""
    return statistics.median([seen.pause(start, end) for start, end in rounds] or [0.0])


@contextlib.contextmanager
def beside(port: int, grpc_port: int, *options: str) -> Iterator[Seen]:
    """An honest client for as long as the block; what it saw is there after the block."""
    command = [sys.executable, "-m", "tests.faults.honest", str(port), str(grpc_port), *options]
    seen = Seen()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        # A first line says that it has begun.
        if not client.stdout.readline():
            raise RuntimeError("the honest client did not start")
        try:
            yield seen
        finally:
            try:
                output, _ = client.communicate(timeout=2 * PATIENCE_SECONDS)
            except BaseException:
                client.kill()
                raise
            for kind, found in json.loads(output).items():
                getattr(seen, kind).extend(Sent(*each) for each in found)


async def over_http(address: Address, key: str | None, text: str) -> str:
    """Classify over HTTP; the outcome."""
    body = json.dumps({"texts": [text]}).encode()
    secret = f"authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /classify HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{secret}content-length: {len(body)}\r\n\r\n"
    status, answer = await exchange(address, head.encode() + body)
    if status != "200":
        return status
    return "ok" if json.loads(answer)["results"][0]["label"] == TEXTS[text] else "wrong answer"


async def exchange(address: Address, request: bytes) -> tuple[str, bytes]:
    """The status and the body of the response on a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port, local_addr=(address.source, 0))
    try:
        writer.write(request)
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (head.split(b" ", 2)[1].decode(), body) if head else ("closed", b"")


async def over_grpc(channel: grpc.aio.Channel, text: str) -> str:
    """Classify over gRPC; the outcome, as a status of HTTP where the service refused."""
    tensor = ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[1], contents=InferTensorContents(bytes_contents=[text.encode()])
    )
    message = ModelInferRequest(model_name=MODEL, inputs=[tensor])
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    try:
        answer = ModelInferResponse.FromString(await call(message.SerializeToString(), timeout=PATIENCE_SECONDS))
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return "429"
        # The library says UNAVAILABLE of a lost connection too.
        if error.code() is grpc.StatusCode.UNAVAILABLE and "x-error-type" in trailing:
            return "503"
        return str(error.code().name)
    (labels,) = (output.contents.bytes_contents for output in answer.outputs if output.name == "label")
    return "ok" if labels[0].decode() == TEXTS[text] else "wrong answer"


async def probe(address: Address) -> str:
    """The status of ``/readyz``."""
    return (await exchange(address, b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))[0]


async def repeat(protocol: str, seconds: float, ask: Callable[[int], Awaitable[str]], sent: list[Sent]) -> None:
    """Ask each so many seconds until cancelled; then wait for all outcomes."""
    tasks: set[asyncio.Task[None]] = set()

    async def once(number: int) -> None:
        started = time.monotonic()
        try:
            outcome = await asyncio.wait_for(ask(number), PATIENCE_SECONDS)
        except Exception as error:
            outcome = type(error).__name__
        sent.append(Sent(protocol, started, time.monotonic() - started, outcome))

    number, due = 0, time.monotonic()
    try:
        while True:
            task = asyncio.create_task(once(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number, due = number + 1, due + seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    except asyncio.CancelledError:
        if tasks:
            await asyncio.wait(tasks)


async def run(options: argparse.Namespace) -> Seen:
    """Ask until standard input is closed."""
    seen, texts = Seen(), list(TEXTS)
    address = Address(options.port, options.source)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{options.grpc_port}") as channel:
        running = [
            repeat(
                "http",
                options.interval,
                lambda number: over_http(address, options.key, texts[number % 2]),
                seen.requests,
            ),
            repeat("probe", options.probe, lambda number: probe(address), seen.probes),
        ]
        if options.grpc:
            running.append(
                repeat("grpc", options.interval, lambda number: over_grpc(channel, texts[number % 2]), seen.requests)
            )
        tasks = [asyncio.create_task(each) for each in running]
        print("begun", flush=True)  # noqa: T201  # the parent waits for it
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
    return seen


def main() -> None:
    """Run the client and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("grpc_port", type=int)
    parser.add_argument("--grpc", action="store_true", help="ask over gRPC too")
    parser.add_argument("--interval", type=float, default=REQUEST_SECONDS, help="seconds between two requests")
    parser.add_argument("--probe", type=float, default=PROBE_SECONDS, help="seconds between two looks at /readyz")
    parser.add_argument("--key", help="an API key")
    parser.add_argument("--source", default="127.0.0.1", help="the address of this client over HTTP")
    seen = asyncio.run(run(parser.parse_args()))
    found = {
        kind: [[sent.protocol, sent.at, sent.seconds, sent.outcome] for sent in getattr(seen, kind)]
        for kind in ("requests", "probes")
    }
    print(json.dumps(found))  # noqa: T201  # the result


if __name__ == "__main__":
    main()
