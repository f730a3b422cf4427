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

import numpy as np
import pytest
from safetensors.numpy import save as to_safetensors

from modeling import sources
from modeling.errors import ModelingError
from modeling.files import ModelFiles, sha256
from modeling.spec import Source
from scripts import download as script
from tests.scripts.hub import Hub, running_hub
from tests.server import free_port

pytestmark = pytest.mark.export

ID = "someone/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
FILES = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
RIGHT = "hf_right"
# The client writes what it gets ten million bytes at a time.
CHUNK = 10 * 1024 * 1024


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[Hub]:
    with running_hub() as running:
        running.add(ID, checkpoint, COMMIT)
        yield running


class Project:
    """A copy of the project with one model, run as its users do."""

    def __init__(self, root: Path, home: Path, write_model: Callable[..., ModelFiles]) -> None:
        self.root, self.home, self._write = root, home, write_model
        self.describe()

    def describe(self, **source: Any) -> None:
        """Write the spec; a commit of the hub unless ``source`` says otherwise."""
        source = {"kind": "huggingface", "repository": ID, "revision": COMMIT} | source
        self.files = self._write(self.root, source={key: value for key, value in source.items() if value is not None})

    def download(self, *arguments: str, hub: Hub | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MLFLOW_"))}
        hf = {"HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        hf["HF_ENDPOINT"] = hub.url if hub else f"http://127.0.0.1:{free_port()}"
        return subprocess.run(
            [sys.executable, "-m", "scripts.download", "tiny", *arguments],
            cwd=self.root,
            env={**inherited, **hf, **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )

    def refusal(self, *arguments: str, hub: Hub | None = None, **environment: str) -> str:
        """What it says on the error stream after the progress bars, and that it says nothing of where in the code."""
        done = self.download(*arguments, hub=hub, **environment)
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    @property
    def fetched(self) -> list[str]:
        folder = self.files.checkpoint
        return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def project(tmp_path: Path, copy_project: Callable[[Path], Path], write_model: Callable[..., ModelFiles]) -> Project:
    return Project(copy_project(tmp_path / "project"), tmp_path / "huggingface", write_model)


def test_a_checkpoint_comes_from_the_hub_whole_and_is_recorded(project: Project, hub: Hub, checkpoint: Path) -> None:
    done = project.download(hub=hub, TQDM_POSITION="-1")  # has the client draw its bars where there is no terminal
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"build/tiny/checkpoint: {len(FILES)} files, ")
    assert done.stdout.endswith(f"MB from {ID}@{COMMIT}\n")
    assert "model.safetensors: 100%" in done.stderr
    assert project.fetched == FILES
    digests = {name: sha256(checkpoint / name) for name in FILES}
    assert {name: sha256(project.files.checkpoint / name) for name in FILES} == digests
    recorded = {"kind": "huggingface", "repository": ID, "revision": COMMIT, "sha256": digests}
    assert project.files.report() == {"source": recorded}
    assert [request.path for request in hub.asked_for("README.md")] == []


def test_a_token_goes_to_the_hub_and_to_no_other_host(project: Project, hub: Hub) -> None:
    hub.repositories[ID].token = RIGHT
    assert project.download(hub=hub, HF_TOKEN=RIGHT).returncode == 0
    to_cdn = [request for request in hub.asked_for("model.safetensors") if request.path.startswith("/cdn/")]
    assert [request.authorization for request in to_cdn] == [None]
    assert {request.authorization for request in hub.asked if request not in to_cdn} == {f"Bearer {RIGHT}"}


def test_what_is_in_the_cache_is_not_fetched_again_and_serves_without_a_hub(project: Project, hub: Hub) -> None:
    project.download(hub=hub)
    shutil.rmtree(project.files.build)
    assert project.download(hub=hub).returncode == 0
    assert len([request for request in hub.asked_for("model.safetensors") if request.path.startswith("/cdn/")]) == 1
    shutil.rmtree(project.files.build)
    assert project.download(HF_HUB_OFFLINE="1").returncode == 0
    assert project.fetched == FILES


def test_a_download_that_broke_off_goes_on_where_it_was(project: Project, hub: Hub, checkpoint: Path) -> None:
    weights = to_safetensors({"weight": np.random.default_rng(0).random((5_000_000,), dtype=np.float32)})
    small = {name: (checkpoint / name).read_bytes() for name in FILES if name != "model.safetensors"}
    hub.add(ID, {**small, "model.safetensors": weights}, COMMIT)
    hub.breaks_after["model.safetensors"] = CHUNK + 5_000_000
    assert project.refusal(hub=hub).startswith("model.safetensors: the download was interrupted")
    assert project.fetched == []
    done = project.download(hub=hub)
    assert done.returncode == 0, done.stderr
    assert (project.files.checkpoint / "model.safetensors").read_bytes() == weights
    ranges = [request.range for request in hub.asked_for("model.safetensors") if request.path.startswith("/cdn/")]
    assert ranges == [None, f"bytes={CHUNK}-"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_truncated_or_damaged_file_is_rejected_by_name_and_fetched_anew_the_next_time(
    project: Project, hub: Hub, name: str
) -> None:
    content = hub.repositories[ID].files[name]
    hub.instead[name] = content[:-100]
    assert project.refusal(hub=hub).startswith(f"{name}: is truncated")
    assert project.fetched == []
    hub.instead[name] = content[:-1] + bytes([content[-1] ^ 1])
    refused = project.refusal(hub=hub)
    assert refused.startswith(f"{name}: is truncated or damaged: the hub's digest is ")
    assert hashlib.sha256(hub.instead[name]).hexdigest() in refused or name == "config.json"
    hub.instead.clear()
    assert project.download(hub=hub).returncode == 0


def test_a_file_that_is_not_the_one_of_the_spec_is_rejected_with_both_digests(
    project: Project, hub: Hub, checkpoint: Path
) -> None:
    project.describe(sha256={"model.safetensors": sha256(checkpoint / "model.safetensors"), "config.json": "0" * 64})
    refused = project.refusal(hub=hub)
    assert "config.json is not the file of the spec" in refused
    assert f"is {sha256(checkpoint / 'config.json')}, source.sha256 has {'0' * 64}" in refused
    assert project.fetched == []


def test_a_digest_of_a_file_that_is_not_there_is_rejected(project: Project, hub: Hub) -> None:
    project.describe(sha256={"other.safetensors": "0" * 64})
    assert "has no other.safetensors, which is in source.sha256" in project.refusal(hub=hub)


@pytest.mark.parametrize("branch", ["main", "v1.0"])
def test_a_branch_or_tag_is_rejected_with_the_commit_to_pin(project: Project, hub: Hub, branch: str) -> None:
    hub.repositories[ID].branches = ("main", "v1.0")
    project.describe(revision=branch)
    told = f"'{branch}' is a branch or a tag, which moves; the commit to pin is {COMMIT}"
    assert project.refusal(hub=hub).endswith(f"models/tiny/model.yaml: source.revision: {told}")
    project.describe()
    assert project.refusal("--source", f"{ID}@{branch}", hub=hub) == f"--source {ID}@{branch}: {told}"
    assert project.fetched == []


def test_another_commit_than_that_of_the_spec_can_be_named(project: Project, hub: Hub, checkpoint: Path) -> None:
    hub.add("someone/else", checkpoint, OTHER_COMMIT)
    assert project.download("--source", f"someone/else@{OTHER_COMMIT}", hub=hub).returncode == 0
    recorded = project.files.report()["source"]
    assert (recorded["repository"], recorded["revision"]) == ("someone/else", OTHER_COMMIT)


def test_pickles_are_rejected_with_the_reason_unless_they_are_allowed(project: Project, hub: Hub) -> None:
    files = dict(hub.repositories[ID].files)
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    hub.add(ID, files, COMMIT)
    refused = project.refusal(hub=hub)
    assert f"{ID}: has its weights only as pytorch_model.bin, a pickle, which can execute code" in refused
    assert "--allow-pickle" in refused
    assert hub.asked_for("pytorch_model.bin") == []
    assert project.download("--allow-pickle", hub=hub).returncode == 0
    assert "pytorch_model.bin" in project.fetched


def test_pickles_beside_safetensors_are_left_where_they_are(project: Project, hub: Hub) -> None:
    files = hub.repositories[ID].files
    others = {"pytorch_model.bin": b"", "tf_model.h5": b"", "modeling.py": b"", "onnx/model.onnx": b""}
    hub.add(ID, {**files, **others}, COMMIT)
    assert project.download("--allow-pickle", hub=hub).returncode == 0
    assert project.fetched == FILES


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "is not a checkpoint: it has no config.json"),
        ("model.safetensors", "has no weights: neither model.safetensors nor pytorch_model.bin"),
        ("tokenizer.json", "has no tokenizer: none of tokenizer.json, vocab.json, vocab.txt and *.model"),
    ],
)
def test_a_repository_without_a_part_of_a_checkpoint_is_rejected(
    project: Project, hub: Hub, missing: str, reason: str
) -> None:
    files = hub.repositories[ID].files
    hub.add(ID, {name: content for name, content in files.items() if name != missing}, COMMIT)
    assert project.refusal(hub=hub) == f"{ID}: {reason}"


