from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.files import ROOT, ModelFiles
from scripts.save import save

# BentoML's own ignore patterns, where a process first asks it for a model.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

WITHIN_THE_LIMITS: dict[str, Any] = {
    "texts": 50,
    "agreement": 1.0,
    "speedup": 3.0,
    "cpu_flags": ["avx2", "avx_vnni"],
    "batches": {"labels_changed": 0, "largest_difference": 0.0},
}


def verified(files: ModelFiles, **measured: Any) -> ModelFiles:
    """``files`` with a verification; nothing of saving reads what is in the graph and the tokenizer."""
    files.model.write_bytes(b"graph")
    files.tokenizer.write_bytes(b"tokens")
    section = WITHIN_THE_LIMITS | {"identity": fidelity.identity(files.spec(), files.digests())} | measured
    files.add_to_report("verification", section)
    return files


@pytest.fixture
def files(tmp_path: Path, write_model: Callable[..., ModelFiles]) -> ModelFiles:
    return verified(write_model(tmp_path))


class Project:
    """A copy of the scripts in a project of their own, with a model store of its own."""

    def __init__(self, root: Path, files: ModelFiles) -> None:
        self.root, self.files, self.store = root, files, root / "store"
        for package in ("scripts", "modeling", "release", "textserve"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"BENTOML_HOME": str(self.store), "BENTOML_DO_NOT_TRACK": "True"}
        command = [sys.executable, "-m", "scripts.save", *arguments]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=60)

    def save(self) -> str:
        done = self.run("tiny")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def latest(self) -> str:
        """The tag that the service would take."""
        code = "import bentoml; print(bentoml.models.get('tiny:latest').tag)"
        environment = os.environ | {"BENTOML_HOME": str(self.store), "BENTOML_DO_NOT_TRACK": "True"}
        return subprocess.check_output([sys.executable, "-c", code], env=environment, text=True, timeout=60).strip()

    def versions(self) -> set[str]:
        return {folder.name for folder in (self.store / "models" / "tiny").iterdir() if folder.is_dir()}

    def stored(self, tag: str) -> Path:
        name, version = tag.split(":")
        return self.store / "models" / name / version / "files"


@pytest.fixture
def project(tmp_path: Path, files: ModelFiles) -> Project:
    return Project(tmp_path, files)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., ModelFiles]) -> tuple[Project, str]:
    """A project whose model was saved once, and its tag."""
    root = tmp_path_factory.mktemp("saved")
    project = Project(root, verified(write_model(root)))
    return project, project.save()


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused must be refused before the model store is even looked at."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model store may not be reached")

    monkeypatch.setattr("bentoml.models.get", refuse)
    monkeypatch.setattr("bentoml.models.create", refuse)


def test_a_verified_model_is_stored_with_all_that_is_known_of_it(saved: tuple[Project, str]) -> None:
    project, tag = saved
    folder = project.stored(tag)
    assert sorted(file.name for file in folder.iterdir()) == [
        "model.onnx",
        "model.yaml",
        "report.json",
        "tokenizer.json",
    ]
    for file in folder.iterdir():
        assert file.read_bytes() == (project.files.folder / file.name).read_bytes()


def test_what_a_model_is_made_of_stands_in_the_metadata_of_the_store(project: Project) -> None:
    source = {"kind": "mlflow", "repository": "models:/tiny@staging", "run_id": "1", "sha256": {"config.json": "a"}}
    measured = {"source": source, "cpu": "A CPU", "cpu_flags": ["avx2", "avx_vnni"], "versions": {"torch": "2"}}
    verified(project.files, **measured)
    project.files.add_to_report("export", {"versions": {"onnx": "1"}})
    project.files.add_to_report("quality", {"test": {"macro_f1": 0.7}, "worst": None})
    tag = project.save()
    file = project.stored(tag).parent / "model.yaml"
    known = yaml.safe_load(file.read_text(encoding="utf-8"))["metadata"]
    assert known["source"] == source
    assert known["sha256"] == project.files.digests()
    assert known["spec"]["tokenization"] == {"pad_id": 1, "max_tokens": 32}
    assert "revision" not in known["spec"]["source"]
    assert {"bentoml", "onnx", "onnxruntime", "python", "tokenizers", "torch"} <= set(known["versions"])
    assert (known["versions"]["torch"], known["versions"]["onnx"]) == ("2", "1")
    assert known["cpu"] == {"name": "A CPU", "flags": ["avx2", "avx_vnni"]}
    assert known["verification"] == {key: value for key, value in WITHIN_THE_LIMITS.items() if key != "cpu_flags"}
    assert known["quality"] == {"test": {"macro_f1": 0.7}}
    assert "training" not in known


