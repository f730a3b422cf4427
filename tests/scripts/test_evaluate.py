"""A whole evaluation, of the default model on the test's own data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeling.evaluation import gates, speed
from modeling.evaluation.performance import InUse
from modeling.evaluation.report import find_in_use
from modeling.files import ROOT, ModelFiles
from modeling.registry import served
from modeling.registry.versions import URI_VARIABLE, Registry
from scripts import evaluate

pytestmark = pytest.mark.export

DEFAULT = ROOT / "models" / "sentiment-pl-en"
SUITE = {
    "texts": ["The room was clean and quiet."],
    "tests": [
        {"name": "praise", "kind": "minimum functionality", "templates": ["Wonderful!"], "expected": ["positive"]},
        {"name": "wrong", "kind": "minimum functionality", "templates": ["Awful!"], "expected": ["positive"]},
        {"name": "capitals", "kind": "invariance", "change": "upper case"},
        {"name": "complaint", "kind": "direction", "towards": "negative", "added": ["I hate it."]},
    ],
}


@pytest.fixture
def files(own_root: Path, write_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> ModelFiles:
    """The default model in its own project, with a few rated texts and behavioural tests."""
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    monkeypatch.setattr(speed, "SPEED_TEXTS", 10)
    plain = [(-3, "Awful"), (3, "Wonderful")] * 50
    rated = [f"{index}\t{rating}\t{text} {index}." for index, (rating, text) in enumerate(plain)]
    write_data(own_root / "build" / "data", {"tweets": "\n".join(rated).encode()})
    return model(own_root, "sentiment-pl-en")


def model(root: Path, name: str) -> ModelFiles:
    folder = root / "models" / name
    folder.mkdir(parents=True)
    for file in ("model.onnx", "tokenizer.json"):
        (folder / file).symlink_to(DEFAULT / file)
    spec = yaml.safe_load((DEFAULT / "model.yaml").read_text(encoding="utf-8"))
    (folder / "model.yaml").write_text(yaml.safe_dump(spec | {"name": name}), encoding="utf-8")
    # One label is wrong, so that no model is right on every sentence.
    wrong = json.dumps({"text": "Nie polecam nikomu.", "label": "positive"})
    sentences = (DEFAULT / "polish-dev.jsonl").read_text(encoding="utf-8")
    (folder / "polish-dev.jsonl").write_text(f"{sentences.rstrip()}\n{wrong}\n", encoding="utf-8")
    (folder / "behaviour.yaml").write_text(yaml.safe_dump({"en": SUITE}), encoding="utf-8")
    (folder / "README.md").write_text("<!-- quality --><!-- /quality -->\n<!-- behaviour --><!-- /behaviour -->")
    return ModelFiles.of(name, root)


def test_everything_is_measured_printed_and_written(files: ModelFiles, capsys: pytest.CaptureFixture[str]) -> None:
    model(files.folder.parents[1], "other")
    identity = files.spec().identity(files.digests())
    verification = {"texts": 2000, "agreement": 0.5, "speedup": 9, "batches": {"largest_difference": 0.0}}
    files.add_to_report("verification", verification | {"identity": identity})
    assert evaluate.main([files.folder.name, "--against", "other"]) == 2
    printed = capsys.readouterr().out
    report = files.report()
    assert set(report) == {"verification", "quality", "behaviour", "performance", "evaluation"}
    languages = report["quality"]["languages"]
    assert (languages["en"]["accuracy"], set(languages["en"]["domains"])) == (1.0, {"tweets"})
    assert languages["pl"]["texts"] == 67
    assert languages["pl"]["macro_f1_interval"][0] < languages["pl"]["macro_f1"] < 1
    outcomes = {test["test"]: test["failures"] for test in report["behaviour"]["tests"]}
    assert outcomes == {"praise": 0, "wrong": 1, "capitals": 0, "complaint": 0}
    assert report["behaviour"]["not_tested"] == ["pl"]
    against = report["performance"]["against"]
    assert (against["name"], against["version"]) == ("models/other", None)
    assert against["relative_speed"] > 0
    assert against["languages"]["pl"]["f1_loss"] == 0.0
    assert report["performance"]["bytes"]["model.onnx"] == (DEFAULT / "model.onnx").stat().st_size
    assert report["evaluation"]["identity"] == identity
    assert report["evaluation"]["registered"] is None
    for gate in gates.check(report, files.spec()):
        assert f"{'ok  ' if gate.holds else 'FAIL'}  {gate.name}: {gate.verdict}\n" in printed
    assert "FAIL  minimum functionality, en, failures: 0.5, must be at most" in printed
    assert "agreement is 0.5000, min_agreement is 0.99" in printed
    card = (files.folder / "README.md").read_text(encoding="utf-8")
    assert "| **Polish** | 67 | " in card
    assert "| wrong | minimum functionality | 1 of 1 (100%) |" in card
    assert {file.name for file in (files.folder / "images").iterdir()} == {"confusion.png", "reliability.png"}
    page = (files.build / "report.html").read_text(encoding="utf-8")
    assert "models/other" in page
    assert f"{printed.count('FAIL  ')} of 16 gates fail" in page


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none-such"], "models/none-such/model.yaml does not exist"),
        (["sentiment-pl-en", "--against", "none-such"], "models/none-such/model.yaml does not exist"),
        (["other"], "model.onnx does not exist; python -m scripts.export other writes it"),
    ],
)
def test_a_missing_model_or_file_is_an_error_and_nothing_is_written(
    files: ModelFiles, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    other = model(files.folder.parents[1], "other")
    other.model.unlink()
    assert evaluate.main(arguments) == 1
    printed = capsys.readouterr()
    assert reason in printed.err
    assert printed.out == ""
    assert files.report() == other.report() == {}


def test_without_a_registry_no_model_is_in_use_and_no_registry_is_created(files: ModelFiles) -> None:
    assert find_in_use(files, None) is None
    assert not (files.build.parent / "mlflow.db").exists()


def test_the_champion_of_the_registry_is_the_model_in_use(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[Any] = []
    found = InUse(files.folder, "tiny, version 3", "3")

    def champion_files(registry: Any, name: str, build: Path) -> InUse:
        requested.append((registry, name, build))
        return found

    monkeypatch.setattr(served, "champion_files", champion_files)
    monkeypatch.setattr(Registry, "connect", lambda root: root)
    (files.build.parent / "mlflow.db").touch()
    assert find_in_use(files, None) is found
    files.add_to_report("training", {"mlflow": {"run_id": "r", "model": "another", "version": "4"}})
    assert find_in_use(files, None) is found
    assert requested == [(files.folder.parents[1], name, files.build) for name in ("sentiment-pl-en", "another")]
    assert find_in_use(files, "none") is None


TRAINED = {"training": {"mlflow": {"run_id": "r", "model": "m", "version": "4"}}}
DOWNLOADED = {"source": {"kind": "mlflow", "name": "m", "version": "5"}}
VERIFIED = {"verification": {"source": {"kind": "mlflow", "name": "m", "version": "6"}}}


@pytest.mark.parametrize(
    ("report", "version"),
    [
        ({}, None),
        ({"training": {"runs": []}}, None),
        (TRAINED, "4"),
        (DOWNLOADED, "5"),
        (TRAINED | DOWNLOADED | VERIFIED, "6"),
        # The verified checkpoint comes from training, whatever was downloaded since.
        (TRAINED | DOWNLOADED | {"verification": {"source": {"kind": "training"}}}, "4"),
    ],
)
def test_the_registered_version_is_that_of_the_checkpoint_that_was_verified(
    files: ModelFiles, report: dict[str, Any], version: str | None
) -> None:
    (files.folder / "report.json").write_text(json.dumps(report))
    assert served.origin(files) == (version and {"name": "m", "version": version})


def test_without_labelled_texts_everything_else_is_measured(
    files: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load((files.folder / "model.yaml").read_text(encoding="utf-8")) | {"languages": ["fr"]}
    (files.folder / "model.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert evaluate.main([files.folder.name]) == 2
    printed = capsys.readouterr().out
    assert "FAIL  macro-F1, fr: not measured, must be at least" in printed
    assert "models/sentiment-pl-en/test-fr.jsonl" in printed
    assert "No labelled texts" in (files.build / "report.html").read_text(encoding="utf-8")
