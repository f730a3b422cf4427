"""Starts a server on cores of its own, measures what its processes use, and leaves none of them behind.

    with Server(["uvicorn", "app:app", "--port", "{port}"], cores={0}, ready="/health") as server:
        server.url, server.cpu_seconds(), server.rss_bytes()

    with textserve_service(cores={0}, env={"TEXTSERVE_THREADS": "1"}) as server:
        ...

Every server listens on ports of its own on 127.0.0.1. The end of the block ends the whole tree of processes, also of
servers whose children outlive them: a child is known by its parent, or by a variable that it inherited.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).resolve().parents[1]
MARK = "BENCHMARK_SERVER"
START_SECONDS = 90.0
STOP_SECONDS = 15.0
LEAVE_SECONDS = 8.0
LOG_LINES = 15


class StartError(RuntimeError):
    """The server ended, or did not get ready in time; the message ends with the last lines of its log."""


class Server:
    """A server and all the processes that it starts, as a context manager.

    ``{port}``, ``{grpc_port}``, ``{metrics_port}`` (free ports) and ``{folder}`` are filled into ``command``,
    ``prepare`` and the values of ``env``. The folder is for the server's temporary files, and goes with it.

    Args:
        command: what to start.
        cores: the cores on which all its processes run.
        env: variables beside those inherited; inherited ``TEXTSERVE_*`` and ``BENTOML_*`` are left out.
        ready: path that answers 200 to GET once the server can work.
        prepare: run to its end before the start, with the same environment.
        start_seconds: how long it may take to get ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: Collection[int],
        env: Mapping[str, str] | None = None,
        ready: str = "/readyz",
        prepare: Sequence[str] = (),
        start_seconds: float = START_SECONDS,
        cwd: Path = ROOT,
    ) -> None:
        self.cores = set(cores)
        self._cwd, self._ready, self._start_seconds = cwd, ready, start_seconds
        self._temporary = tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.port, self.grpc_port, self.metrics_port = free_ports(3)
        self._mark = uuid.uuid4().hex
        self._command = [self._filled(word) for word in command]
        self._prepare = [self._filled(word) for word in prepare]
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("TEXTSERVE_", "BENTOML_"))
        }
        self._env = {**inherited, MARK: self._mark, "TMPDIR": str(self.folder)}
        self._env.update((name, self._filled(value)) for name, value in (env or {}).items())
        self._log_file = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The first of its processes."""
        if self._process is None:
            raise RuntimeError("the server is not started")
        return self._process

    def __enter__(self) -> Server:
        """Start the server and wait until it is ready.

        Raises:
            StartError: if it does not get ready.
        """
        try:
            if self._prepare:
                self._run_first()
            with self._log_file.open("ab") as log, pinned(self.cores):
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._cwd,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the server
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """Those of its processes that run now."""
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get(MARK) == self._mark:
                    self._seen[one.pid] = one
        # Some rewrite the memory where their environment stands; they are still somebody's children.
        for parent in list(self._seen.values()):
            with contextlib.suppress(psutil.Error):
                self._seen.update((child.pid, child) for child in parent.children(recursive=True))
        return [one for one in self._seen.values() if _runs(one)]

    def cpu_seconds(self) -> float:
        """Seconds of CPU, user and system, that its processes have used, with the children that ended in order."""
        total = 0.0
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def rss_bytes(self) -> int:
        """Resident memory of its processes, in bytes; what they share is counted in each."""
        total = 0
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        return total

    def log(self, lines: int = LOG_LINES) -> str:
        """The last lines that it has logged."""
        if not self._log_file.exists():
            return ""
        return "\n".join(self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end, after ``seconds`` and a little longer kill what still runs, and remove its folder."""
        if self._process is not None:
            started = self.processes()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            # Children may outlive the first process and, given the time, put away what they left outside the folder.
            psutil.wait_procs(started, timeout=LEAVE_SECONDS)
            while alive := self.processes():
                for one in alive:
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                psutil.wait_procs(alive, timeout=2)
            self._process.wait()
        self._temporary.cleanup()

    def _filled(self, word: str) -> str:
        values = {
            "port": self.port,
            "grpc_port": self.grpc_port,
            "metrics_port": self.metrics_port,
            "folder": self.folder,
        }
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", str(value))
        return word

    def _run_first(self) -> None:
        done = subprocess.run(self._prepare, cwd=self._cwd, env=self._env, capture_output=True, text=True)
        if done.returncode:
            raise StartError(f"{' '.join(self._prepare)} ended with {done.returncode}:\n{done.stderr.strip()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"ended with {self.process.returncode}:\n{self.log()}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(self.url + self._ready, timeout=5) as answer,  # noqa: S310 (our own address)
            ):
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise StartError(f"{self._ready} did not answer 200 within {self._start_seconds:.0f} s:\n{self.log()}")


def textserve_service(
    *, cores: Collection[int], model: str = "sentiment-pl-en", env: Mapping[str, str] | None = None
) -> Server:
    """This project's service as ``make serve`` starts it, with a model store of its own; not yet started.

    Args:
        cores: the cores on which it runs.
        model: folder in ``models/``.
        env: settings of the service (``TEXTSERVE_*``) and other variables.
    """
    programs = ROOT / ".venv" / "bin"
    return Server(
        [str(programs / "bentoml"), "serve", "service:TextClassifier", "--host", "127.0.0.1", "--port", "{port}"],
        cores=cores,
        prepare=[str(programs / "python"), "-m", "scripts.save", model],
        env={
            "BENTOML_HOME": "{folder}",
            "BENTOML_DO_NOT_TRACK": "True",
            "TEXTSERVE_MODEL": model,
            "TEXTSERVE_GRPC_PORT": "{grpc_port}",
            **(env or {}),
        },
    )


@contextlib.contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """For the length of the block, keep this thread, and processes that it starts, to ``cores``."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