def test_saving_twice_gives_the_same_tag_and_one_version(saved: tuple[Project, str]) -> None:
    project, first = saved
    assert project.save() == first
    assert project.versions() == {first.removeprefix("tiny:")}


def test_another_description_is_another_version_of_the_same_verification(project: Project) -> None:
    first = project.save()
    describe(project.files, "Other words.")
    second = project.save()
    assert second != first
    assert project.versions() == {tag.removeprefix("tiny:") for tag in (first, second)}
    assert "Other words." in (project.stored(second) / "model.yaml").read_text(encoding="utf-8")
    assert project.latest() == second


def test_what_was_saved_last_is_served_even_if_it_was_in_the_store_before(project: Project) -> None:
    first = project.save()
    describe(project.files, "Other words.")
    project.save()
    describe(project.files, "A model for tests.")
    assert project.save() == first
    assert project.latest() == first


def describe(files: ModelFiles, description: str) -> None:
    spec = files.folder / "model.yaml"
    content = yaml.safe_load(spec.read_text(encoding="utf-8")) | {"description": description}
    spec.write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.parametrize("graph", [{}, {"attention_mask": None}])
def test_a_model_that_does_not_have_every_input_is_saved_too(
    write_model: Callable[..., ModelFiles], tmp_path: Path, graph: dict[str, None]
) -> None:
    project = Project(tmp_path, verified(write_model(tmp_path, graph=graph)))
    assert (project.stored(project.save()) / "model.onnx").read_bytes() == b"graph"


def test_the_license_and_the_verification_can_be_read_from_the_store(saved: tuple[Project, str]) -> None:
    project, tag = saved
    described = (project.stored(tag).parent / "model.yaml").read_text(encoding="utf-8")
    for fact in ("license: MIT", "languages: en-pl", "agreement: 1.0", project.files.digests()["model.onnx"]):
        assert fact in described


@pytest.mark.parametrize(
    ("name", "reason"), [("tiny", "the model is not verified"), ("other", "models/other/model.yaml does not exist")]
)
def test_a_refusal_is_exit_code_1_with_the_reason_and_leaves_nothing_in_the_store(
    project: Project, name: str, reason: str
) -> None:
    (project.files.folder / "report.json").unlink()
    done = project.run(name)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(project.store.glob("models/*"))


@pytest.mark.parametrize("report", [{}, {"export": {"bytes": 5}}])
def test_an_unverified_model_is_refused_with_the_command_to_run(
    files: ModelFiles, no_store: None, report: dict[str, Any]
) -> None:
    (files.folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ModelingError, match=r"report\.json: the model is not verified; run .*scripts\.verify tiny$"):
        save(files)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_that_changed_after_the_verification_is_refused(files: ModelFiles, no_store: None, name: str) -> None:
    (files.folder / name).write_bytes(b"other")
    with pytest.raises(
        ModelingError, match=r"sha256 changed after the model was verified; run .*scripts\.verify tiny$"
    ):
        save(files)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", [{"name": name, "meaning": name} for name in ("positive", "neutral", "negative")]),
        ("tokenization", {"pad_id": 0, "max_tokens": 32}),
        ("graph", {"token_type_ids": None}),
    ],
)
def test_a_spec_that_reads_the_files_otherwise_than_was_verified_is_refused(
    files: ModelFiles, tmp_path: Path, write_model: Callable[..., ModelFiles], no_store: None, key: str, value: Any
) -> None:
    changed = write_model(tmp_path, **{key: value})
    with pytest.raises(ModelingError, match=f"{key} changed after the model was verified"):
        save(changed)


def test_a_model_outside_the_limits_is_refused_with_each_of_them(files: ModelFiles, no_store: None) -> None:
    verified(files, agreement=0.9, texts=10)
    with pytest.raises(
        ModelingError, match=r"outside the limits of the spec: .*fidelity\.texts.*; agreement is 0\.9000"
    ):
        save(files)


def test_limits_that_were_tightened_after_the_verification_count(
    files: ModelFiles, tmp_path: Path, write_model: Callable[..., ModelFiles], no_store: None
) -> None:
    with pytest.raises(ModelingError, match=r"speed-up is 3\.00, min_speedup is 3\.5"):
        save(write_model(tmp_path, fidelity={"texts": 50, "min_speedup": 3.5}))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_model_without_all_its_files_is_refused(files: ModelFiles, no_store: None, name: str) -> None:
    (files.folder / name).unlink()
    with pytest.raises(ModelingError, match=f"{name} does not exist"):
        save(files)
