from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeling.spec import ModelSpec
from textserve.spec import SpecError

MODELS = Path(__file__).resolve().parents[2] / "models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "0123456789abcdef" * 4
READY = {"kind": "onnx", "repository": "someone/ready", "sha256": {"ready.onnx": DIGEST}}
DATA = {"repository": "a/b", "revision": "0" * 40, "file": "test.csv"}
ABSENT = object()

VALID: dict[str, Any] = {
    "name": "tiny",
    "description": "A model for tests.",
    "languages": ["en"],
    "license": "MIT",
    "architecture": "BertForSequenceClassification",
    "source": {"kind": "huggingface", "repository": "someone/tiny", "revision": COMMIT},
    "labels": [{"name": "LABEL_0", "label": "negative"}, {"name": "LABEL_1", "label": "positive"}],
    "tokenization": {"pad_id": 0, "max_tokens": 128},
    "golden": [{"text": "Bad.", "label": "negative"}, {"text": "Good.", "label": "positive"}],
}
NEUTRAL = [*VALID["golden"], {"text": "It is Tuesday.", "label": "neutral"}]


def changed(*changes: tuple[tuple[str | int, ...], object]) -> dict[str, Any]:
    """VALID with the value at each path replaced or deleted."""
    content = copy.deepcopy(VALID)
    for path, value in changes:
        section: Any = content
        for part in path[:-1]:
            section = section[part]
        if value is ABSENT:
            del section[path[-1]]
        else:
            section[path[-1]] = value
    return content


def written(folder: Path, content: object) -> Path:
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def error_of(path: Path) -> str:
    with pytest.raises(SpecError) as error:
        ModelSpec.load(path)
    return str(error.value)


def test_every_model_of_the_project_has_a_valid_spec_named_like_its_folder() -> None:
    folders = [file.parent for file in MODELS.glob("*/model.yaml")]
    assert len(folders) >= 5
    assert [ModelSpec.load(folder).name for folder in folders] == [folder.name for folder in folders]


def test_a_spec_is_read_from_its_file_or_from_the_folder_that_has_it(tmp_path: Path) -> None:
    file = written(tmp_path, VALID)
    assert ModelSpec.load(tmp_path) == ModelSpec.load(file)


