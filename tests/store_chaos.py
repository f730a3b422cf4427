"""Kills writers of one store at random moments, three at a time, and checks that every item of the store is complete.

    .venv/bin/python -m tests.store_chaos --rounds 20

A round starts `make save`, `make serve` and `make bento` together with the same ``BENTOML_HOME``, kills each at a
random moment, or lets it finish, and then checks every model and Bento of the store. Prints what was killed and what
was found. Exit code 0 if there was never half an item and never a traceback, else 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import yaml

from modeling.files import sha256
from release.bento import DIGEST_LABEL, content_digest
from tests.server import ROOT, environment, free_port

VERBS = ("save", "serve", "bento")
# Longer than `make bento` takes on an idle machine: some runs are not killed. `make serve` is always killed.
LONGEST_SECONDS = 20.0


def main() -> int:
    """Run the rounds and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    moments = random.Random(options.seed)
    problems: list[str] = []
    ended: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            home = Path(folder, str(number % 4))  # a store is used by several rounds, an empty one now and then
            threads = [
                threading.Thread(target=_run, args=(verb, home, moments.uniform(0.2, LONGEST_SECONDS), problems, ended))
                for verb in VERBS
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            problems += damaged(home)
        final = Path(folder, "0")
        _run("bento", final, None, problems, ended)
        problems += damaged(final)
    print(f"{options.rounds} rounds: {dict(sorted(ended.items()))}; problems: {problems or 'none'}")  # noqa: T201  # the result of the run
    return 1 if problems else 0


def _run(verb: str, home: Path, seconds: float | None, problems: list[str], ended: collections.Counter[str]) -> None:
    port = str(free_port())
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            ["make", "--no-print-directory", verb],
            cwd=ROOT,
            env=environment(home, TEXTSERVE_GRPC_PORT=port, PORT=str(free_port())),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            ended[f"{verb} ended with {process.wait(seconds)}"] += 1
        except subprocess.TimeoutExpired:
            _kill_all(port)
            process.wait()
            ended[f"{verb} killed"] += 1
        log.seek(0)
        output = log.read()
    if "Traceback" in output or process.returncode > 0:
        problems.append(f"{verb} ended with {process.returncode}: {output[-2000:]}")


def _kill_all(port: str) -> None:
    """Kill every process that was started with this gRPC port, also those whose parent is gone."""
    while True:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TEXTSERVE_GRPC_PORT") == port:
                    process.kill()
                    found = True
        if not found:
            return


def damaged(home: Path) -> list[str]:
    """The incomplete items in the stores of ``home``."""
    found = []
    for model in (home / "models").glob("*/*/"):
        try:
            digests = yaml.safe_load((model / "model.yaml").read_text(encoding="utf-8"))["metadata"]["sha256"]
            whole = all(sha256(model / "files" / name) == digest for name, digest in digests.items())
        except OSError:
            whole = False
        if not whole:
            found.append(f"half a model: {model}")
    for bento in (home / "bentos").glob("*/*/"):
        try:
            label = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))["labels"][DIGEST_LABEL]
            whole = content_digest(bento) == label
        except OSError:
            whole = False
        if not whole:
            found.append(f"half a Bento: {bento}")
    return found


if __name__ == "__main__":
    sys.exit(main())
