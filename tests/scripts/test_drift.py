from __future__ import annotations

import json
from pathlib import Path

import pytest

from modeling.errors import ModelingError
from modeling.evaluation.reference import write_reference
from modeling.evaluation.served import read_served
from modeling.files import ModelFiles
from scripts import drift as script
from scripts import drift_page as page
from scripts import reference as reference_script
from tests import tiny_onnx
from tests.specs import spec
from textserve.spec import ModelSpec

SERVED = spec(["meeting", "offer"], "meeting", "offer", name="tiny", graph=tiny_onnx.GRAPH)
KNOWN = ["meeting today", "offer", "meeting", "offer today offer"] * 30


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFiles:
    """A model with a reference, that the scripts find."""
    tiny_onnx.write(
        tmp_path / "models" / "tiny", SERVED, [0.0, 0.0], {"offer": [0, 2], "meeting": [2, 0], "today": [0.1, 0.1]}
    )
    with (tmp_path / "models" / "tiny" / "model.yaml").open("a", encoding="utf-8") as stream:
        stream.write("languages: [en]\nlicense: MIT\narchitecture: Tiny\nsource: {kind: folder, repository: /}\n")
    found = ModelFiles.of("tiny", tmp_path)
    write_reference(found, {"en": KNOWN})
    monkeypatch.setattr(ModelFiles, "of", lambda name: found)
    monkeypatch.setattr("modeling.evaluation.reference.reference_texts", lambda files: {"en": KNOWN})
    return found


def write(file: Path, texts: list[str]) -> Path:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def test_texts_like_the_reference_are_ok_and_others_have_moved(
    tmp_path: Path, model: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["tiny", str(write(tmp_path / "same.jsonl", KNOWN))]) == 0
    assert "moved" not in capsys.readouterr().out
    assert script.main(["tiny", str(write(tmp_path / "other.jsonl", ["nothing known here"] * 500))]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "moved" in line} >= {"unknown", "rare"}
    written = (model.build / "drift" / "served.csv").read_text(encoding="utf-8").splitlines()
    assert written[0] == "label,score,tokens,unknown,rare,capitals"
    assert len(written) == 501
    assert "nothing" not in "".join(written)


def test_without_a_reference_it_says_how_to_get_one(
    tmp_path: Path, model: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    model.reference_file.unlink()
    assert script.main(["tiny", str(write(tmp_path / "same.jsonl", KNOWN))]) == 1
    assert "run make reference MODEL=tiny" in capsys.readouterr().err


def test_a_reference_of_own_texts_has_their_groups(
    tmp_path: Path, model: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": text, "group": "en" if index % 2 else "pl"} for index, text in enumerate(KNOWN * 2)]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert reference_script.main(["tiny", "--texts", str(file)]) == 0
    assert capsys.readouterr().out.split() == ["120", "pl", "120", "en"]
    assert list(model.reference()["groups"]) == ["pl", "en"]
    assert reference_script.main(["tiny", "--texts", str(write(tmp_path / "few.jsonl", ["offer"]))]) == 0
    assert "no reference" in capsys.readouterr().out
    assert not model.reference_file.exists()


def test_the_page_has_only_the_texts_that_the_reference_was_measured_on(
    tmp_path: Path, model: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, served = model.build / "drift", write(tmp_path / "served.jsonl", ["offer today"] * 120)
    assert script.main(["tiny", str(served)]) == 2
    assert len((folder / "reference.csv").read_text(encoding="utf-8").splitlines()) == len(KNOWN) + 1
    # Of as many texts, in a group of that name.
    write_reference(model, {"en": ["offer today"] * len(KNOWN)})
    (folder / "drift.html").touch()
    assert script.main(["tiny", str(served)]) == 0
    assert page.main([str(folder)]) == 0
    assert "no page" in capsys.readouterr().out
    assert [file.name for file in folder.iterdir()] == ["served.csv"]


PAIRS = spec(["no", "yes"], "no", "yes", name="tiny", input="pair", graph=tiny_onnx.GRAPH)


@pytest.mark.parametrize(
    ("served", "row", "problem"),
    [(PAIRS, {"text": "a"}, "is missing"), (SERVED, {"text": "a", "text_pair": "b"}, "this model has input: text")],
)
def test_texts_that_are_not_what_the_model_reads_are_an_error_with_the_line(
    tmp_path: Path, served: ModelSpec, row: dict[str, str], problem: str
) -> None:
    lines, table = tmp_path / "texts.jsonl", tmp_path / "texts.csv"
    lines.write_text(f"{json.dumps(row)}\n" * 100, encoding="utf-8")
    table.write_text(f"{','.join(row)}\n{','.join(row.values())}\n", encoding="utf-8")
    for file, line in ((lines, 1), (table, 2)):
        with pytest.raises(ModelingError, match=rf"{file.name}:{line}: text_pair: {problem}$"):
            read_served(file, served)
    with pytest.raises(ModelingError, match=rf"^--texts .*texts\.jsonl:1: text_pair: {problem}$"):
        reference_script.grouped(lines, served)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_texts_of_a_csv_file_are_in_its_column(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "served.csv"
    file.write_text(f'id{separator}text\n1{separator}"two\nlines"\n2{separator}one\n', encoding="utf-8")
    assert read_served(file, SERVED) == ["two\nlines", "one"]
    file.write_text("text\nalone\n", encoding="utf-8")
    assert read_served(file, SERVED) == ["alone"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id,comment\n1,a\n", "has no column text; its columns are id, comment"),
        ("id,text\n", "has no text"),
        ("", "has no column text; its columns are none"),
        ("id,text\n1,a\n2,\n", "served.csv:3: text: is missing"),
    ],
)
def test_a_wrong_csv_file_is_an_error_with_its_place(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "served.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ModelingError, match=problem):
        read_served(tmp_path / "served.csv", SERVED)
