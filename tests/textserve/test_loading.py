from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import DEFAULT_MODEL
from textserve import loading
from textserve.spec import SpecError


def test_a_model_loaded_early_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loading.load_early(DEFAULT_MODEL, 1)
    with monkeypatch.context() as patched:
        patched.setattr(loading, "Classifier", None)
        early = loading.load(DEFAULT_MODEL, 1)
    assert early.spec.name == "sentiment-pl-en"
    assert loading.load(DEFAULT_MODEL, 1) is not early


@pytest.mark.parametrize("early", [True, False])
def test_loading_a_folder_without_a_model_fails(tmp_path: Path, early: bool) -> None:
    if early:
        loading.load_early(tmp_path, 1)
    with pytest.raises(SpecError, match=r"model\.yaml"):
        loading.load(tmp_path, 1)