def test_an_unknown_or_private_repository_is_rejected_with_what_to_do(project: Project, hub: Hub) -> None:
    told = f"{ID}: not found on {hub.url}; check the id, or set HF_TOKEN if it is private"
    hub.repositories[ID].token = RIGHT
    assert project.refusal(hub=hub) == told
    assert project.refusal(hub=hub, HF_TOKEN=RIGHT + "x") == told
    del hub.repositories[ID]
    assert project.refusal(hub=hub) == told


def test_a_gated_repository_is_rejected_with_where_to_ask(project: Project, hub: Hub) -> None:
    hub.repositories[ID].gated = True
    told = f"{ID}: is gated; request access at {hub.url}/{ID}, and set HF_TOKEN to your token"
    assert project.refusal(hub=hub) == told


def test_an_unknown_commit_is_rejected(project: Project, hub: Hub) -> None:
    project.describe(revision=OTHER_COMMIT)
    assert project.refusal(hub=hub).startswith(f"{ID}: has no revision {OTHER_COMMIT}")


def test_without_a_hub_or_a_cache_the_error_names_the_alternatives(project: Project) -> None:
    silent = project.refusal()
    assert "does not answer; check the network, or HF_ENDPOINT, set HF_HUB_OFFLINE=1" in silent
    assert "--source FOLDER" in silent
    offline = project.refusal(HF_HUB_OFFLINE="1")
    assert offline.startswith(f"{ID}@{COMMIT}: is not in the cache in HF_HOME, and HF_HUB_OFFLINE is set")


