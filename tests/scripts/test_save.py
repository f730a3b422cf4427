from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.store import save, version
from textserve.spec import ModelSpec

# Raised by BentoML's ignore patterns.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

WITHIN_THE_LIMITS: dict[str, Any] = {
    "texts": 50,
    "agreement": 1.0,
    "speedup": 3.0,
    "cpu_flags": ["avx2", "avx_vnni"],
    "batches": {"labels_changed": 0, "largest_difference": 0.0},
}


def verified(files: ModelFiles, **measured: Any) -> ModelFiles:
    """``files`` with a verification; saving does not read the content of graph and tokenizer."""
    files.model.write_bytes(b"graph")
    files.tokenizer.write_bytes(b"tokens")
    verify_again(files, **measured)
    return files


def verify_again(files: ModelFiles, **measured: Any) -> None:
    identity = files.spec().identity(files.digests())
    files.add_to_report("verification", WITHIN_THE_LIMITS | {"identity": identity} | measured)


@pytest.fixture
def files(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> ModelFiles:
    return verified(write_model(tmp_path))


class Project:
    """A copy of the project with a verified model and its own model store."""

    def __init__(self, root: Path, write_model: Callable[..., ModelFiles]) -> None:
        self.root, self.files, self.store = root, verified(write_model(root)), root / "store"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"BENTOML_HOME": str(self.store), "BENTOML_DO_NOT_TRACK": "True"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=600)

    def save(self) -> str:
        done = self.run("-m", "scripts.save", "tiny")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def latest(self) -> str:
        """The tag that the service would load."""
        code = "import bentoml; print(bentoml.models.get('tiny:latest').tag)"
        return self.run("-c", code).stdout.strip()

    def versions(self) -> set[str]:
        return {folder.name for folder in (self.store / "models" / "tiny").iterdir() if folder.is_dir()}

    def stored(self, tag: str) -> Path:
        name, version = tag.split(":")
        return self.store / "models" / name / version / "files"


@pytest.fixture
def project(tmp_path: Path, copy_project: Callable[[Path], Path], write_model: Callable[..., ModelFiles]) -> Project:
    return Project(copy_project(tmp_path), write_model)


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails on any access to the model store."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model store may not be reached")

    monkeypatch.setattr("bentoml.models.get", refuse)
    monkeypatch.setattr("bentoml.models.create", refuse)


def test_a_verified_model_is_stored_with_its_report_and_its_provenance(project: Project) -> None:
    source = {"kind": "mlflow", "repository": "models:/tiny@staging", "run_id": "1", "sha256": {"config.json": "a"}}
    verify_again(project.files, source=source, cpu="A CPU", versions={"torch": "2"})
    project.files.add_to_report("export", {"versions": {"onnx": "1"}})
    project.files.add_to_report("quality", {"test": {"macro_f1": 0.7}, "worst": None})
    folder, own = project.stored(project.save()), project.files
    names = ["model.onnx", "report.json", "tokenizer.json"]
    assert {file.name for file in folder.iterdir()} == {*names, "model.yaml"}
    for name in names:
        assert (folder / name).read_bytes() == (own.folder / name).read_bytes()
    assert ModelSpec.load(folder) == own.spec().serving
    assert "gates" not in yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))

    described = yaml.safe_load((folder.parent / "model.yaml").read_text(encoding="utf-8"))
    assert (described["labels"]["license"], described["labels"]["languages"]) == ("MIT", "en-pl")
    known = described["metadata"]
    assert known["source"] == source
    assert known["sha256"] == own.digests()
    assert known["spec"]["tokenization"] | {"pad_id": 1, "max_tokens": 32} == known["spec"]["tokenization"]
    assert "revision" not in known["spec"]["source"]
    assert {"bentoml", "onnx", "onnxruntime", "python", "tokenizers", "torch"} <= set(known["versions"])
    assert (known["versions"]["torch"], known["versions"]["onnx"]) == ("2", "1")
    assert known["cpu"] == {"name": "A CPU", "flags": WITHIN_THE_LIMITS["cpu_flags"]}
    assert known["verification"] == {key: value for key, value in WITHIN_THE_LIMITS.items() if key != "cpu_flags"}
    assert known["quality"] == {"test": {"macro_f1": 0.7}}
    assert "training" not in known


def test_saving_again_keeps_the_version_and_makes_it_the_latest(project: Project) -> None:
    first = project.save()
    project.files.model.write_bytes(b"another graph")
    verify_again(project.files)
    second = project.save()
    assert project.latest() == second != first
    project.files.model.write_bytes(b"graph")
    verify_again(project.files)
    spec = project.files.folder / "model.yaml"
    spec.write_text("# a comment\n" + spec.read_text(encoding="utf-8"), encoding="utf-8")
    assert project.save() == project.latest() == first
    assert project.versions() == {tag.removeprefix("tiny:") for tag in (first, second)}


def test_a_new_reference_replaces_the_stored_one_under_the_same_version(project: Project) -> None:
    tag = project.save()
    reference, stored = project.files.reference_file, project.stored(tag) / "reference.json"
    assert not stored.exists()
    reference.write_text(json.dumps({"sha256": project.files.digests()["model.onnx"]}))
    assert project.save() == tag
    assert stored.read_bytes() == reference.read_bytes()
    reference.write_text(json.dumps({"sha256": "of another graph"}))
    done = project.run("-m", "scripts.save", "tiny")
    assert (done.returncode, "run make reference MODEL=tiny" in done.stderr) == (1, True)


