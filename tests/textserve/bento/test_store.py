from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.server import environment
from textserve.bento.store import home_aside, move_into, set_latest

LATEST = "import bentoml; print(bentoml.models.get('tiny:latest').tag.version)"
CREATE = "import bentoml\nfor version in 'old', 'new':\n    with bentoml.models.create(f'tiny:{version}'): pass\n"
CREATE_OURS = """
from textserve.bento.store import create_model
with create_model("tiny:ours") as folder:
    (folder / "file").write_text("ours")
"""


def python(code: str, home: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_bentoml_still_has_the_store_layout_that_we_write(tmp_path: Path) -> None:
    store = tmp_path / "store"
    python(CREATE, store)
    assert python(LATEST, store) == "new"
    old = store / "models" / "tiny" / "old"
    set_latest(old)
    assert python(LATEST, store) == "old", "BentoML no longer reads NAME/latest: see textserve.bento.store.set_latest"
    with home_aside(old) as other:
        assert python(LATEST, other) == "old", (
            "BentoML no longer reads HOME/models: see textserve.bento.store.home_aside"
        )
    assert python(CREATE_OURS + LATEST, store) == "ours", "BentoML no longer finds what create_model writes"
    assert list((store / "tmp").iterdir()) == []


def test_a_damaged_item_is_replaced_by_a_whole_one(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "aside" / "tiny" / "1", tmp_path / "models" / "tiny" / "1"
    for folder, content in ((whole, "whole"), (damaged, "damaged")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(content)
    move_into(tmp_path / "models", whole)
    assert (damaged / "file").read_text() == "whole"
    assert (tmp_path / "models" / "tiny" / "latest").read_text() == "1"


def test_a_store_that_cannot_be_written_to_needs_no_write(tmp_path: Path) -> None:
    item = tmp_path / "models" / "tiny" / "1"
    item.mkdir(parents=True)
    set_latest(item)
    (tmp_path / "tmp").rmdir()
    (tmp_path / "tmp").touch()  # now nothing can be written aside
    set_latest(item)
