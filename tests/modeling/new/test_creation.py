from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.new.creation import create
from modeling.spec import ModelSpec
from tests.tiny_checkpoints import MAX_TOKENS

pytestmark = pytest.mark.export


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to change."""
    return Path(shutil.copytree(make_checkpoint("bert"), tmp_path / "checkpoint"))


def configure(checkpoint: Path, **content: Any) -> None:
    file = checkpoint / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | content), encoding="utf-8")


def created(checkpoint: Path, root: Path) -> tuple[ModelSpec, str]:
    """The spec of a new model, and its text."""
    create("mine", str(checkpoint), root=root)
    files = ModelFiles.of("mine", root)
    return files.spec(), (files.folder / "model.yaml").read_text(encoding="utf-8")


def test_labels_of_sentiment_are_served_by_common_names_and_have_colours(checkpoint: Path, tmp_path: Path) -> None:
    configure(checkpoint, id2label={"0": "NEG", "1": "Neutral", "2": "pos"})
    spec, text = created(checkpoint, tmp_path)
    assert spec.task == "sentiment"
    assert [(label.name, label.label, label.tone) for label in spec.labels] == [
        ("NEG", "negative", "red"),
        ("Neutral", "neutral", "gray"),
        ("pos", "positive", "green"),
    ]
    assert {str(golden.label) for golden in spec.golden} <= {"negative", "neutral", "positive"}
    assert spec.fidelity.texts == 2000
    assert "proposed by the model itself" in text


@pytest.mark.parametrize("labels", [["neutral", "other", "negative"], ["negative", "NEG", "positive"]])
def test_other_labels_are_no_sentiment(checkpoint: Path, tmp_path: Path, labels: list[str]) -> None:
    configure(checkpoint, id2label=dict(enumerate(labels)))
    spec, _ = created(checkpoint, tmp_path)
    assert spec.task is None
    assert spec.label_names == labels


def test_generic_labels_stay_and_a_comment_says_how_to_name_them(checkpoint: Path, tmp_path: Path) -> None:
    configure(checkpoint, id2label={str(index): f"LABEL_{index}" for index in range(3)})
    spec, text = created(checkpoint, tmp_path)
    assert spec.label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert "{name: LABEL_0, label: …}" in text


def test_a_card_says_the_languages_the_licence_the_pairs_and_examples(checkpoint: Path, tmp_path: Path) -> None:
    configure(checkpoint, id2label={"0": "same", "1": "other", "2": "unclear"})
    widget = "widget: [{text: bal, text_pair: bel}, {text: no pair}]"
    front = f"---\nlanguage: [pl, en]\nlicense: mit\npipeline_tag: text-ranking\n{widget}\n---\n"
    (checkpoint / "README.md").write_text(front, encoding="utf-8")
    spec, text = created(checkpoint, tmp_path)
    assert (spec.languages, spec.license, spec.input) == (["pl", "en"], "MIT", "pair")
    assert spec.tokenization.max_tokens == MAX_TOKENS
    assert all(golden.text_pair for golden in spec.golden)
    assert "names none" not in text


@pytest.mark.parametrize("name", ["", "My-Model", "../mine", "a b", "a" * 64])
def test_a_name_that_cannot_be_a_folder_s_and_a_model_s_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelingError, match=r"^MODEL=.*: a name has 1 to 63 lower-case letters"):
        create(name, str(checkpoint), root=tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"id2label": {str(index): f"label {index}" for index in range(1001)}}, "has 1001"),
        ({"id2label": {"0": "", "1": "b", "2": "c"}}, "cannot be described"),
    ],
)
def test_what_no_spec_can_say_is_an_error_and_leaves_no_model(
    checkpoint: Path, tmp_path: Path, content: dict[str, Any], match: str
) -> None:
    configure(checkpoint, **content)
    if len(content["id2label"]) > 3:  # its weights must fit
        import transformers

        config = transformers.AutoConfig.from_pretrained(checkpoint)
        transformers.BertForSequenceClassification(config).save_pretrained(checkpoint)
    with pytest.raises(ModelingError, match=match):
        create("mine", str(checkpoint), root=tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_that_is_no_classifier_is_named_by_its_source(checkpoint: Path, tmp_path: Path) -> None:
    configure(checkpoint, architectures=["BertForTokenClassification"])
    with pytest.raises(
        ModelingError, match=f"^{checkpoint}/config.json: is a BertForTokenClassification, which labels"
    ):
        create("mine", str(checkpoint), root=tmp_path)
