from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
from safetensors.numpy import save as to_safetensors

from modeling import sources
from modeling.errors import ModelingError
from modeling.export.checkpoint import check_source
from modeling.files import ModelFiles, sha256
from modeling.registry.versions import STAGING, URI_VARIABLE, Registry
from modeling.spec import Source
from scripts import download as script
from tests.scripts.hub import Hub, running_hub
from tests.server import free_port
from tests.tiny_checkpoints import SAVED

pytestmark = pytest.mark.export

ID = "someone/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
TOKENIZER_FILES = ["config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
FILES = sorted([*TOKENIZER_FILES, "model.safetensors"])
CREDENTIAL = "hf_right"
# The client writes what it gets ten million bytes at a time.
CHUNK = 10 * 1024 * 1024


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


class Project:
    """A copy of the project with the model ``tiny``, and a hub with its checkpoint."""

    def __init__(self, root: Path, hub: Hub, write_model: Callable[..., ModelFiles]) -> None:
        self.root, self.hub, self._write = root, hub, write_model
        self.describe()

    @property
    def repository(self) -> dict[str, bytes]:
        """The files on the hub."""
        return self.hub.repositories[ID].files

    def describe(self, **source: Any) -> None:
        """Write the spec, by default with the checkpoint on the hub as its source."""
        source = {"kind": "huggingface", "repository": ID, "revision": COMMIT} | source
        self.files = self._write(self.root, source={key: value for key, value in source.items() if value is not None})

    def _run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MLFLOW_"))}
        cache = str(self.root / "huggingface")
        hf = {"HF_HOME": cache, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_ENDPOINT": self.hub.url}
        return subprocess.run(
            [sys.executable, "-m", "scripts.download", "tiny", *arguments],
            cwd=self.root,
            env={**inherited, **hf, **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )

    def download(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script, which must succeed."""
        done = self._run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done

    def error(self, *arguments: str, **environment: str) -> str:
        """The last line of the error output, after the progress bars, of a run that must fail."""
        done = self._run(*arguments, **environment)
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    @property
    def fetched(self) -> list[str]:
        folder = self.files.checkpoint
        return sorted(file.name for file in folder.iterdir()) if folder.exists() else []

    @property
    def recorded(self) -> dict[str, Any]:
        """The section ``source`` of the report."""
        section: dict[str, Any] = self.files.report()["source"]
        return section


@pytest.fixture
def project(
    tmp_path: Path, copy_project: Callable[[Path], Path], write_model: Callable[..., ModelFiles], checkpoint: Path
) -> Iterator[Project]:
    with running_hub() as hub:
        hub.add(ID, checkpoint, COMMIT)
        yield Project(copy_project(tmp_path / "project"), hub, write_model)


def test_a_checkpoint_is_fetched_from_the_hub_and_recorded(project: Project, checkpoint: Path) -> None:
    unused = ["README.md", "pytorch_model.bin", "tf_model.h5", "modeling.py", "onnx/x.onnx", "onnx/spiece.model"]
    project.repository.update(dict.fromkeys(unused, b""))
    # With this setting the client draws its progress bars even if there is no terminal, unless they are disabled.
    done = project.download("--allow-pickle", TQDM_POSITION="-1")
    assert done.stdout.startswith(f"build/tiny/checkpoint: {len(FILES)} files, ")
    assert done.stdout.endswith(f"MB from {ID}@{COMMIT}\n")
    assert "%" not in done.stderr
    digests = {name: sha256(checkpoint / name) for name in FILES}
    assert {name: sha256(project.files.checkpoint / name) for name in project.fetched} == digests
    recorded = {"kind": "huggingface", "repository": ID, "revision": COMMIT, "sha256": digests}
    assert project.files.report() == {"source": recorded}


def test_the_token_is_sent_to_the_hub_and_to_no_other_host(project: Project) -> None:
    project.hub.repositories[ID].token = CREDENTIAL
    project.download(HF_TOKEN=CREDENTIAL)
    to_cdn = project.hub.cdn_requests()
    assert [request.authorization for request in to_cdn] == [None]
    assert {request.authorization for request in project.hub.requests if request not in to_cdn} == {
        f"Bearer {CREDENTIAL}"
    }


def test_a_cached_checkpoint_is_not_fetched_again_and_is_available_offline(project: Project) -> None:
    for _ in range(2):
        project.download()
        shutil.rmtree(project.files.build)
    assert len(project.hub.cdn_requests()) == 1
    project.download(HF_HUB_OFFLINE="1")
    assert project.fetched == FILES


def test_an_interrupted_download_is_resumed(project: Project) -> None:
    weights = to_safetensors({"weight": np.random.default_rng(0).random((5_000_000,), dtype=np.float32)})
    project.repository["model.safetensors"] = weights
    project.hub.breaks_after["model.safetensors"] = CHUNK + 5_000_000
    assert project.error().startswith("model.safetensors: the download was interrupted")
    assert project.fetched == []
    project.download()
    assert (project.files.checkpoint / "model.safetensors").read_bytes() == weights
    assert [request.range for request in project.hub.cdn_requests()] == [None, f"bytes={CHUNK}-"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_truncated_or_damaged_file_is_rejected_and_fetched_again_by_the_next_download(
    project: Project, name: str
) -> None:
    content = project.repository[name]
    project.hub.instead[name] = content[:-100]
    assert project.error().startswith(f"{name}: is truncated")
    assert project.fetched == []
    project.hub.instead[name] = content[:-1] + bytes([content[-1] ^ 1])
    assert project.error().startswith(f"{name}: is truncated or damaged: the hub's digest is ")
    project.hub.instead.clear()
    project.download()


@pytest.mark.parametrize("source", [[], ["--source", "CHECKPOINT"]])
def test_the_files_must_have_the_digests_in_the_spec(project: Project, checkpoint: Path, source: list[str]) -> None:
    source = [argument.replace("CHECKPOINT", str(checkpoint)) for argument in source]
    digests = {name: sha256(checkpoint / name) for name in ("model.safetensors", "config.json")}
    project.describe(sha256=digests | {"config.json": "0" * 64})
    error = project.error(*source)
    assert "config.json is not the file of the spec" in error
    assert f"is {digests['config.json']}, source.sha256 has {'0' * 64}" in error
    assert project.fetched == []
    project.describe(sha256=digests)
    project.download(*source)


@pytest.mark.parametrize("branch", ["main", "v1.0"])
def test_a_branch_or_tag_is_rejected_with_the_commit_to_pin(project: Project, branch: str) -> None:
    project.hub.repositories[ID].branches = ("main", "v1.0")
    project.describe(revision=branch)
    reason = f"'{branch}' is a branch or a tag, which moves; the commit to pin is {COMMIT}"
    assert project.error().endswith(f"models/tiny/model.yaml: source.revision: {reason}")
    project.describe()
    assert project.error("--source", f"{ID}@{branch}") == f"--source {ID}@{branch}: {reason}"


def test_another_repository_than_that_of_the_spec_can_be_given(project: Project, checkpoint: Path) -> None:
    project.hub.add("someone/else", checkpoint, OTHER_COMMIT)
    project.download("--source", f"someone/else@{OTHER_COMMIT}")
    assert (project.recorded["repository"], project.recorded["revision"]) == ("someone/else", OTHER_COMMIT)


def test_pickles_are_rejected_unless_they_are_allowed(project: Project) -> None:
    project.repository["pytorch_model.bin"] = project.repository.pop("model.safetensors")
    error = project.error()
    assert f"{ID}: has its weights only as pytorch_model.bin, a pickle, which can execute code" in error
    assert "--allow-pickle" in error
    assert project.hub.cdn_requests() == []
    project.download("--allow-pickle")
    assert "pytorch_model.bin" in project.fetched


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda project: project.repository.pop("config.json"), "is not a checkpoint: it has no config.json"),
        (
            lambda project: project.repository.setdefault("adapter_config.json", b"{}"),
            "is an adapter of PEFT, by its adapter_config.json, which only adds to another model. Merge them",
        ),
        (lambda project: project.repository.pop("model.safetensors"), "has no weights: neither model.safetensors nor"),
        (lambda project: project.repository.pop("tokenizer.json"), "has no tokenizer: none of tokenizer.json, vocab"),
        (lambda project: project.describe(sha256={"x.bin": "0" * 64}), "has no x.bin, which is in source.sha256"),
        (lambda project: project.describe(revision=OTHER_COMMIT), f"has no revision {OTHER_COMMIT}"),
        (lambda project: project.hub.repositories.clear(), "not found on HUB; check the id, or set HF_TOKEN if it is"),
        (lambda project: setattr(project.hub.repositories[ID], "token", CREDENTIAL), "not found on HUB; check the id"),
        (lambda project: setattr(project.hub.repositories[ID], "gated", True), f"is gated; request access at HUB/{ID}"),
    ],
)
def test_a_missing_part_or_denied_access_is_rejected_with_the_reason(
    project: Project, change: Callable[[Project], object], reason: str
) -> None:
    change(project)
    assert project.error().startswith(f"{ID}: {reason}".replace("HUB", project.hub.url))
    assert project.fetched == []


@pytest.mark.parametrize(
    ("environment", "reasons"),
    [
        ({}, ["does not answer; check the network, or HF_ENDPOINT, or set HF_HUB_OFFLINE=1", "--source FOLDER"]),
        ({"HF_HUB_OFFLINE": "1"}, [f"{ID}@{COMMIT}: is not in the cache in HF_HOME, and HF_HUB_OFFLINE is set"]),
    ],
)
def test_without_a_hub_or_a_cache_the_error_names_the_alternatives(
    project: Project, environment: dict[str, str], reasons: list[str]
) -> None:
    error = project.error(HF_ENDPOINT=f"http://someone:hidden@127.0.0.1:{free_port()}", **environment)
    assert "hidden" not in error
    assert all(reason in error for reason in reasons)


@pytest.mark.parametrize("content", [b"source: [", "source: ząb".encode("cp1250")])
def test_a_spec_that_is_not_yaml_is_an_error_without_traceback(project: Project, content: bytes) -> None:
    (project.files.folder / "model.yaml").write_bytes(content)
    assert project.error()


def test_only_a_successful_download_replaces_the_earlier_one(project: Project, checkpoint: Path) -> None:
    project.files.checkpoint.mkdir(parents=True)
    (project.files.checkpoint / "earlier.txt").touch()
    project.hub.instead["config.json"] = b"{}"
    project.error()
    assert project.fetched == ["earlier.txt"]
    assert [file.name for file in project.files.build.iterdir()] == ["checkpoint"]
    project.download("--source", str(checkpoint))
    assert project.fetched == FILES


def test_a_folder_in_the_spec_is_relative_to_the_project(project: Project, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, project.root / "mine")
    (project.root / "mine" / "README.md").touch()
    project.describe(kind="folder", repository="mine", revision=None)
    project.download()
    assert project.fetched == FILES
    assert project.recorded["kind"] == "folder"
    project.describe(kind="folder", repository="yours", revision=None)
    assert "yours: is not a folder" in project.error()


def test_a_truncated_or_missing_file_of_a_folder_is_rejected_by_name(
    project: Project, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert project.error("--source", str(folder)).startswith("model.safetensors: is truncated or damaged")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    missing = "model-00002-of-00002.safetensors: is missing; model.safetensors.index.json lists it"
    assert project.error("--source", str(folder)) == missing


@pytest.mark.parametrize("source", ["no-such-folder", "models:/tiny@x/y", "a/b@", "https://example.com/model"])
def test_an_invalid_source_is_rejected_with_the_valid_forms(project: Project, source: str) -> None:
    error = project.error("--source", source)
    assert source in error
    assert "models:/NAME@ALIAS" in error


def test_a_model_that_is_trained_here_is_not_fetched_unless_a_source_is_given(
    project: Project, checkpoint: Path
) -> None:
    # The digest is that of the base checkpoint.
    project.describe(kind="training", revision=None, sha256={"model.safetensors": "0" * 64})
    assert "its checkpoint comes from training: make train MODEL=tiny" in project.error()
    shutil.copytree(checkpoint, project.files.checkpoint)
    assert project.download().stdout == "build/tiny/checkpoint: exists from training; nothing to fetch\n"
    assert project.files.report() == {}
    project.download("--source", str(checkpoint))
    assert project.recorded["kind"] == "folder"


READY = {"ready.onnx": b"graph"}
READY_FILES = sorted([*TOKENIZER_FILES, "ready.onnx"])


def ready(**source: Any) -> dict[str, Any]:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in READY.items()}
    return {"kind": "onnx", "repository": "someone/ready", "revision": None, "sha256": digests} | source


def test_the_tokenizer_of_a_ready_onnx_file_may_be_in_another_repository(project: Project) -> None:
    project.hub.add("someone/ready", READY, OTHER_COMMIT)
    tokenizer = {"repository": ID, "revision": COMMIT}
    project.describe(**ready(tokenizer=tokenizer))
    project.download()
    assert project.fetched == READY_FILES
    assert (project.recorded["revision"], project.recorded["tokenizer"]) == (OTHER_COMMIT, tokenizer)


@pytest.mark.parametrize("option", [True, False])
def test_the_tokenizer_of_a_ready_onnx_file_in_a_folder_is_beside_it(
    project: Project, checkpoint: Path, tmp_path: Path, option: bool
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "ready")
    (folder / "ready.onnx").write_bytes(READY["ready.onnx"])
    project.describe(**(ready() if option else ready(repository=str(folder))))
    project.download(*(["--source", str(folder)] if option else []))
    assert project.fetched == READY_FILES


@pytest.mark.parametrize("option", [True, False])
def test_a_ready_onnx_file_may_be_in_a_subfolder(
    project: Project, checkpoint: Path, tmp_path: Path, option: bool
) -> None:
    graph, name = onnx.helper.make_graph([], "empty", [], []), "onnx/ready.onnx"
    content = onnx.helper.make_model(graph).SerializeToString()
    project.hub.add("someone/ready", project.repository | {name: content}, OTHER_COMMIT)
    folder = shutil.copytree(checkpoint, tmp_path / "ready")
    (folder / "onnx").mkdir()
    (folder / name).write_bytes(content)
    project.describe(**ready(sha256={name: hashlib.sha256(content).hexdigest()}))
    project.download(*(["--source", str(folder)] if option else []))
    assert project.fetched == sorted([*TOKENIZER_FILES, "onnx"])
    assert (project.files.checkpoint / name).read_bytes() == content
    assert set(project.recorded["sha256"]) == {*TOKENIZER_FILES, name}
    assert check_source(project.files, project.files.checkpoint) == project.recorded
    (project.files.checkpoint / name).write_bytes(b"other")
    with pytest.raises(ModelingError, match=r"onnx/ready\.onnx: is not the downloaded file"):
        check_source(project.files, project.files.checkpoint)


@pytest.mark.parametrize(
    ("files", "reason"),
    [({}, "has no file ready.onnx"), ({"ready.onnx": b"other"}, "ready.onnx is not the file of the spec")],
)
def test_a_missing_or_different_ready_onnx_file_is_rejected(
    project: Project, files: dict[str, bytes], reason: str
) -> None:
    project.hub.add("someone/ready", project.repository | files, OTHER_COMMIT)
    project.describe(**ready())
    assert reason in project.error()


@pytest.fixture(scope="module")
def tracked(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The tracking URI of a store with one registered version, and the id of its run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URI_VARIABLE, raising=False)  # MLflow sets it whenever it connects
        registry = Registry.connect(tmp_path_factory.mktemp("mlflow"))
    with registry.run("textserve", "a run") as run_id:
        mlflow.log_artifacts(str(checkpoint), "model/artifacts/checkpoint")
        mlflow.log_text("{}", "model/MLmodel")
        mlflow.log_text("nothing", "other/readme.txt")
        mlflow.log_artifacts(str(SAVED / "peft" / "adapter"), "adapter")
    version = registry.register("textserve", run_id, f"runs:/{run_id}/model", {})
    registry.set_alias("textserve", STAGING, version.number)
    return registry.uri, run_id


@pytest.fixture
def run(tracked: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the run, with MLflow set to its store."""
    monkeypatch.setenv(URI_VARIABLE, tracked[0])
    return tracked[1]


@pytest.mark.parametrize("uri", ["models:/textserve@staging", "models:/textserve/1", "runs:/RUN/model"])
def test_a_checkpoint_in_mlflow_is_fetched_by_alias_version_or_run(
    own_root: Path, write_model: Callable[..., ModelFiles], run: str, checkpoint: Path, uri: str
) -> None:
    uri = uri.replace("RUN", run)
    files = write_model(own_root, source={"kind": "mlflow", "repository": uri})
    assert script.main(["tiny"]) == 0
    assert sorted(file.name for file in files.checkpoint.iterdir()) == FILES
    digests = {name: sha256(checkpoint / name) for name in FILES}
    version = {} if uri.startswith("runs:") else {"name": "textserve", "version": "1"}
    recorded = {"kind": "mlflow", "repository": uri, "run_id": run, **version, "sha256": digests}
    assert files.report() == {"source": recorded}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("models:/textserve@champion", "has no such version; it has models:/textserve/1"),
        ("models:/other/1", "has no such version; it has no model 'other'"),
        ("models:/textserve/latest", "give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/PATH"),
        ("runs:/RUN/other", "expected one folder with a config.json, found none"),
        ("runs:/RUN/adapter", "is an adapter of PEFT, by its adapter_config.json"),
        ("runs:/RUN/nowhere", "has no such artifacts"),
        ("runs:/0123456789abcdef/model", "runs:/0123456789abcdef/model"),
    ],
)
def test_an_unknown_version_or_run_in_mlflow_is_rejected_with_the_reason(
    own_root: Path,
    write_model: Callable[..., ModelFiles],
    run: str,
    capsys: pytest.CaptureFixture[str],
    uri: str,
    reason: str,
) -> None:
    files = write_model(own_root)
    assert script.main(["tiny", "--source", uri.replace("RUN", run)]) == 1
    assert reason in capsys.readouterr().err.splitlines()[-1]  # after MLflow's progress bar
    assert not files.checkpoint.exists()


def test_a_full_disk_is_an_error_with_the_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    source = Source(kind="folder", repository=str(checkpoint), revision=None)
    with pytest.raises(ModelingError, match=r"config\.json: no space left; free some"):
        sources.fetch(source, tmp_path / "build" / "checkpoint")
    assert list((tmp_path / "build").iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), [("other", "known models: tiny"), ("tiny", "languages")])
def test_an_unknown_model_or_an_invalid_spec_is_exit_code_1(
    own_root: Path, write_model: Callable[..., ModelFiles], capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    write_model(own_root, languages=[])
    assert script.main([name]) == 1
    assert reason in capsys.readouterr().err
