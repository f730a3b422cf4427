from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.texts import SEVERAL, calibration_texts, check_input, comparison_texts, labelled_texts, read_texts

pytestmark = pytest.mark.export

LABELS = ["no", "yes"]
GOLDEN: dict[str, dict[str, Any]] = {
    "single_label_classification": {"label": "no"},
    "multi_label_classification": {"labels": ["no"]},
    "regression": {"score": 1.0},
}


@pytest.fixture
def write(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> Callable[..., ModelFiles]:
    """``write(problem_type, **sections)``: a model without a task."""

    def make(problem_type: str = "single_label_classification", **sections: Any) -> ModelFiles:
        pair = {"text_pair": "z"} if sections.get("input") == "pair" else {}
        golden = [{"text": text, **pair, **GOLDEN[problem_type]} for text in ("x", "y")]
        labels = ["stars"] if problem_type == "regression" else LABELS
        changes = {"task": None, "problem_type": problem_type, "labels": labels, "golden": golden}
        return write_model(tmp_path, **(changes | sections))

    return make


@pytest.fixture
def data(tmp_path: Path, write_data: Callable[..., Path]) -> Path:
    """Data with 300 rated English texts."""
    lines = "\n".join(f"1\t2.5\tThe meeting was a joy, number {number}." for number in range(300))
    return write_data(tmp_path / "build" / "data", {"tweets": lines.encode()})


def add(files: ModelFiles, name: str, *rows: object) -> None:
    (files.folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("problem_type", "values", "answers"),
    [
        ("single_label_classification", [{"label": "no"}, {"label": "yes"}], ["no", "yes"]),
        ("multi_label_classification", [{"labels": []}, {"labels": ["yes", "no"]}], [(), ("yes", "no")]),
        ("regression", [{"score": 2}, {"score": -0.5}], [2.0, -0.5]),
    ],
)
def test_the_answers_in_a_file_are_those_of_the_problem(
    write: Callable[..., ModelFiles], problem_type: str, values: list[dict[str, Any]], answers: list[Any]
) -> None:
    files = write(problem_type, languages=["en"])
    add(files, "test.jsonl", *({"text": f"text {number}", **value} for number, value in enumerate(values)))
    (found,) = labelled_texts(files)
    assert (found.language, found.name) == ("en", "test.jsonl")
    assert (list(found.texts), list(found.answers)) == (["text 0", "text 1"], answers)


def test_one_file_is_of_all_languages_that_have_none_of_their_own(write: Callable[..., ModelFiles]) -> None:
    files = write(languages=["en", "pl", "de"])
    add(files, "test.jsonl", {"text": "a", "label": "no"})
    assert [found.language for found in labelled_texts(files)] == [SEVERAL]
    add(files, "test-pl.jsonl", {"text": "b", "label": "no"})
    assert [(found.language, found.texts) for found in labelled_texts(files)] == [(SEVERAL, ["a"]), ("pl", ["b"])]
    add(files, "test-de.jsonl", {"text": "c", "label": "no"})
    assert [found.language for found in labelled_texts(files)] == ["en", "pl", "de"]


@pytest.mark.parametrize("task", [None, "sentiment"])
def test_texts_of_the_model_replace_those_of_its_task(
    tmp_path: Path, write_model: Callable[..., ModelFiles], data: Path, task: str | None
) -> None:
    files = write_model(tmp_path, task=task)
    assert bool(labelled_texts(files)) is bool(task)
    add(files, "test.jsonl", {"text": "a", "label": "neutral"})
    assert [found.texts for found in labelled_texts(files)] == [["a"]]


@pytest.mark.parametrize(
    ("problem_type", "line", "problem"),
    [
        ("regression", "{", "is not JSON: Expecting"),
        ("regression", "[1]", "is not an object"),
        ("regression", '{"score": 1}', "text: is missing"),
        ("regression", '{"text": " ", "score": 1}', "text: is not a text with"),
        ("regression", '{"text": "a", "text_pair": "b", "score": 1}', "text_pair: this model has input: text"),
        ("regression", '{"text": "a", "label": "yes"}', "score: is missing; regression needs it"),
        ("regression", '{"text": "a", "score": true}', "score: is True, not a number"),
        ("regression", '{"text": "a", "score": NaN}', "score: is nan, not a number"),
        ("single_label_classification", '{"text": "a", "label": "maybe"}', "label: 'maybe' is not one of this model's"),
        ("single_label_classification", '{"text": "a", "label": 1}', "label: 1 is not one of this model's labels: no"),
        ("multi_label_classification", '{"text": "a", "labels": "no"}', "labels: is 'no', not a list of labels"),
        ("multi_label_classification", '{"text": "a", "labels": ["x"]}', "labels: 'x' is not one of this model's"),
    ],
)
def test_a_wrong_line_is_named_with_its_file_number_and_key(
    write: Callable[..., ModelFiles], problem_type: str, line: str, problem: str
) -> None:
    files = write(problem_type)
    right = json.dumps({"text": "a", **GOLDEN[problem_type]})
    (files.folder / "test.jsonl").write_text(f"{right}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ModelingError) as error:
        labelled_texts(files)
    assert str(error.value).startswith(f"{files.folder / 'test.jsonl'}:3: {problem}")


@pytest.mark.parametrize("kind", ["text", "pair"])
def test_a_model_without_texts_is_calibrated_and_compared_on_general_ones_and_says_so(
    write: Callable[..., ModelFiles], data: Path, kind: str
) -> None:
    files = write(input=kind, quantization={"calibration_texts": 20})
    calibration, comparison = calibration_texts(files), comparison_texts(files)
    for found in (calibration, comparison):
        check_input(found.texts, files.spec())
        assert "general English texts" in found.note
    assert len(calibration.texts) == (20 if kind == "text" else 19)
    assert len(comparison.texts) > 20
    assert set(comparison.answers) == {None}
    if kind == "pair":
        assert all(first[1] == second[0] for first, second in zip(comparison.texts, comparison.texts[1:], strict=False))


def test_general_texts_complete_those_of_the_model_only_if_these_are_too_few(
    write: Callable[..., ModelFiles], data: Path
) -> None:
    files = write(fidelity={"texts": 2})
    add(files, "test.jsonl", {"text": "a", "label": "no"})
    found = comparison_texts(files)
    assert (found.texts[-1], found.answers[-1], len(found.texts) > 2) == ("a", "no", True)
    assert "has 1 labelled texts" in found.note
    add(files, "test.jsonl", {"text": "a", "label": "no"}, {"text": "b", "label": "yes"})
    found = comparison_texts(files)
    assert (list(found.texts), list(found.answers), found.note) == (["a", "b"], ["no", "yes"], "")


def test_calibration_texts_of_the_model_are_drawn_from_its_file(write: Callable[..., ModelFiles]) -> None:
    files = write(quantization={"calibration_texts": 5})
    lines = [f"text {number}" for number in range(50)]
    (files.folder / "calibration.txt").write_text("\n".join(lines), encoding="utf-8")
    found = calibration_texts(files)
    assert (len(set(found.texts)), found.note) == (5, "")
    assert set(found.texts) < set(lines)
    assert found.texts != lines[:5]
    assert calibration_texts(files) == found
    files = write(input="pair")
    with pytest.raises(ModelingError, match=r"calibration\.txt: a model with input: pair .* calibration\.jsonl"):
        calibration_texts(files)
    add(files, "calibration.jsonl", {"text": "a", "text_pair": "b"})
    assert calibration_texts(files).texts == [("a", "b")]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"caf\xe9\n", None])
