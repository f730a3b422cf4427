from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modeling.files import ModelFiles
from scripts import recover

pytestmark = pytest.mark.export


def test_what_cannot_be_recovered_is_an_error_that_names_it(
    own_root: Path,
    write_model: Callable[..., ModelFiles],
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, like = write_model(own_root), str(make_checkpoint("bert"))
    assert recover.main(["tiny", "--like", like]) == 1
    assert f"{files.model}: is not a quantized graph" in capsys.readouterr().err
    files.model.write_bytes(b"no graph")
    assert recover.main(["tiny", "--like", like]) == 1
    assert f"{files.model}: is not a quantized graph" in capsys.readouterr().err
    assert not (files.build / "recovered").exists()