def test_a_later_evaluation_and_description_reach_the_stored_version(project: Project) -> None:
    tag = project.save()
    folder = project.stored(tag)
    assert "quality" not in yaml.safe_load((folder.parent / "model.yaml").read_text(encoding="utf-8"))["metadata"]
    project.files.add_to_report("quality", {"test": {"macro_f1": 0.7}})
    assert project.save() == tag
    described = yaml.safe_load((folder.parent / "model.yaml").read_text(encoding="utf-8"))
    assert described["metadata"]["quality"] == {"test": {"macro_f1": 0.7}}
    assert (folder / "report.json").read_bytes() == project.files.report_file.read_bytes()
    spec = project.files.folder / "model.yaml"
    content = yaml.safe_load(spec.read_text(encoding="utf-8")) | {"description": "Other words.", "license": "ISC"}
    spec.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert project.save() == tag
    assert ModelSpec.load(folder).description == "Other words."
    described = yaml.safe_load((folder.parent / "model.yaml").read_text(encoding="utf-8"))
    assert described["labels"]["license"] == "ISC"
    created = described["creation_time"]
    assert project.save() == tag
    assert yaml.safe_load((folder.parent / "model.yaml").read_text(encoding="utf-8"))["creation_time"] == created


LABELS = ("positive", "neutral", "negative")
CHANGES_AN_ANSWER: dict[str, dict[str, Any]] = {
    "label order": {"labels": [{"name": name, "label": name} for name in LABELS]},
    "pad_id": {"tokenization": {"pad_id": 0, "max_tokens": 32}},
    "max_tokens": {"tokenization": {"pad_id": 1, "max_tokens": 16}},
    "graph": {"graph": {"logits": "output"}},
    "padding side": {"tokenization": {"pad_id": 1, "max_tokens": 32, "padding_side": "left"}},
    "activation": {"activation": "sigmoid"},
    "golden texts": {"golden": [{"text": f"another {name} text", "label": name} for name in LABELS]},
}
CHANGES_NO_ANSWER: dict[str, dict[str, Any]] = {
    "description": {"description": "Other words."},
    "tone": {"task": None, "labels": [{"name": name, "label": name, "tone": "red"} for name in LABELS[::-1]]},
    "license": {"license": "Apache-2.0"},
    "gates": {"gates": {"min_macro_f1": 0.1}},
    "fidelity": {"fidelity": {"texts": 1}},
}


def version_of(files: ModelFiles) -> str:
    return version(files.spec(), files.digests())


@pytest.mark.parametrize("change", [*CHANGES_AN_ANSWER, *CHANGES_NO_ANSWER])
def test_only_keys_of_the_spec_that_change_an_answer_change_the_version(
    files: ModelFiles, tmp_path: Path, write_model: Callable[..., ModelFiles], change: str
) -> None:
    before = version_of(files)
    after = version_of(write_model(tmp_path, **(CHANGES_AN_ANSWER | CHANGES_NO_ANSWER)[change]))
    assert (after != before) == (change in CHANGES_AN_ANSWER)


@pytest.mark.parametrize(
    ("name", "reason"), [("tiny", "the model is not verified"), ("other", "models/other/model.yaml does not exist")]
)
def test_an_error_is_exit_code_1_with_the_reason_and_stores_nothing(project: Project, name: str, reason: str) -> None:
    (project.files.folder / "report.json").unlink()
    done = project.run("-m", "scripts.save", name)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(project.store.glob("models/*"))


@pytest.mark.parametrize("report", [{}, {"export": {"bytes": 5}}])
def test_an_unverified_model_is_rejected_with_the_command_to_run(
    files: ModelFiles, no_store: None, report: dict[str, Any]
) -> None:
    (files.folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ModelingError, match=r"report\.json: the model is not verified; run .*scripts\.verify tiny$"):
        save(files)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_changed_after_the_verification_is_rejected(files: ModelFiles, no_store: None, name: str) -> None:
    before = version_of(files)
    (files.folder / name).write_bytes(b"other")
    assert version_of(files) != before
    with pytest.raises(ModelingError, match=r"sha256 changed since scripts\.verify; run .*scripts\.verify tiny$"):
        save(files)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        *(
            (sections, f"{next(iter(sections))} changed since scripts.verify")
            for sections in CHANGES_AN_ANSWER.values()
        ),
        ({"fidelity": {"texts": 50, "min_speedup": 3.5}}, "speed-up is 3.00, min_speedup is 3.5"),
        (
            {"fidelity": {"texts": 51, "min_speedup": 3.5}},
            "outside the limits of the spec: .*fidelity.texts.*; speed-up",
        ),
    ],
)
def test_a_model_whose_spec_changed_after_the_verification_is_rejected(
    files: ModelFiles,
    tmp_path: Path,
    write_model: Callable[..., ModelFiles],
    no_store: None,
    sections: dict[str, Any],
    reason: str,
) -> None:
    with pytest.raises(ModelingError, match=reason):
        save(write_model(tmp_path, **sections))
