"""From the source to an answer over HTTP, for every spec in ``models/`` and for one that a user would make.

The hub, the client, the scripts, the store and the service are real; the networks are tiny and random.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from modeling.files import ROOT, ModelFiles, sha256
from modeling.spec import ModelSpec
from scripts import export, verify
from tests.scripts import tiny_models
from tests.scripts.hub import Hub, running_hub
from tests.server import save_model, serve

pytestmark = pytest.mark.export

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = "huggingface"
# Which models need --allow-pickle is tested, too.
OPTIONS = {
    "twitter-sentiment-pl-base": [],
    "twitter-roberta-base-sentiment-latest": ["--allow-pickle"],
    "roberta-sequence-classification-9": [],
    "distilbert-base-uncased-finetuned-sst-2-english": [],
}
# Random models cannot stay within the limits for real ones.
LIMITS = {"texts": 100, "min_agreement": 0.9, "max_f1_loss": 1.0, "min_speedup": 0.0}
NEW = "my-model"


class Project:
    """A copy of the project, a hub with the sources of its specs, and a model store."""

    def __init__(self, root: Path, hub: Hub, scratch: Path) -> None:
        self.root, self.hub, self.scratch = root, hub, scratch
        self.home = scratch / "bentoml"

    def prepare(self, spec: ModelSpec, make: Callable[[ModelSpec, Path], None]) -> ModelFiles:
        """Give the hub a tiny model that fits ``spec``, and the project the spec with limits for tiny models."""
        source, made = spec.source, self.scratch / "made"
        made.mkdir()
        make(spec, made)
        self.hub.add(source.repository, made, source.revision or COMMIT)
        content = yaml.safe_load((ROOT / "models" / spec.name / "model.yaml").read_text(encoding="utf-8"))
        if source.kind == "onnx":
            content["source"]["sha256"] = {source.onnx_file: sha256(made / source.onnx_file)}
        if source.tokenizer and source.tokenizer.revision:
            tokenizer = self.scratch / "tokenizer"
            tokenizer.mkdir()
            tiny_models.roberta_base(spec, tokenizer)
            self.hub.add(source.tokenizer.repository, tokenizer, source.tokenizer.revision)
        return self.describe(content)

    def describe(self, content: dict[str, Any]) -> ModelFiles:
        """Write a spec with limits for tiny models."""
        folder = self.root / "models" / content["name"]
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(content | {"fidelity": LIMITS}, allow_unicode=True)
        (folder / "model.yaml").write_text(text, encoding="utf-8")
        return ModelFiles.of(content["name"], self.root)

    def download(self, name: str, *options: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.scratch / HUB), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-m", "scripts.download", name, *options]
        done = subprocess.run(command, cwd=self.root, env=inherited | own, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr

    def export_and_verify(self, files: ModelFiles) -> None:
        texts = self.scratch / "texts.txt"
        texts.write_text("\n".join(tiny_models.texts_like(files.spec())), encoding="utf-8")
        assert export.main([files.folder.name, "--texts", str(texts)]) == 0
        assert verify.main([files.folder.name, "--texts", str(texts)]) == 0

    def stored(self, tag: str) -> dict[str, Any]:
        """The metadata of a stored model."""
        name, version = tag.split(":")
        file = self.home / "models" / name / version / "model.yaml"
        metadata: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["metadata"]
        return metadata

    def answers(self, name: str, spec: ModelSpec) -> list[dict[str, Any]]:
        """Answers of the served model to its golden texts and to a text longer than its maximum."""
        texts = [golden.text for golden in spec.golden] + [f"{spec.golden[0].text} " * 300]
        with serve(self.home, TEXTSERVE_MODEL=name) as server:
            answer = httpx.post(f"{server.url}/classify", json={"texts": texts}, timeout=60)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["model"].startswith(f"{name}:")
        results: list[dict[str, Any]] = body["results"]
        return results


@pytest.fixture
def project(
    own_root: Path, copy_project: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    with running_hub() as hub:
        yield Project(copy_project(own_root), hub, tmp_path_factory.mktemp("scratch"))


def check_answers(results: list[dict[str, Any]], spec: ModelSpec) -> None:
    *golden, long = results
    assert [result["label"] for result in golden] == [text.label for text in spec.golden]
    for result in results:
        assert set(result) == {"label", "score", "scores", "tokens", "truncated"}
        assert set(result["scores"]) == set(spec.label_names) <= {"negative", "neutral", "positive"}
        assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert (long["tokens"], long["truncated"]) == (spec.tokenization.max_tokens, True)


@pytest.mark.parametrize("name", tiny_models.MAKERS)
def test_a_model_goes_from_its_source_to_an_answer(project: Project, name: str) -> None:
    spec = ModelSpec.load(ROOT / "models" / name)
    files = project.prepare(spec, tiny_models.MAKERS[name])
    project.download(name, *OPTIONS[name])
    project.export_and_verify(files)
    tag = save_model(project.home, name, project.root)
    check_answers(project.answers(name, spec), spec)
    known = project.stored(tag)
    assert known["source"] == files.report()["source"]
    assert known["source"]["revision"] == (spec.source.revision or COMMIT)
    assert known["spec"]["labels"] == [label.model_dump(exclude_none=True) for label in spec.labels]
    assert {"bentoml", "onnx", "onnxruntime", "python", "tokenizers", "torch", "transformers"} <= set(known["versions"])
    assert known["cpu"]["flags"] == files.report()["verification"]["cpu_flags"]
    assert known["verification"]["agreement"] >= 0.9
    assert len(files.report()["export"]["quantization"]["linears"]) == 12


def test_there_is_a_tiny_model_for_every_spec_that_is_not_trained_here() -> None:
    specs = [ModelSpec.load(file) for file in (ROOT / "models").glob("*/model.yaml")]
    assert {spec.name for spec in specs if spec.source.kind != "training"} == set(tiny_models.MAKERS) == set(OPTIONS)


def test_a_copied_folder_with_a_changed_spec_is_served_as_another_model(project: Project) -> None:
    folder = project.root / "models" / NEW
    nearest = ROOT / "models" / "distilbert-base-uncased-finetuned-sst-2-english"
    shutil.copytree(nearest, folder, ignore=lambda _, names: [name for name in names if name != "model.yaml"])
    content = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    content["name"] = NEW
    content["source"] = {"kind": "huggingface", "repository": "someone/my-model", "revision": COMMIT}
    meanings = ("positive", "negative", "neutral")
    content["labels"] = [{"name": f"LABEL_{index}", "label": meaning} for index, meaning in enumerate(meanings)]
    content["golden"].append({"text": "The meeting is on Thursday.", "label": "neutral"})
    files = project.describe(content)
    made = project.scratch / "made"
    made.mkdir()
    tiny_models.distilbert(files.spec(), made)
    project.hub.add("someone/my-model", made, COMMIT)
    project.download(NEW)
    project.export_and_verify(files)
    save_model(project.home, NEW, project.root)
    save_model(project.home)  # the default model, which TEXTSERVE_MODEL does not select
    check_answers(project.answers(NEW, files.spec()), files.spec())


def test_make_model_runs_the_four_scripts_in_order() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "model", f"MODEL={NEW}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    verbs = [word for word in done.stdout.split() if word.startswith("scripts.")]
    assert verbs == ["scripts.download", "scripts.export", "scripts.verify", "scripts.save"]
    assert done.stdout.count(f" {NEW}") == 4
