from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.server import environment
from textserve.bento.store import set_latest, share_models

SCRIPT = "import bentoml; print(bentoml.models.get('tiny:latest').tag.version)"
CREATE = "import bentoml\nfor version in 'old', 'new':\n    with bentoml.models.create(f'tiny:{version}'): pass\n"


def python(code: str, home: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_bentoml_still_has_the_store_layout_that_we_write(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    python(CREATE, store)
    assert python(SCRIPT, store) == "new"
    old = store / "models" / "tiny" / "old"
    set_latest(old)
    assert python(SCRIPT, store) == "old", "BentoML no longer reads NAME/latest: see textserve.bento.store.set_latest"
    other.mkdir()
    share_models(old, other)
    assert python(SCRIPT, other) == "old", "BentoML no longer reads HOME/models: see textserve.bento.store.share_models"
