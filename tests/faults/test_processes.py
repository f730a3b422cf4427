"""Signals, full disks and killed workers: what the machine does to the process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.faults.contained import contained
from tests.faults.honest import beside
from tests.faults.report import Record
from tests.server import BENTOML, LIMIT_SECONDS, ROOT, Server, environment, free_port, serve

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

# So much work that a signal comes while it is done; equal texts would be computed once.
LONG = {"texts": [f"{number}. {'A long text that takes a while to read. ' * 50}" for number in range(100)]}
CLIENTS = 4
STOPPED_SECONDS = 10.0
LATER = 24
# More than one metrics page of a worker, after which a worker with metrics on disk would have failed.
REQUESTS_ON_A_FULL_DISK = 30
# Moments at which a start is ended: while it imports, and while it checks the model.
MOMENTS = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5)


def classify(server: Server, content: object = None) -> int:
    """The status of a request."""
    answer = httpx.post(f"{server.url}/classify", json=content or {"texts": ["Great!"]}, timeout=LIMIT_SECONDS)
    return answer.status_code


def wait_busy(server: Server) -> None:
    """Wait until texts are in the queue."""
    while "textserve_waiting_tokens 0.0" in httpx.get(f"{server.url}/metrics", timeout=LIMIT_SECONDS).text:
        assert server.process.poll() is None


@pytest.fixture
def hang_up_by_default() -> Iterator[None]:
    """Give SIGHUP its default action in what is started: below nohup it inherits that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signals", [[signal.SIGHUP], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]])
@pytest.mark.usefixtures("hang_up_by_default")
def test_a_signal_to_end_drains(home: Path, record: Record, signals: list[signal.Signals]) -> None:
    record.row = "13" if signal.SIGHUP in signals else "held"
    record.name = " and ".join(number.name for number in signals)
    settings: dict[str, Any] = {
        "TEXTSERVE_THREADS": "1",
        "TEXTSERVE_DRAIN_SECONDS": "300",
        "TEXTSERVE_REQUEST_SECONDS": "300",
        "TEXTSERVE_MAX_QUEUE_SECONDS": "300",
    }
    with contained(home, **settings) as served, ThreadPoolExecutor(CLIENTS) as pool:
        server = served.server
        asked = [pool.submit(classify, server, LONG) for _ in range(CLIENTS)]
        wait_busy(server)
        for number in signals:
            server.process.send_signal(number)
        code = server.process.wait(LIMIT_SECONDS)
        statuses = [str((each.exception() and type(each.exception()).__name__) or each.result()) for each in asked]
    record.happened, record.peak_bytes = f"{', '.join(statuses)}; ended with {code}", served.peak_bytes
    assert code == 0
    assert set(statuses) <= {"200", "429", "503"}
    assert "200" in statuses


def test_a_stopped_process_answers_all_later(home: Path, record: Record) -> None:
    record.row, record.name = "held", "SIGSTOP for 10 s"
    with contained(home) as served:
        with beside(served.server.port, served.server.grpc_port, "--grpc") as seen:
            served.server.process.send_signal(signal.SIGSTOP)
            time.sleep(STOPPED_SECONDS)
            served.server.process.send_signal(signal.SIGCONT)
        record.saw(seen, served.peak_bytes)
        record.happened = "all answered" if not seen.lost() else f"{len(seen.lost())} lost"
        served.check(seen)
        assert all(sent.outcome == "ok" for sent in seen.requests)


def test_after_a_killed_worker_all_is_answered_by_the_next(home: Path, record: Record) -> None:
    record.row, record.name = "held", "bentoml serve, kill -9 of the worker"
    with serve(home, supervisor=True) as server, ThreadPoolExecutor(LATER) as pool:
        (worker,) = _workers(server)
        worker.kill()
        worker.wait(LIMIT_SECONDS)
        statuses = [each.result() for each in [pool.submit(classify, server) for _ in range(LATER)]]
        record.happened = f"{statuses.count(200)} of {LATER} answered"
        assert statuses == [200] * LATER


def _workers(server: Server) -> list[psutil.Process]:
    """The processes of a supervisor that listen for gRPC."""
    return [
        process
        for process in server.processes()[1:]
        if any(
            each.laddr.port == server.grpc_port for each in process.net_connections("inet") if each.status == "LISTEN"
        )
    ]


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system in memory with so much room; needs root, or sudo without a password."""
    folder.mkdir()
    root = [] if os.getuid() == 0 else ["sudo", "-n"]
    subprocess.run([*root, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*root, "umount", "--lazy", folder], check=True)


def _fill(file: Path) -> None:
    """Write a file until its disk has no room for another byte."""
    size = 65_536
    with file.open("wb", buffering=0) as filler:
        while size:
            try:
                filler.write(b"\0" * size)
            except OSError:
                size //= 2


def test_a_full_disk_ends_no_worker(saved_model: Path, tmp_path: Path, record: Record) -> None:
    record.row, record.name = "10", "bentoml serve, BENTOML_HOME full"
    with small_disk(tmp_path / "disk", 128) as disk:
        shutil.copytree(saved_model / "models", disk / "models")
        # The log, which the tests keep there, is elsewhere.
        (disk / "service.log").symlink_to(tmp_path / "service.log")
        _fill(disk / "filler")
        with serve(disk, supervisor=True) as server:
            (worker,) = _workers(server)
            statuses = [classify(server) for _ in range(REQUESTS_ON_A_FULL_DISK)]
            assert httpx.get(f"{server.url}/metrics", timeout=LIMIT_SECONDS).status_code == 200
            runs = "runs" if worker.is_running() else "ended"
            record.happened = f"{statuses.count(200)} of {len(statuses)} answered, the worker {runs}"
            assert statuses == [200] * len(statuses)
            assert worker.is_running()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_start_that_is_ended_leaves_no_process(home: Path, record: Record, moment: float) -> None:
    record.row, record.name = "11", f"bentoml serve, SIGTERM {moment:g} s after its first child"
    mark = str(free_port())
    variables = {"TEXTSERVE_GRPC_PORT": mark, "BENTOML_PORT": str(free_port())}
    with (home / "start.log").open("wb") as log:
        process = subprocess.Popen(
            [BENTOML, "serve", "service:TextClassifier"],
            cwd=ROOT,
            env=environment(home, **variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    first = psutil.Process(process.pid)
    while not (children := first.children()):
        assert process.poll() is None
    # The moment is the input of this test, and nothing is waited for.
    time.sleep(moment)
    process.terminate()
    process.wait(LIMIT_SECONDS)
    _, alive = psutil.wait_procs([*children, *_marked(mark)], timeout=30)
    left = [each for each in {*alive, *_marked(mark)} if each.is_running()]
    for each in left:
        each.kill()
    record.happened = f"ended with {process.returncode}, {len(left)} left"
    assert left == []


def _marked(port: str) -> list[psutil.Process]:
    """The processes that were started with a port of gRPC; their parents may be gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("TEXTSERVE_GRPC_PORT") == port:
                found.append(process)
    return found
