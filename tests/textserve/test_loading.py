from __future__ import annotations

from pathlib import Path

import pytest

from tests.server import ROOT
from textserve import loading
from textserve.spec import SpecError

DEFAULT = ROOT / "models" / "sentiment-pl-en"


def test_what_was_begun_early_is_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loading.load_early(DEFAULT)
    monkeypatch.setattr(loading, "Classifier", None)
    assert loading.load(DEFAULT).spec.name == "sentiment-pl-en"


def test_each_load_gives_a_classifier_of_its_own() -> None:
    loading.load_early(DEFAULT)
    assert loading.load(DEFAULT) is not loading.load(DEFAULT)


def test_what_was_not_begun_is_loaded_all_the_same() -> None:
    assert loading.load(DEFAULT).spec.name == "sentiment-pl-en"


@pytest.mark.parametrize("early", [True, False])
def test_a_folder_without_a_model_is_refused(tmp_path: Path, early: bool) -> None:
    if early:
        loading.load_early(tmp_path)
    with pytest.raises(SpecError, match=r"model\.yaml"):
        loading.load(tmp_path)
