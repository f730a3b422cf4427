from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeling.files import ROOT, ModelFiles, sha256
from modeling.spec import ModelSpec
from tests.scripts.hub import Hub, running_hub

pytestmark = pytest.mark.export

ID = "someone/topics"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "my-topics"
CARD = """---
language: [en, de]
license: cc-by-4.0
pipeline_tag: text-classification
widget:
- text: "The striker scored, and the rain stopped."
---
# Topics
"""
FILES = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


class Project:
    """A copy of the project without models, and a hub with a checkpoint and its card."""

    def __init__(self, root: Path, hub: Hub) -> None:
        self.root, self.hub = root, hub

    @property
    def repository(self) -> dict[str, bytes]:
        """The files on the hub."""
        return self.hub.repositories[ID].files

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        hf = {"HF_HOME": str(self.root / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_ENDPOINT": self.hub.url}
        return subprocess.run(
            [sys.executable, "-m", f"scripts.{script}", *arguments],
            cwd=self.root,
            env={**inherited, **hf, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def new(self, *arguments: str, **environment: str) -> tuple[str, ModelSpec]:
        """The output and the spec of a run that must succeed."""
        done = self.run("new", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout, ModelFiles.of(arguments[0], self.root).spec()

    def error(self, *arguments: str, **environment: str) -> str:
        """The last line of the error output of a run that must fail and leave no model."""
        done = self.run("new", *arguments, **environment)
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert not (self.root / "models" / NAME).exists()
        return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def checkpoint(make_shape: Callable[[str], Path]) -> Path:
    return make_shape("topics")


@pytest.fixture
def project(copy_project: Callable[[Path], Path], checkpoint: Path, tmp_path: Path) -> Iterator[Project]:
    with running_hub() as hub:
        hub.add(ID, checkpoint, COMMIT)
        hub.repositories[ID].files["README.md"] = CARD.encode()
        yield Project(copy_project(tmp_path / "project"), hub)


def test_a_model_of_the_hub_is_described_pinned_and_not_downloaded_again(project: Project) -> None:
    printed, spec = project.new(NAME, ID)
    assert (spec.source.kind, spec.source.repository, spec.source.revision) == ("huggingface", ID, COMMIT)
    assert (spec.languages, spec.license, spec.input) == (["en", "de"], "CC-BY-4.0", "text")
    assert spec.label_names == ["sport", "money", "weather"]
    assert spec.architecture == "RobertaForSequenceClassification"
    assert f"make model MODEL={NAME}\n" in printed
    assert f"make serve MODEL={NAME}\n" in printed
    files = ModelFiles.of(NAME, project.root)
    assert sorted(file.name for file in files.checkpoint.iterdir()) == FILES
    assert files.report()["source"]["revision"] == COMMIT
    assert files.report()["source"]["sha256"] == {name: sha256(files.checkpoint / name) for name in FILES}
    project.hub.repositories.clear()
    again = project.run("download", NAME)
    assert (again.returncode, f"has {ID}@{COMMIT} already" in again.stdout) == (0, True), again.stderr


def test_a_model_that_exists_is_not_overwritten(project: Project) -> None:
    folder = project.root / "models" / NAME
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text("mine", encoding="utf-8")
    done = project.run("new", NAME, ID)
    assert (done.returncode, f"models/{NAME}: exists" in done.stderr) == (1, True)
    assert [file.read_text(encoding="utf-8") for file in folder.iterdir()] == ["mine"]
    assert project.hub.requests == []


def test_a_branch_is_pinned_and_a_cached_model_needs_no_hub(project: Project) -> None:
    project.hub.repositories[ID].branches = ("main", "v2")
    assert project.new(NAME, f"{ID}@v2")[1].source.revision == COMMIT
    asked = len(project.hub.requests)
    assert project.new("other", f"{ID}@{COMMIT}", HF_HUB_OFFLINE="1")[1].source.revision == COMMIT
    assert len(project.hub.requests) == asked


def test_a_folder_is_pinned_by_the_digest_of_its_weights(project: Project, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, project.root / "mine")
    _, spec = project.new(NAME, "mine")
    assert (spec.source.kind, spec.source.repository) == ("folder", "mine")
    assert spec.source.sha256 == {"model.safetensors": sha256(checkpoint / "model.safetensors")}
    assert (spec.languages, spec.license) == (["en"], "LicenseRef-unknown")
    text = (project.root / "models" / NAME / "model.yaml").read_text(encoding="utf-8")
    assert text.count("the card names none") == 2


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("someone/unknown", ["someone/unknown", "not found", "HF_TOKEN"]),
        (f"{ID}@gone", [ID, "no revision gone"]),
        ("./nowhere", ["SOURCE=./nowhere", "neither a folder", "OWNER/NAME"]),
        ("", ["SOURCE=", "neither a folder", "OWNER/NAME"]),
    ],
)
def test_a_source_that_is_not_there_is_named(project: Project, source: str, parts: list[str]) -> None:
    error = project.error(NAME, source)
    assert all(part in error for part in parts), error


def test_a_gated_model_asks_for_access(project: Project) -> None:
    project.hub.repositories[ID].gated = True
    error = project.error(NAME, ID)
    assert all(part in error for part in [ID, "is gated", "HF_TOKEN"]), error


def test_a_pickle_needs_trust_and_make_s_variable_is_named(project: Project) -> None:
    project.repository["pytorch_model.bin"] = project.repository.pop("model.safetensors")
    error = project.error(NAME, ID)
    assert all(part in error for part in ["pytorch_model.bin", "ALLOW_PICKLE=1"]), error


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"architectures": ["BertForTokenClassification"]}, ["BertForTokenClassification", "labels each token"]),
        ({"architectures": ["GPT2LMHeadModel"]}, ["GPT2LMHeadModel", "generates text"]),
    ],
)
def test_another_kind_of_network_is_refused_before_its_weights_are_downloaded(
    project: Project, changed: dict[str, list[str]], parts: list[str]
) -> None:
    project.repository["config.json"] = json.dumps(json.loads(project.repository["config.json"]) | changed).encode()
    error = project.error(NAME, ID)
    assert all(part in error for part in parts), error
    assert project.hub.cdn_requests() == []


def test_make_passes_name_source_and_trust() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "new", "MODEL=a", "SOURCE=b/c", "ALLOW_PICKLE=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "scripts.new 'a' 'b/c' --allow-pickle" in done.stdout
