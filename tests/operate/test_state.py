"""The file of a rollout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from operate.errors import OperateError
from operate.plan import Rollout
from operate.state import StateFile
from tests.server import LIMIT_SECONDS, ROOT

HOLDING = """
import sys
from pathlib import Path
from operate.state import StateFile
with StateFile(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_before_the_first_rollout_there_is_none_and_then_there_is_the_last(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "rollout.json")
    assert file.read() is None
    rollout = Rollout("green", (100,), mirror=False)
    file.write(rollout)
    file.write(rollout.passed())
    assert file.read() == rollout.passed()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"base": {}, "steps": [100], "mirrored": [0, 0]}',
        '{"base": [], "steps": [100], "mirrored": [0, 0], "candidate": "green"}',
        '{"base": {}, "steps": [0], "mirrored": [0, 0], "candidate": "green", "mirror": false}',
    ],
)
def test_a_file_that_is_no_rollout_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rollout.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OperateError, match=r"rollout\.json: not the state of a rollout .* remove the file"):
        StateFile(path).read()


def test_the_lock_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rollout.json"
    command = [sys.executable, "-c", HOLDING, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"locked\n"
        waiting = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with waiting:
            assert waiting.poll() is None
            holding.kill()
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == b"locked\n"
            assert waiting.wait(LIMIT_SECONDS) == 0
