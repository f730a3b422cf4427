"""Run a server on given cores, measure its CPU time and memory, and stop all its processes.

    with Server(["uvicorn", "app:app", "--port", "{port}"], cores={0}, ready="/health") as server:
        server.url, server.cpu_seconds(), server.rss_bytes()

    with textserve_service(cores={0}, env={"TEXTSERVE_THREADS": "1"}) as server:
        ...

Every server listens on free ports of 127.0.0.1. Leaving the block stops the whole process tree, including orphaned
children: a child is identified by its parent or by an inherited environment variable.
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

from modeling.files import ROOT

DEFAULT_MODEL = ROOT / "models" / "sentiment-pl-en"
MARK = "BENCHMARK_SERVER"
START_SECONDS = 90.0
STOP_SECONDS = 15.0
LEAVE_SECONDS = 8.0
LOG_LINES = 15


class StartError(RuntimeError):
    """The server exited or was not ready in time; the message ends with the tail of its log."""


class Server:
    """A context manager that runs a server with all its child processes.

    ``{port}``, ``{grpc_port}``, ``{metrics_port}`` (free ports) and ``{folder}`` (a temporary folder, removed on exit)
    are substituted in ``command``, ``prepare`` and the values of ``env``.

    Args:
        command: command line of the server.
        cores: cores that its processes may use.
        env: added to the inherited environment, which loses ``TEXTSERVE_*`` and ``BENTOML_*``.
        ready: path that returns 200 once the server is ready.
        prepare: command to run before the server, in the same environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: Collection[int],
        env: Mapping[str, str] | None = None,
        ready: str = "/readyz",
        prepare: Sequence[str] = (),
    ) -> None:
        self.cores = set(cores)
        self._ready = ready
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
        """The base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The main process."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process

    def __enter__(self) -> Server:
        """Start the server and wait until it is ready.

        Raises:
            StartError: if it exits or is not ready in time.
        """
        try:
            if self._prepare:
                self._run_first()
            with self._log_file.open("ab") as log, pinned(self.cores):
                self._process = subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # the benchmark handles Ctrl-C and stops the server
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """The running processes of the server."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self._mark:
                    self._seen[process.pid] = process
        # Processes that overwrite their environment are found by their parent.
        for parent in list(self._seen.values()):
            with contextlib.suppress(psutil.Error):
                self._seen.update((child.pid, child) for child in parent.children(recursive=True))
        return [process for process in self._seen.values() if _runs(process)]

    def cpu_seconds(self) -> float:
        """CPU seconds, user and system, of its processes and their reaped children."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def rss_bytes(self) -> int:
        """Resident memory of its processes in bytes; shared pages count once per process."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def log(self) -> str:
        """The last ``LOG_LINES`` lines of the log."""
        if not self._log_file.exists():
            return ""
        return "\n".join(self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])

    def stop(self) -> None:
        """Terminate the server, kill the processes that remain, and remove the folder."""
        if self._process is not None:
            started = self.processes()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            # Children may outlive the main process, and need time to clean up files outside the folder.
            psutil.wait_procs(started, timeout=LEAVE_SECONDS)
            while alive := self.processes():
                for process in alive:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                psutil.wait_procs(alive, timeout=2)
            self._process.wait()
        self._temporary.cleanup()

    def _filled(self, word: str) -> str:
        for name in ("port", "grpc_port", "metrics_port", "folder"):
            word = word.replace(f"{{{name}}}", str(getattr(self, name)))
        return word

    def _run_first(self) -> None:
        done = subprocess.run(self._prepare, cwd=ROOT, env=self._env, capture_output=True, text=True)
        if done.returncode:
            raise StartError(f"{' '.join(self._prepare)} exited with {done.returncode}:\n{done.stderr.strip()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"exited with {self.process.returncode}:\n{self.log()}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(self.url + self._ready, timeout=5) as answer,  # noqa: S310 (loopback)
            ):
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise StartError(f"{self._ready} did not return 200 within {START_SECONDS:.0f} s:\n{self.log()}")


def textserve_service(
    *, cores: Collection[int], model: Path = DEFAULT_MODEL, env: Mapping[str, str] | None = None
) -> Server:
    """This service as ``make serve`` starts it, with its own model store; not yet started.

    Args:
        cores: cores that it may use.
        model: the folder of a verified model.
        env: settings (``TEXTSERVE_*``) and other environment variables.
    """
    programs = ROOT / ".venv" / "bin"
    return Server(
        [str(programs / "bentoml"), "serve", "service:TextClassifier", "--host", "127.0.0.1", "--port", "{port}"],
        cores=cores,
        prepare=[str(programs / "python"), "-m", "benchmarks.save", str(model)],
        env={
            "BENTOML_HOME": "{folder}",
            "BENTOML_DO_NOT_TRACK": "True",
            "TEXTSERVE_MODEL": model.name,
            "TEXTSERVE_GRPC_PORT": "{grpc_port}",
            **(env or {}),
        },
    )


@contextlib.contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Within the block, pin this thread and the processes that it starts to ``cores``."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Free ports of 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