def test_label_names_are_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    content = changed((("labels",), list(reversed(VALID["labels"]))))
    assert ModelSpec.load(written(tmp_path, content)).label_names == ["positive", "negative"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"name: tiny\nlabels: [unclosed\n", "is not YAML in UTF-8: .*line 3"),
        (b"name: \xff\n", "is not YAML in UTF-8: "),
        *((content, "is empty or not a mapping") for content in (b"", b"- a list\n", b"words\n", b"# a comment\n")),
    ],
)
def test_a_file_without_a_mapping_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "model.yaml"
    if content is not None:
        file.write_bytes(content)
    assert re.match(f"{re.escape(str(file))}: {problem}", error_of(tmp_path), re.DOTALL)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("license",), ABSENT, "license: is missing"),
        (("tokenization", "pad_id"), ABSENT, "tokenization.pad_id: is missing"),
        (("golden", 1, "text"), ABSENT, "golden[1].text: is missing"),
        (("licence",), "MIT", "licence: is not a known key"),
        (("tokenization", "padding"), 1, "tokenization.padding: is not a known key"),
        (("name",), "Tiny Model", "name: String should match pattern"),
        (("languages",), ["English"], "languages[0]: String should match pattern"),
        (("labels", 1), "", "labels[1].name: String should have at least 1 character"),
        (("labels", 1), 1, "labels[1]: must be a string, or have a name; YAML reads yes, no and numbers as something"),
        (("labels", 1, "tone"), "pink", "labels[1].tone: Input should be 'red', 'gray' or 'green'"),
        (("labels", 1, "threshold"), 0.4, "threshold: only multi_label_classification has one, problem"),
        (("labels",), VALID["labels"][:1], "labels: has 1; single_label_classification has 2 to 1000"),
        (
            ("labels",),
            [str(number) for number in range(1001)],
            "labels: has 1001; single_label_classif",
        ),
        (("labels", 1, "label"), "negative", "labels: the label 'negative' is used more than once"),
        (("labels", 1, "name"), "LABEL_0", "labels: the name 'LABEL_0' is used more than once"),
        (("golden",), VALID["golden"][:1], "golden: List should have at least 2 items"),
        (("golden", 1, "label"), ABSENT, "golden[1]: has no answer; one of single_label_classification has label"),
        (("golden", 1, "labels"), ["positive"], "golden[1]: has label and labels; one of single_label_classification"),
        (("golden", 1, "text_pair"), "Better.", "golden[1]: has a text_pair, and input is text"),
        (("input",), "pair", "golden[0]: has no text_pair, and input is pair"),
        (("input",), "three", "input: Input should be 'text' or 'pair'"),
        (("problem_type",), "ranking", "problem_type: Input should be 'single_label_classification', 'multi_label"),
        (("problem_type",), "regression", "labels: has 2; regression is a single number, whose name is the only label"),
        (("activation",), "tanh", "activation: Input should be 'softmax', 'sigmoid' or 'none'"),
        (
            ("tokenization", "truncation"),
            "only_first",
            "tokenization.truncation: is only_first; only a model",
        ),
        (("task",), "emotion", "task: is emotion; known are sentiment"),
        (("texts",), {"test": DATA | {"revision": "main"}}, "texts.test.revision: String should match pattern"),
        (("texts",), {"test": DATA | {"file": "a.txt"}}, "texts.test.file: String should match pattern"),
        (("texts",), {"test": DATA | {"columns": {"rating": "x"}}}, "texts.test.columns.rating"),
        (("tokenization", "max_tokens"), 0, "tokenization.max_tokens: Input should be greater than or equal to 4"),
        (("golden",), NEUTRAL, "golden[2]: the label 'neutral' is not one of this model's: negative, positive"),
        (("source", "kind"), "disk", "source.kind: Input should be 'huggingface', 'folder', 'mlflow', 'onnx' or"),
        (("source", "revision"), "main", "source.revision: String should match pattern '^[0-9a-f]{40}$'"),
        (("source", "revision"), ABSENT, "source: revision: a Hugging Face model needs the 40 hexadecimal digits"),
        (("source", "kind"), "onnx", "source: sha256: a ready ONNX file needs the digest of the file"),
        (("source",), READY | {"sha256": {"README.md": DIGEST}}, "source: sha256: a ready ONNX file needs the digest"),
        (("source",), READY | {"tokenizer": {"repository": "a/b"}}, "source.tokenizer: revision: a tokenizer from the"),
        (("source", "tokenizer"), {"repository": "./tokens"}, "source: tokenizer: only a ready ONNX file can"),
        (("source", "sha256"), {"x.onnx": "abc"}, "source.sha256.x.onnx: String should match pattern"),
    ],
)
def test_a_wrong_key_is_named_with_the_expected_value(
    tmp_path: Path, path: tuple[str | int, ...], value: object, problem: str
) -> None:
    file = written(tmp_path, changed((path, value)))
    message = error_of(tmp_path)
    assert message.startswith(f"{file}: {problem}")
    assert "\n" not in message


@pytest.mark.parametrize("tokenizer", [None, {"repository": "./tokens"}, {"repository": "a/b", "revision": COMMIT}])
def test_a_ready_onnx_file_is_the_one_whose_digest_is_known(tmp_path: Path, tokenizer: dict[str, str] | None) -> None:
    digests = {"README.md": DIGEST, "ready.onnx": DIGEST}
    content = changed((("source",), READY | {"sha256": digests, "tokenizer": tokenizer}))
    assert ModelSpec.load(written(tmp_path, content)).source.onnx_file == "ready.onnx"


def test_each_problem_has_a_line(tmp_path: Path) -> None:
    file = written(tmp_path, changed((("license",), ABSENT), (("licence",), "MIT"), (("source", "revision"), "main")))
    keys = {line.removeprefix(f"{file}: ").split(": ")[0] for line in error_of(tmp_path).splitlines()}
    assert keys == {"license", "licence", "source.revision"}
