from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.errors import ModelingError
from modeling.files import ModelFiles, replacing
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


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (OSError(errno.ENOSPC, "No space left"), ModelingError, r"model\.onnx: cannot be written: No space left$"),
    ],
)
def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    files: ModelFiles, failure: BaseException, raised: type[BaseException], message: str
) -> None:
    def write() -> None:
        with replacing(files.model) as new:
            new.write_bytes(b"half of")
            raise failure

    before = {file.name: file.read_bytes() for file in files.folder.iterdir()}
    with pytest.raises(raised, match=message):
        write()
    assert {file.name: file.read_bytes() for file in files.folder.iterdir()} == before


def test_a_report_that_cannot_be_written_keeps_its_sections(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.add_to_report("export", {"bytes": 5})

    def interrupted(path: Path, text: str, **options: Any) -> int:
        path.write_bytes(text.encode()[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.add_to_report("verification", {})
    assert files.report() == {"export": {"bytes": 5}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"export": ', "is not JSON"),
        (b"<<<<<<< HEAD\n{}\n", "is not JSON"),
        (b'"\xb1"', "is not JSON"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_file_that_is_not_json_is_an_error_that_names_it_and_what_writes_it(
    files: ModelFiles, content: bytes, problem: str
) -> None:
    files.report_file.write_bytes(content)
    files.reference_file.write_bytes(content)
    with pytest.raises(ModelingError, match=rf"report\.json: {problem}.* run make model MODEL=tiny$"):
        files.report()
    with pytest.raises(ModelingError, match=rf"reference\.json: {problem}.* run make reference MODEL=tiny$"):
        files.reference()


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(files: ModelFiles) -> None:
    files.report_file.mkdir()
    with pytest.raises(ModelingError, match=r"report\.json: cannot be read: Is a directory"):
        files.report()
    with pytest.raises(ModelingError, match=r"reference\.json: cannot be read: No such file.* run make reference "):
        files.reference()
