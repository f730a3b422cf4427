from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from modeling.export.checkpoint import torch_logits
from modeling.export.loading import load_tokenizer
from modeling.files import ModelFiles, sha256
from modeling.registry.versions import STAGING, Registry
from modeling.tasks.sentiment import corpora, dataset
from modeling.tasks.sentiment.dataset import MEANINGS
from scripts import train as script
from tests.scripts.mlflow_server import MlflowServer
from tests.scripts.rated_data import write_rated_data
from tests.server import free_port
from textserve.classifier import softmax

pytestmark = [
    pytest.mark.export,
    # transformers warns that the head of the base is new, as it should be
    pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning"),
]


# Rated texts of each of the four domains.
TEXTS = 150


@pytest.fixture
def files(
    own_root: Path,
    write_model: Callable[..., ModelFiles],
    write_data: Callable[..., Path],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> ModelFiles:
    """A project with a model named ``tiny``, data, and MLflow in a file of its own."""
    write_rated_data(own_root / "build" / "data", write_data, words, TEXTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own_root / 'mlflow.db'}")
    return write_model(own_root)


def train(*arguments: str) -> int:
    return script.main(["tiny", *arguments])


def test_a_sweep_logs_three_runs_and_stages_the_best_on_a_server_with_passwords(
    files: ModelFiles,
    make_checkpoint: Callable[..., Path],
    mlflow_server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    mlflow_server.log_in(monkeypatch)
    assert train("--recipe", "head", "--base", str(make_checkpoint("bert"))) == 0
    runs = mlflow.search_runs(experiment_names=["tiny"], output_format="list")
    scores = {float(run.data.params["C"]): run.data.metrics["validation_macro_f1"] for run in runs}
    assert sorted(scores) == [0.1, 1.0, 10.0]
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.metrics.keys() >= {"validation_accuracy", "validation_log_loss", "iterations"}
        assert len(run.data.tags["mlflow.source.git.commit"]) == 40
        logged = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
        assert logged >= {"confusion.png", "reliability.png", "data.json"}
        data = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/data.json")
        assert data["sha256"] == {name: digest for name, (_, digest) in dataset.PACKAGES.items()}
        assert data["texts"] == 4 * TEXTS
    registry = Registry.connect()
    (version,) = registry.versions("tiny")
    assert registry.version_of("tiny", STAGING) == version
    best = next(run for run in runs if run.info.run_id == version.run_id)
    assert best.data.metrics["validation_macro_f1"] == max(scores.values())
    training = files.report()["training"]
    assert training["mlflow"] == {"run_id": version.run_id, "model": "tiny", "version": "1"}
    assert training["final"] == {"recipe": "head", "C": float(best.data.params["C"])}
    found = Path(mlflow.artifacts.download_artifacts("models:/tiny@staging", dst_path=str(tmp_path / "downloaded")))
    (config,) = found.rglob("config.json")
    assert sha256(config.parent / "model.safetensors") == sha256(files.checkpoint / "model.safetensors")
    assert version.tags["sha256.model.safetensors"] == sha256(files.checkpoint / "model.safetensors")
    printed = capsys.readouterr().out
    assert "models:/tiny/1, alias staging" in printed
    assert "Next: python -m scripts.export tiny" in printed

    loaded = mlflow.pyfunc.load_model("models:/tiny@staging")
    assert loaded.metadata.signature.inputs.input_names() == ["text"]
    assert loaded.metadata.signature.outputs.input_names() == ["label", "score"]
    texts = [f"{word} {words[0]}" for word in words[:40]]
    answers = loaded.predict(pd.DataFrame({"text": texts}))
    wanted = softmax(torch_logits(files.spec(), files.checkpoint, texts))
    assert list(answers["label"]) == [files.spec().labels[index].name for index in wanted.argmax(axis=1)]
    assert list(answers["score"]) == pytest.approx(wanted.max(axis=1).tolist(), abs=1e-5)
    assert len(set(answers["label"])) > 1


def test_fine_tuning_logs_each_epoch_averages_the_runs_and_resumes(
    files: ModelFiles, make_checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = write_sentences(files, tmp_path)
    arguments = ["--recipe", "full", "--seeds", "1", "2", "--sentences", str(folder)]
    new = ["--base", str(make_checkpoint("bert")), "--batch", "64", "--english", "200"]
    assert train(*arguments, *new) == 0
    printed = capsys.readouterr().out
    for corpus in (*corpora.CORPORA, corpora.POLEMO):
        assert f"{corpus.name}: from {folder / corpus.file}" in printed
    config = json.loads((files.checkpoint / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == [label.name for label in files.spec().labels]
    made = sha256(files.checkpoint / "model.safetensors")
    assert train(*arguments, *new) == 0
    assert sha256(files.checkpoint / "model.safetensors") == made
    assert train(*arguments, *new, "--epochs", "1") == 1
    assert "runs/1 was trained with epochs = 2" in capsys.readouterr().err
    runs = mlflow.search_runs(experiment_names=["tiny"], output_format="list")
    names = ["full, mean of 2", "full, mean of 2", "full, seed 1", "full, seed 2"]
    assert sorted(run.info.run_name for run in runs) == names
    seed = next(run for run in runs if run.info.run_name == "full, seed 1")
    for metric in ("train_loss", "validation_macro_f1", "validation_accuracy", "polish_macro_f1"):
        history = mlflow.MlflowClient().get_metric_history(seed.info.run_id, metric)
        assert [point.step for point in history] == [1, 2]
    assert seed.data.params["learning_rate"] == "0.0001"
    assert seed.data.tags["sha256.plwordnet-emo.jsonl"] == sha256(folder / "plwordnet-emo.jsonl")
    registry = Registry.connect()
    assert [version.tags["recipe"] for version in registry.versions("tiny")] == ["full", "full"]
    staged = registry.version_of("tiny", STAGING)
    assert staged is not None
    training = files.report()["training"]
    assert training["mlflow"]["version"] == staged.number == "2"
    assert [run["seed"] for run in training["runs"]] == [1, 2]
    assert 0 <= training["validation_macro_f1"] <= 1
    assert 0 <= training["polish_macro_f1"] <= 1
    # The sentences of polish-dev.jsonl are composed ones here, and never trained on.
    assert "composed" not in training["texts"]
    assert training["data"].keys() >= {"composed.jsonl", "clarin-emo.jsonl", dataset.VADER_FILE}
    tokenizer = load_tokenizer(files.checkpoint)
    assert tokenizer("BAD bad")["input_ids"] == tokenizer("bad bad")["input_ids"]


def test_a_run_that_is_added_is_in_the_result(
    files: ModelFiles, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = ["--recipe", "full", "--sentences", str(write_sentences(files, tmp_path))]
    arguments += ["--base", str(make_checkpoint("bert")), "--batch", "64", "--english", "200", "--epochs", "1"]
    weights = []
    for more in (["--seeds", "1"], ["--seeds", "2", "--learning-rate", "0.01"]):
        assert train(*arguments, *more) == 0
        weights.append(sha256(files.checkpoint / "model.safetensors"))
    assert weights[0] != weights[1]
    assert [run["learning_rate"] for run in files.report()["training"]["runs"]] == [0.0001, 0.01]


def write_sentences(files: ModelFiles, folder: Path) -> Path:
    """The Polish sentences of every source, of which the first word tells the label."""
    rows = [{"text": f"{label} zdanie {number}", "label": label} for label in MEANINGS for number in range(30)]
    for file in (files.folder / "composed.jsonl", files.folder / "polish-dev.jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for corpus in (*corpora.CORPORA, corpora.POLEMO):
        kind = {"level": "sentence", "domain": "hotels"}
        more = "".join(json.dumps({**row, **kind, "text": f"{row['text']} {corpus.name}"}) + "\n" for row in rows)
        (folder / corpus.file).write_text(more, encoding="utf-8")
    return folder


def made_by(files: ModelFiles, **recipe: object) -> None:
    files.checkpoint.mkdir(parents=True)
    (files.checkpoint / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "recipe", "reason"),
    [
        (lambda files: None, "full", "the recipe full starts from a checkpoint; name it with --base"),
        (lambda files: made_by(files, epochs=1), "head", "was made by the recipe full; remove it to train by head"),
        (lambda files: made_by(files, recipe="head", C=1.0), "full", "was made by the recipe head; remove it to train"),
    ],
)
def test_a_missing_base_or_a_checkpoint_of_the_other_recipe_is_an_error(
    files: ModelFiles,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[ModelFiles], None],
    recipe: str,
    reason: str,
) -> None:
    change(files)
    write_sentences(files, files.data)
    assert train("--recipe", recipe) == 1
    assert reason in capsys.readouterr().err


def test_broken_data_fails_before_anything_is_recorded(
    files: ModelFiles, own_root: Path, write_data: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(f"{number}\t2.0\ttext {number}" for number in range(100)).encode()
    write_data(files.data, {"tweets": rows})
    assert train("--recipe", "head") == 1
    assert "of the train part are negative; at least 5% required" in capsys.readouterr().err
    assert not (own_root / "mlflow.db").exists()


def test_a_spec_without_the_labels_of_the_data_is_an_error(
    files: ModelFiles, own_root: Path, write_model: Callable[..., ModelFiles], capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(own_root, labels=[{"name": name, "label": name} for name in ("positive", "neutral", "negative")])
    assert train("--recipe", "head") == 1
    assert "models/tiny: its labels mean positive, neutral, negative" in capsys.readouterr().err


def test_an_unreachable_server_is_an_error_before_the_training(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert train("--recipe", "head") == 1
    assert capsys.readouterr().err.startswith(f"MLflow at {url} does not answer; start it")
