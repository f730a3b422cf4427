"""Rollouts of real services behind the real HAProxy, judged from a real Prometheus, with clients of HTTP and gRPC."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from operate.counts import UNANSWERED
from tests.faults.honest import Seen, beside
from tests.operate.stand import Stand, proxied, stand, wait_for
from tests.server import LIMIT_SECONDS, free_port

# 50 requests a second: 25 over HTTP, 25 over gRPC.
INTERVAL = "0.04"
ABORTED = 3
LONG = [pytest.mark.rollout, pytest.mark.timeout(3000)]


def asked(running: Stand) -> dict[str, float]:
    """The requests that each version was asked so far, by its own count."""
    found = {}
    for version in ("blue", "green"):
        lines = httpx.get(f"{getattr(running, version).url}/metrics", timeout=LIMIT_SECONDS).text.splitlines()
        found[version] = sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("textserve_requests_total{")
        )
    return found


def rolled_out(running: Stand, *arguments: str, fault: bool = False) -> tuple[subprocess.CompletedProcess[str], Seen]:
    """A rollout of green to its end beside clients, and what these saw."""
    with beside(running.http, running.grpc, "--grpc", "--interval", INTERVAL, "--probe", "1") as seen:
        if fault:
            running.break_candidate()
        done = running.run("start", "green", *arguments)
    return done, seen


@pytest.mark.parametrize(
    ("fault", "checks", "lost_as"),
    [
        ("errors", {"failures"}, {"http 500", "grpc INTERNAL"}),
        ("slow", {"slower", "stragglers"}, set()),
        ("swapped", {"disagreement"}, {"http wrong answer", "grpc wrong answer"}),
    ],
)
@pytest.mark.parametrize("long", [pytest.param(True, marks=LONG)])
def test_a_bad_candidate_is_found_and_rolled_back_and_touches_no_more_than_its_share(
    tmp_path: Path, saved_model: Path, fault: str, checks: set[str], lost_as: set[str], long: bool
) -> None:
    with stand(tmp_path, saved_model, fault) as running:
        done, seen = rolled_out(running, fault=True)
        assert done.returncode == ABORTED, done.stdout + done.stderr
        assert set(running.proxy.share("green").values()) == {0}
        rollout = running.rollout()
    assert (rollout.status, rollout.step) == ("aborted", 0), rollout.reason
    assert checks & {part.partition(":")[0] for part in rollout.reason.split("; ")}, rollout.reason
    # What the candidate answered wrong, and nothing else: the rollback loses no request.
    lost = seen.lost()
    assert {f"{sent.protocol} {sent.outcome}" for sent in lost} <= lost_as
    # 5 %, as drawn at random, and four standard errors; HAProxy's own spread of the weights adds a fifth.
    sent = len(seen.requests)
    assert len(lost) <= 0.06 * sent + 4 * (0.06 * sent) ** 0.5


@pytest.mark.rollout
@pytest.mark.timeout(3000)
def test_a_candidate_that_stops_answering_is_found_by_the_proxy_and_by_the_judge(
    tmp_path: Path, saved_model: Path
) -> None:
    with (
        stand(tmp_path, saved_model) as running,
        beside(running.http, running.grpc, "--grpc", "--interval", INTERVAL, "--probe", "1") as seen,
        running.running("start", "green") as script,
    ):
        try:
            wait_for(lambda: asked(running)["green"] > 5, "a request to the candidate")
            running.green.process.send_signal(signal.SIGSTOP)
            assert script.wait(LIMIT_SECONDS) == ABORTED
            assert "stopped being ready" in running.rollout().reason
            assert set(running.proxy.share("green").values()) == {0}
        finally:
            # Those that it has accepted are answered late, and the rest of the test stops it.
            running.green.process.send_signal(signal.SIGCONT)
    assert len(seen.lost()) <= 0.06 * len(seen.requests)


@pytest.mark.rollout
@pytest.mark.timeout(3000)
def test_a_good_candidate_is_promoted_under_load_and_not_a_request_fails(tmp_path: Path, saved_model: Path) -> None:
    with stand(tmp_path, saved_model) as running:
        with beside(running.http, running.grpc, "--grpc", "--interval", INTERVAL, "--probe", "1") as seen:
            done = running.run("start", "green")
            assert done.returncode == 0, done.stdout + done.stderr
            assert set(running.proxy.share("green").values()) == {100}
            before = asked(running)
            wait_for(lambda: asked(running)["green"] > before["green"] + 20, "requests of the new version")
            # What nobody needs any more is stopped, and nobody notices.
            assert running.blue.stop() == 0
        assert running.rollout().status == "promoted"
    shares = [line for line in done.stdout.splitlines() if "% of the requests" in line]
    assert [int(line.split()[1]) for line in shares] == [5, 25, 50, 100]
    assert {sent.outcome for sent in seen.requests} == {"ok"}
    assert {sent.protocol for sent in seen.requests} == {"http", "grpc"}


def test_a_rollout_survives_its_script_and_its_proxy_and_is_ended_by_hand(tmp_path: Path, saved_model: Path) -> None:
    with stand(tmp_path, saved_model) as running:
        assert "no rollout so far" in running.run("status").stdout
        with running.running("start", "green") as script:
            assert script.stdout is not None
            assert "5 % of the requests" in script.stdout.readline()
            # No other rollout beside it.
            second = running.run("start", "green")
            assert (second.returncode, "a rollout of green is running" in second.stderr) == (1, True)
            script.kill()
        assert set(running.proxy.share("green").values()) == {5}
        said = running.run("status").stdout
        assert "running: green, step 1 of 4" in said
        assert "green: 5 % of http, 5 % of grpc, ready" in said
        with beside(running.http, running.grpc, "--grpc", "--interval", INTERVAL, "--probe", "1") as seen:
            before = asked(running)
            assert running.run("promote").returncode == 0
            assert set(running.proxy.share("green").values()) == {100}
            wait_for(lambda: asked(running)["green"] > before["green"] + 10, "requests of the candidate")
            # A rollback, back to the version before.
            assert running.run("abort").returncode == 0
            before = asked(running)
            wait_for(lambda: asked(running)["blue"] > before["blue"] + 10, "requests of the version before")
        assert {sent.outcome for sent in seen.requests} == {"ok"}
        assert set(running.proxy.share("green").values()) == {0}


def test_a_shadow_is_asked_mirrored_texts_only_and_its_other_labels_are_found(
    tmp_path: Path, saved_model: Path
) -> None:
    with stand(tmp_path, saved_model, "swapped") as running:
        done, seen = rolled_out(running, "--strategy", "shadow", fault=True)
        assert done.returncode == ABORTED, done.stdout + done.stderr
        assert "disagreement" in running.rollout().reason
        assert asked(running)["green"] > 0
        log = (tmp_path / "haproxy.log").read_text(encoding="utf-8")
        # The weights are there again after a restart of the proxy.
        running.proxy.route("green", "blue", 100)
    assert {sent.outcome for sent in seen.requests} == {"ok"}
    assert "Polecam" not in log + done.stdout + done.stderr


def test_the_proxy_keeps_its_weights_over_a_restart(tmp_path: Path, saved_model: Path) -> None:
    with stand(tmp_path, saved_model) as running:
        running.proxy.route("green", "blue", 25)
        other = Stand(
            tmp_path, free_port(), free_port(), running.mirror, running.prometheus, running.blue, running.green
        )
        metrics = free_port()
        with proxied(other, metrics):
            assert set(other.proxy.share("green").values()) == {25}
            # What the judge reads of the proxy is there.
            exposed = httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=LIMIT_SECONDS).text
            for name in UNANSWERED:
                assert f'{name}{{proxy="grpc",server="green"}}' in exposed