@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_a_texts_file_that_is_missing_empty_or_not_utf8_is_an_error_with_its_name(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelingError, match=rf"^--texts .*{name}: (cannot be read as UTF-8|has no text)"):
        read_texts(tmp_path / name, "--texts ")


def test_texts_that_are_not_what_the_model_reads_are_rejected_with_their_number(
    write: Callable[..., ModelFiles], tmp_path: Path
) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b", "text_pair": "c"}\n', encoding="utf-8")
    texts = read_texts(file)
    assert texts == ["a", ("b", "c")]
    with pytest.raises(ModelingError, match=r"--texts: text 2 does not fit: tiny has input: text"):
        check_input(texts, write().spec())
    with pytest.raises(ModelingError, match=r"--texts: text 1 does not fit: tiny has input: pair"):
        check_input(texts, write(input="pair").spec())


def test_calibration_rows_of_pairs_need_both_texts(write: Callable[..., ModelFiles]) -> None:
    files = write(input="pair")
    (files.folder / "calibration.jsonl").write_text(
        '{"text": "a", "text_pair": "b"}\n{"text": "c"}\n', encoding="utf-8"
    )
    with pytest.raises(ModelingError, match=r"calibration\.jsonl:2: text_pair: is missing$"):
        calibration_texts(files)