def test_a_failed_download_leaves_the_earlier_one_and_a_good_one_nothing_of_it(
    project: Project, hub: Hub, checkpoint: Path
) -> None:
    project.files.checkpoint.mkdir(parents=True)
    (project.files.checkpoint / "earlier.txt").touch()
    hub.instead["config.json"] = b"{}"
    project.refusal(hub=hub)
    assert project.fetched == ["earlier.txt"]
    assert [file.name for file in project.files.build.iterdir()] == ["checkpoint"]
    assert project.download("--source", str(checkpoint)).returncode == 0
    assert project.fetched == FILES


def test_a_folder_is_a_source_relative_to_the_project(project: Project, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, project.root / "mine")
    (project.root / "mine" / "README.md").touch()
    project.describe(kind="folder", repository="mine", revision=None)
    done = project.download()
    assert done.returncode == 0, done.stderr
    assert project.fetched == FILES
    assert project.files.report()["source"]["kind"] == "folder"
    project.describe(kind="folder", repository="yours", revision=None)
    assert "yours: is not a folder" in project.refusal()


def test_a_folder_instead_of_the_hub_must_hold_what_the_spec_knows(project: Project, checkpoint: Path) -> None:
    project.describe(sha256={"model.safetensors": sha256(checkpoint / "model.safetensors")})
    assert project.download("--source", str(checkpoint)).returncode == 0
    project.describe(sha256={"model.safetensors": "0" * 64})
    assert "model.safetensors is not the file of the spec" in project.refusal("--source", str(checkpoint))


def test_a_truncated_or_missing_file_of_a_folder_is_rejected_by_name(
    project: Project, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert project.refusal("--source", str(folder)).startswith("model.safetensors: is truncated or damaged")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    told = project.refusal("--source", str(folder))
    assert told == "model-00002-of-00002.safetensors: is missing; model.safetensors.index.json lists it"


@pytest.mark.parametrize("place", ["no-such-folder", "models:/tiny@x/y", "a/b@", "https://example.com/model"])
def test_a_place_that_is_none_is_rejected_with_what_there_is(project: Project, place: str) -> None:
    told = project.refusal("--source", place)
    assert "models:/NAME@ALIAS" in told
    assert place in told


def test_a_model_that_is_trained_here_has_nothing_to_fetch(project: Project, checkpoint: Path) -> None:
    project.describe(kind="training", revision=None)
    assert "its checkpoint comes from training: make train MODEL=tiny" in project.refusal()
    shutil.copytree(checkpoint, project.files.checkpoint)
    done = project.download()
    assert (done.returncode, done.stdout) == (0, "build/tiny/checkpoint: exists from training; nothing to fetch\n")
    assert project.files.report() == {}


def test_a_checkpoint_that_was_trained_elsewhere_replaces_training(project: Project, checkpoint: Path) -> None:
    project.describe(kind="training", revision=None, sha256={"model.safetensors": "0" * 64})  # of the base
    assert project.download("--source", str(checkpoint)).returncode == 0
    assert project.files.report()["source"]["kind"] == "folder"


READY = {"ready.onnx": b"graph"}
TOKENIZER_ID = "someone/tokens"


def ready(**source: Any) -> dict[str, Any]:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in READY.items()}
    return {"kind": "onnx", "repository": "someone/ready", "revision": None, "sha256": digests} | source


def tokens(checkpoint: Path) -> dict[str, bytes]:
    return {name: (checkpoint / name).read_bytes() for name in FILES if name != "model.safetensors"}


