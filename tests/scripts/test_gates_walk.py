"""The walk of docs/gates.md, as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT

SHARED = (".uv", ".venv-export", "build/data")


@pytest.mark.walk
@pytest.mark.timeout(3600)
def test_the_walk_of_the_documentation_ends_with_the_first_champion(tmp_path: Path) -> None:
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, tracked):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in SHARED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    document = (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    block = re.search(r"```bash\n(.*?)```", document, re.DOTALL)
    assert block
    commands = [line.split("#")[0].strip() for line in block[1].splitlines()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    outputs = []
    for command in commands:
        done = subprocess.run(command.split(), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        outputs.append(done.stdout)
    assert "champion is version 1 again, no longer version 2" in outputs[-1]
