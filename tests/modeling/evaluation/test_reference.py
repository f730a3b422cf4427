from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers

from modeling.evaluation.reference import predictions, write_reference
from modeling.files import ModelFiles
from tests import tiny_onnx
from tests.specs import spec
from textserve.classifier import Classifier
from textserve.drift import Reference, Window
from textserve.spec import ModelSpec

WEIGHTS = {"offer": [0.0, 2.0], "meeting": [2.0, 0.0], "today": [0.1, 0.1]}
ENGLISH = ["meeting today", "offer", "meeting", "offer today offer"] * 30
OTHER = ["offer offer offer offer", "offer offer"] * 60


SERVED = spec(["meeting", "offer"], "meeting", "offer", graph=tiny_onnx.GRAPH)


def files(tmp_path: Path, served: ModelSpec = SERVED) -> ModelFiles:
    tiny_onnx.write(tmp_path / "model", served, [0.0] * len(served.labels), WEIGHTS)
    return ModelFiles(tmp_path / "model", tmp_path / "build")


def test_the_reference_has_the_histograms_of_each_group_and_no_text(tmp_path: Path) -> None:
    model = files(tmp_path)
    assert write_reference(model, {"en": ENGLISH, "few": ["offer"] * 99}) == {"en": 120}
    content = model.reference_file.read_text(encoding="utf-8")
    assert "offer" not in content
    reference = Reference.load(model.folder)
    assert reference is not None
    assert list(reference.groups) == ["en"]
    counts = reference.groups["en"]
    assert counts["label"] == [60, 60]
    assert {name: sum(bins) for name, bins in counts.items()} == dict.fromkeys(counts, 120)
    assert reference.unknown_id == 1
    assert counts["unknown"] == [120, 0]


def test_the_reference_stays_until_another_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = files(tmp_path)
    write_reference(model, {"en": ENGLISH})
    before = model.reference_file.read_bytes()

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling.evaluation.reference.Classifier", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_reference(model, {"en": ENGLISH, "offers": OTHER})
    assert model.reference_file.read_bytes() == before
    assert write_reference(model, {"few": ["offer"]}) == {}
    assert not model.reference_file.exists()


def test_served_texts_are_measured_as_the_reference_was(tmp_path: Path) -> None:
    model = files(tmp_path)
    write_reference(model, {"en": ENGLISH, "offers": OTHER})
    reference = Reference.load(model.folder)
    assert reference is not None
    classifier = Classifier(model.folder)
    window = Window(reference, 240)
    window.add(predictions(classifier, ENGLISH + OTHER))
    assert set(window.distances) == {"label", "score", "tokens", "unknown", "rare", "capitals"}
    # Zero but for the smoothing.
    assert max(distance.psi for distance in window.distances.values()) < 0.01
    window.add(predictions(classifier, ["nothing that it knows"] * 240))
    assert {name for name, distance in window.distances.items() if distance.drifted} >= {"unknown", "rare", "score"}


def test_capitals_are_noticed_though_the_tokenizer_lowers_letters(tmp_path: Path) -> None:
    model = files(tmp_path)
    tokenizer = Tokenizer.from_file(str(model.tokenizer))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(model.tokenizer))
    write_reference(model, {"en": ENGLISH})
    reference = Reference.load(model.folder)
    assert reference is not None
    window = Window(reference, 240)
    window.add(predictions(Classifier(model.folder), [text.upper() for text in ENGLISH * 2]))
    assert {name for name, distance in window.distances.items() if distance.drifted} == {"capitals"}


def test_of_a_number_the_label_is_not_measured(tmp_path: Path) -> None:
    served = spec(["stars"], 1.0, 2.0, problem_type="regression", graph=tiny_onnx.GRAPH)
    tiny_onnx.write(tmp_path / "model", served, [0.0], {"offer": [2.0], "meeting": [-1.0], "today": [0.5]})
    model = ModelFiles(tmp_path / "model", tmp_path / "build")
    write_reference(model, {"en": ENGLISH})
    statistics = json.loads(model.reference_file.read_text())["groups"]["en"]
    assert list(statistics) == ["score", "tokens", "unknown", "rare", "capitals"]


def test_without_texts_the_file_of_another_reference_is_removed(tmp_path: Path) -> None:
    model = files(tmp_path)
    model.reference_file.write_text("{}")
    assert write_reference(model, {"en": ENGLISH[:10]}) == {}
    assert not model.reference_file.exists()


@pytest.mark.parametrize("name", ["sentiment-pl-en"])
def test_the_committed_reference_is_of_the_committed_model(name: str) -> None:
    model = ModelFiles.of(name)
    assert model.reference()["sha256"] == model.digests()["model.onnx"]
    reference = Reference.load(model.folder)
    assert reference is not None
    assert {group[:2] for group in reference.groups} == set(model.spec().languages)