def test_a_ready_onnx_file_comes_with_the_tokenizer_of_another_repository(
    project: Project, hub: Hub, checkpoint: Path
) -> None:
    hub.add("someone/ready", READY, OTHER_COMMIT)
    hub.add(TOKENIZER_ID, checkpoint, COMMIT)
    project.describe(**ready(tokenizer={"repository": TOKENIZER_ID, "revision": COMMIT}))
    done = project.download(hub=hub)
    assert done.returncode == 0, done.stderr
    assert project.fetched == sorted([*tokens(checkpoint), "ready.onnx"])
    recorded = project.files.report()["source"]
    assert recorded["revision"] == OTHER_COMMIT
    assert recorded["tokenizer"] == {"repository": TOKENIZER_ID, "revision": COMMIT}


@pytest.mark.parametrize("place", ["spec", "option"])
def test_a_ready_onnx_file_of_a_folder_has_its_tokenizer_beside_it(
    project: Project, checkpoint: Path, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "ready"
    folder.mkdir()
    for name, content in {**tokens(checkpoint), **READY}.items():
        (folder / name).write_bytes(content)
    project.describe(**ready(repository=str(folder) if place == "spec" else "someone/ready"))
    done = project.download(*(["--source", str(folder)] if place == "option" else []))
    assert done.returncode == 0, done.stderr
    assert project.fetched == sorted([*tokens(checkpoint), "ready.onnx"])


def test_a_ready_onnx_file_that_is_missing_or_another_is_rejected(project: Project, hub: Hub, checkpoint: Path) -> None:
    hub.add("someone/ready", tokens(checkpoint), OTHER_COMMIT)
    project.describe(**ready())
    assert "has no file ready.onnx" in project.refusal(hub=hub)
    hub.add("someone/ready", {**tokens(checkpoint), "ready.onnx": b"another graph"}, OTHER_COMMIT)
    assert "ready.onnx is not the file of the spec" in project.refusal(hub=hub)


LOG_A_MODEL = """
import sys
import mlflow
mlflow.set_experiment("tests")
with mlflow.start_run() as run:
    mlflow.log_artifacts(sys.argv[1], "model/artifacts/checkpoint")
    mlflow.log_text("{}", "model/MLmodel")
    mlflow.log_text("nothing", "other/readme.txt")
client = mlflow.MlflowClient()
client.create_registered_model("textserve")
client.create_model_version("textserve", f"{run.info.artifact_uri}/model", run.info.run_id)
client.set_registered_model_alias("textserve", "staging", "1")
print(run.info.run_id)
"""


@pytest.fixture(scope="module")
def tracked(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The tracking URI of a store with one registered version, and the id of its run."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", LOG_A_MODEL, str(checkpoint)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return uri, done.stdout.splitlines()[-1]


@pytest.fixture
def run(tracked: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the run, with MLflow set to its store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked[0])
    return tracked[1]


@pytest.mark.parametrize("place", ["models:/textserve@staging", "models:/textserve/1", "runs:/RUN/model"])
def test_a_checkpoint_in_mlflow_is_fetched_by_alias_version_or_run(
    own_root: Path, write_model: Callable[..., ModelFiles], run: str, checkpoint: Path, place: str
) -> None:
    place = place.replace("RUN", run)
    files = write_model(own_root, source={"kind": "mlflow", "repository": place})
    assert script.main(["tiny"]) == 0
    assert sorted(file.name for file in files.checkpoint.iterdir()) == FILES
    digests = {name: sha256(checkpoint / name) for name in FILES}
    version = {} if place.startswith("runs:") else {"name": "textserve", "version": "1"}
    recorded = {"kind": "mlflow", "repository": place, "run_id": run, **version, "sha256": digests}
    assert files.report() == {"source": recorded}


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("models:/textserve@champion", "has no such version; it has models:/textserve/1"),
        ("models:/other/1", "has no such version; it has no model 'other'"),
        ("models:/textserve/latest", "give models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/PATH"),
        ("runs:/RUN/other", "expected one folder with a config.json, found none"),
        ("runs:/RUN/nowhere", "has no such artifacts"),
        ("runs:/0123456789abcdef/model", "runs:/0123456789abcdef/model"),
    ],
)
def test_what_mlflow_does_not_have_is_told_in_a_line(
    own_root: Path,
    write_model: Callable[..., ModelFiles],
    run: str,
    capsys: pytest.CaptureFixture[str],
    place: str,
    reason: str,
) -> None:
    files = write_model(own_root)
    assert script.main(["tiny", "--source", place.replace("RUN", run)]) == 1
    assert reason in capsys.readouterr().err.splitlines()[-1]  # after MLflow's progress bar
    assert not files.checkpoint.exists()


def test_a_full_disk_is_told_with_the_file(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
