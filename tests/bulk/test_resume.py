"""Runs that are killed and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk.answers import Answering
from bulk.errors import BulkError
from bulk.parts import Parts
from bulk.run import Job, run
from tests.bulk.conftest import Write
from tests.server import LIMIT_SECONDS, ROOT, environment

Tiny = Callable[[str], str]
WINDOW = 2048


def rows(count: int, broken: int = 100) -> list[dict[str, Any]]:
    generator = random.Random(5)
    words = ["emotion1", "emotion2", "nothing", "emotion3"]
    texts = [" ".join(generator.choices(words, k=generator.randint(1, 9))) for _ in range(count)]
    return [{"id": index, "text": text if index % broken else ""} for index, text in enumerate(texts)]


def parts(output: Path) -> set[str]:
    return {file.name for file in output.with_name(f".{output.name}.parts").glob("part-*.json")}


def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path, lines: Write, tiny: Tiny) -> None:
    source = lines("in.jsonl", rows(30 * WINDOW))
    undisturbed, output = tmp_path / "undisturbed.jsonl", tmp_path / "out.jsonl"
    job = Job(str(source), str(undisturbed), tiny("several"), quiet=True)
    run(job)
    command = [sys.executable, "-m", "scripts.score", str(source), str(output), "--model", tiny("several"), "--quiet"]
    generator = random.Random(7)
    kills = 0
    finished: set[str] = set()
    while kills < 10:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path / "home"))
        wanted = len(finished) + generator.randint(0, 3)
        deadline = time.monotonic() + LIMIT_SECONDS
        while process.poll() is None and len(parts(output)) < wanted:
            assert time.monotonic() < deadline
        # The moment is random, but before many more parts: how many a second there are depends on the machine.
        moment = time.monotonic() + generator.random() * (4.0 if wanted == len(finished) else 0.2)
        while process.poll() is None and time.monotonic() < moment and len(parts(output)) <= wanted:
            time.sleep(0.001)
        if process.poll() is not None:
            break  # it was whole before the tenth
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        if output.exists():
            break  # it was whole at that moment
        assert finished <= parts(output)
        finished = parts(output)
    assert kills >= 5
    whole = output.exists() and not (tmp_path / ".out.jsonl.parts" / "done.json").exists()
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path / "home"), timeout=LIMIT_SECONDS)
    assert done.returncode == (1 if whole else 3)
    assert output.read_bytes() == undisturbed.read_bytes()
    assert bad(output) == bad(undisturbed)
    assert not list(tmp_path.glob(".*.parts"))


def bad(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.with_name(f"{output.name}.bad.jsonl").read_text().splitlines()]


class Killed(BaseException):
    """Ends a run where kill -9 would."""


@pytest.mark.parametrize("step", ["save", "whole", "set_done", "move", "remove"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_around_every_step_loses_nothing_and_scores_nothing_twice(
    tmp_path: Path, lines: Write, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, step: str, before: bool, call: int
) -> None:
    source = lines("in.jsonl", rows(2 * WINDOW + 50))
    job = Job(str(source), str(tmp_path / "whole.csv"), tiny("several"), quiet=True)
    run(job)
    job = replace(job, output=str(tmp_path / "out.csv"))
    real, calls = getattr(Parts, step), []

    def killing(self: Parts, *arguments: Any) -> Any:
        calls.append(step)
        if len(calls) == call and before:
            raise Killed
        result = real(self, *arguments)
        if len(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Parts, step, killing)
        if step in ("set_done", "remove") and call == 2:
            run(job)  # which calls them once
            return
        with pytest.raises(Killed):
            run(job)
    kept = len(parts(tmp_path / "out.csv"))
    saved: list[Any] = []
    save = Parts.save

    def counting(self: Parts, key: Any, *more: Any) -> Any:
        saved.append(key)
        return save(self, key, *more)

    monkeypatch.setattr(Parts, "save", counting)
    if step == "remove" and not before:  # it had ended
        with pytest.raises(BulkError, match="exists"):
            run(job)
    else:
        summary = run(job)
        assert len(saved) == 3 - kept
        assert (summary.rows, summary.bad) == (2 * WINDOW + 50 - 42, 42)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert bad(tmp_path / "out.csv") == bad(tmp_path / "whole.csv")
    assert not list(tmp_path.glob(".*.parts"))


@pytest.fixture
def begun(tmp_path: Path, lines: Write, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run of three parts that was killed before it was whole."""
    job = Job(str(lines("in.jsonl", rows(3 * WINDOW))), str(tmp_path / "out.csv"), tiny("several"), quiet=True)

    def killed(self: Parts) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "set_done", killed)
        with pytest.raises(Killed):
            run(job)
    return job


def test_another_model_or_option_is_told_and_nothing_is_lost(begun: Job, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(BulkError, match=r"differs from this one in top_k: None then, 3 now; run the same command"):
        run(replace(begun, answering=Answering(top_k=3)))
    with pytest.raises(BulkError, match=r"model: 'several:\w+' then, 'number:\w+' now; digest: "):
        run(replace(begun, model=tiny("number")))
    assert len(parts(tmp_path / "out.csv")) == 3
    assert run(begun).kept == 3 * WINDOW - 62


def test_an_input_that_changed_is_told(begun: Job, tmp_path: Path) -> None:
    content = Path(begun.input).read_text()
    Path(begun.input).write_text(content.replace("emotion1", "emotion2", 1))
    with pytest.raises(BulkError, match="has changed since the run began"):
        run(begun)
    Path(begun.input).write_text(content)
    assert run(begun).kept == 3 * WINDOW - 62


def test_a_damaged_part_is_scored_again(begun: Job, tmp_path: Path) -> None:
    (part, *_) = sorted(tmp_path.glob(".out.csv.parts/*.parquet"))
    part.write_bytes(part.read_bytes()[:-10])
    assert run(begun).kept == 3 * WINDOW - 62 - (WINDOW - 21)
    run(replace(begun, output=str(tmp_path / "again.csv")))
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_two_runs_do_not_write_the_same_output(begun: Job, tmp_path: Path) -> None:
    from bulk.addresses import Place

    other = Parts(Place.of(begun.output))
    other.open(json.loads((tmp_path / ".out.csv.parts" / "run.json").read_text()))
    with pytest.raises(BulkError, match="another run is writing this output"):
        run(begun)
    other.close()
    assert run(begun).kept == 3 * WINDOW - 62
