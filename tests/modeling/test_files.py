from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from scripts.command import parser


@pytest.fixture
def files(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> ModelFiles:
    files = write_model(tmp_path)
    files.model.write_bytes(b"graph")
    files.tokenizer.write_bytes(b"tokens")
    return files


def test_the_error_for_an_unknown_model_lists_the_known_models(tmp_path: Path) -> None:
    for name in ("second", "first", "without-a-spec"):
        (tmp_path / "models" / name).mkdir(parents=True)
    for name in ("second", "first"):
        (tmp_path / "models" / name / "model.yaml").touch()
    with pytest.raises(ModelingError, match=r"models/other/model\.yaml does not exist; known models: first, second$"):
        ModelFiles.of("other", tmp_path)
    assert not (tmp_path / "build").exists()


def test_digests_are_of_the_graph_and_the_tokenizer(files: ModelFiles) -> None:
    files.add_to_report("export", {})
    assert files.digests() == {
        "model.onnx": hashlib.sha256(b"graph").hexdigest(),
        "tokenizer.json": hashlib.sha256(b"tokens").hexdigest(),
    }


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named_with_the_command_that_writes_it(files: ModelFiles, name: str) -> None:
    (files.folder / name).unlink()
    with pytest.raises(ModelingError, match=rf"{name} does not exist; python -m scripts\.export tiny writes it"):
        files.digests()


def test_a_section_of_the_report_is_replaced_and_the_others_stay(files: ModelFiles) -> None:
    assert files.report() == {}
    files.add_to_report("export", {"bytes": 5})
    files.add_to_report("verification", {"agreement": 0.5, "cpu": "old"})
    files.add_to_report("verification", {"agreement": 1.0})
    assert files.report() == {"export": {"bytes": 5}, "verification": {"agreement": 1.0}}


def test_the_report_is_sorted_utf8(files: ModelFiles) -> None:
    files.add_to_report("b", {"text": "zażółć"})
    files.add_to_report("a", {})
    text = (files.folder / "report.json").read_text(encoding="utf-8")
    assert "zażółć" in text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["a", "b"]


def test_help_shows_the_docstring_as_written() -> None:
    assert "Reads   one\n    Writes  two" in parser("Do it.\n\n    Reads   one\n    Writes  two\n").format_help()
