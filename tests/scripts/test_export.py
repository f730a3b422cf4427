from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from modeling import sources
from modeling.errors import ModelingError
from modeling.export.checkpoint import torch_probabilities
from modeling.export.export import export
from modeling.files import ModelFiles
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.texts import calibration_texts
from scripts import export as script
from textserve.classifier import Classifier

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture
def rated(words: list[str]) -> dict[str, bytes]:
    """Lines of a ratings file: 300 texts of two words."""
    pairs = [f"{first} {second}" for first in words[:20] for second in words[:15]]
    return {"tweets": "".join(f"{number}\t0.0\t{text}\n" for number, text in enumerate(pairs)).encode()}


@pytest.mark.parametrize(
    ("architecture", "graph"),
    [("bert", {"token_type_ids": "token_type_ids"}), ("distilbert", {}), ("roberta", {})],
)
def test_the_served_model_agrees_with_pytorch_for_each_architecture(
    make_checkpoint: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    tmp_path: Path,
    texts: list[str],
    architecture: str,
    graph: dict[str, str],
) -> None:
    checkpoint, files = make_checkpoint(architecture), write_model(tmp_path, graph=graph)
    section = export(files, checkpoint, texts[:80])
    assert len(section["quantization"]["linears"]) == 12
    served = Classifier(files.folder)
    rows = served.predict(served.encode(texts[80:]))
    expected = torch_probabilities(checkpoint, texts[80:], files.spec().tokenization.max_tokens)
    assert len(set(expected.argmax(axis=1))) == 3
    assert (rows.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95
    assert np.abs(rows - expected).max() < 0.1


def test_the_report_describes_the_files_that_were_written(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, texts: list[str]
) -> None:
    files = write_model(tmp_path)
    section = export(files, checkpoint, texts[:20])
    assert section["float_bytes"] == files.float_model.stat().st_size
    assert section["bytes"] == files.model.stat().st_size < section["float_bytes"]
    assert section["sha256"] == hashlib.sha256(files.model.read_bytes()).hexdigest()
    operators = [node.op_type for node in onnx.load(files.model).graph.node]
    assert operators.count("MatMulIntegerToFloat") == len(section["quantization"]["linears"])
    assert section["quantization"]["outlier_channels"] == 0
    assert section["versions"]["onnx"] == onnx.__version__
    assert files.report() == {"export": section}


def test_a_spec_without_quantization_serves_the_float_graph(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path
) -> None:
    files = write_model(tmp_path, quantization={"method": "none"})
    section = export(files, checkpoint, None)
    assert files.model.read_bytes() == files.float_model.read_bytes()
    assert "quantization" not in section
    assert section["bytes"] == section["float_bytes"]


def test_calibration_is_deterministic_and_uses_at_most_the_number_of_texts_in_the_spec(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, texts: list[str]
) -> None:
    files = write_model(tmp_path, quantization={"calibration_texts": 8})
    digests = [export(files, checkpoint, texts[:number])["sha256"] for number in (7, 8, 80)]
    assert digests[1] == digests[2] != digests[0]


def test_calibration_texts_are_a_fixed_draw_from_the_training_part(
    write_data: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    tmp_path: Path,
    rated: dict[str, bytes],
) -> None:
    folder = write_data(tmp_path / "data", rated)
    spec = write_model(tmp_path, quantization={"calibration_texts": 50}).spec()
    texts = calibration_texts(spec, folder)
    assert len(set(texts)) == 50
    assert {dataset.part_of(text) for text in texts} == {"train"}
    assert calibration_texts(spec, folder) == texts
    ordered = [row.text for row in dataset.english(folder)]
    assert texts != sorted(texts, key=ordered.index)
    train = dataset.select(dataset.english(folder), "train")
    assert len(calibration_texts(write_model(tmp_path).spec(), folder)) == len(train) < 400


@pytest.fixture
def project(
    write_data: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    own_root: Path,
    rated: dict[str, bytes],
) -> ModelFiles:
    """A model in its own project, with data."""
    write_data(own_root / "build" / "data", rated)
    return write_model(own_root, quantization={"calibration_texts": 10})


def test_the_script_writes_everything_that_its_manual_lists(
    project: ModelFiles, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.checkpoint.symlink_to(checkpoint)
    assert script.main(["tiny"]) == 0
    for file in (project.float_model, project.model, project.tokenizer, project.folder / "report.json"):
        assert file.stat().st_size > 0
    assert list(project.report()) == ["export"]
    printed = capsys.readouterr().out
    assert "models/tiny/model.onnx: " in printed
    assert "12 linear layers and 0 tables in INT8, 0 outlier channels in float" in printed


def test_a_missing_checkpoint_is_exit_code_1_with_the_reason(
    project: ModelFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["tiny"]) == 1
    reason = "build/tiny/checkpoint has no checkpoint; train one, or give another folder with --checkpoint"
    assert reason in capsys.readouterr().err
    assert not project.model.exists()


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"languages": []}, "languages"),
        ({"labels": [{"name": name, "meaning": name} for name in ("positive", "neutral", "negative")]}, "id2label"),
        ({"tokenization": {"pad_id": 0, "max_tokens": 32}}, "it pads with 1, tokenization.pad_id is 0"),
    ],
)
def test_a_spec_that_does_not_fit_is_exit_code_1_with_the_key(
    project: ModelFiles,
    checkpoint: Path,
    write_model: Callable[..., ModelFiles],
    tmp_path: Path,
    sections: dict[str, Any],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(tmp_path, **sections)
    assert script.main(["tiny", "--checkpoint", str(checkpoint)]) == 1
    assert reason in capsys.readouterr().err


def own_checkpoint(checkpoint: Path, tmp_path: Path, **config: Any) -> Path:
    """A copy of ``checkpoint`` with a changed configuration."""
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(content | config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"pad_token_id": 3}, "its pad token is 1, the network's 3"),
        ({"bos_token_id": 2}, "its bos token is 0, the network's 2"),
        ({"eos_token_id": 0}, "its eos token is 2, the network's 0"),
        ({"vocab_size": 213}, "it has 214 tokens, the network has embeddings for 213"),
        ({"vocab_size": 1239}, "it has 214 tokens, the network has embeddings for 1239"),
    ],
)
def test_a_tokenizer_of_another_model_is_rejected_with_the_mismatch(
    project: ModelFiles,
    checkpoint: Path,
    tmp_path: Path,
    config: dict[str, int],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = own_checkpoint(checkpoint, tmp_path, **config)
    assert script.main(["tiny", "--checkpoint", str(folder)]) == 1
    assert f"{folder}: the tokenizer is another model's: {reason}" in capsys.readouterr().err
    assert not project.model.exists()


def test_a_table_slightly_longer_than_the_vocabulary_is_accepted(
    make_checkpoint: Callable[..., Path], write_model: Callable[..., ModelFiles], tmp_path: Path, texts: list[str]
) -> None:
    assert export(write_model(tmp_path), make_checkpoint("bert", rows=256), texts[:5])["bytes"] > 0


def test_files_that_changed_after_the_download_are_rejected_by_name(
    project: ModelFiles, checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path
) -> None:
    source = {"kind": "folder", "repository": str(checkpoint)}
    files = write_model(tmp_path, source=source, quantization={"method": "none"})
    files.add_to_report("source", sources.fetch(files.spec().source, files.checkpoint))
    export(files, files.checkpoint, None)
    with (files.checkpoint / "model.safetensors").open("r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(ModelingError, match=r"model\.safetensors: is not the downloaded file"):
        export(files, files.checkpoint, None)


@pytest.mark.parametrize(("name", "what"), [("model.safetensors", "network"), ("tokenizer.json", "tokenizer")])
def test_a_damaged_file_of_a_checkpoint_is_exit_code_1_without_a_traceback(
    project: ModelFiles, checkpoint: Path, tmp_path: Path, name: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_checkpoint(checkpoint, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    assert script.main(["tiny", "--checkpoint", str(folder)]) == 1
    assert f"{folder}: its {what} cannot be loaded: " in capsys.readouterr().err


def test_own_texts_set_the_scales(
    project: ModelFiles, checkpoint: Path, texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts[:10]), encoding="utf-8")
    assert script.main(["tiny", "--checkpoint", str(checkpoint), "--texts", str(file)]) == 0
    digest = project.report()["export"]["sha256"]
    assert digest == export(project, checkpoint, texts[:10])["sha256"] != export(project, checkpoint, None)["sha256"]


def test_a_polish_model_is_calibrated_on_polish_phrases_too(
    write_data: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    tmp_path: Path,
    rated: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_data(tmp_path / "data", rated)
    phrases = SimpleNamespace(draw=lambda count: [(f"fraza {number}", 0.0) for number in range(count)])
    monkeypatch.setattr("modeling.tasks.sentiment.texts.PolishExamples", SimpleNamespace(of=lambda _: phrases))
    quantization = {"calibration_texts": 50}
    spec = write_model(tmp_path, languages=["pl"], quantization=quantization).spec()
    found = calibration_texts(spec, folder)
    assert len(found) == 50
    assert found[::2] == [f"fraza {number}" for number in range(25)]
    english = calibration_texts(write_model(tmp_path, quantization=quantization).spec(), folder)
    assert found[1::2] == english[:25]


def test_data_with_another_digest_is_exit_code_1(
    project: ModelFiles, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build" / "data" / dataset.VADER_FILE).write_bytes(b"something else")
    assert script.main(["tiny", "--checkpoint", str(checkpoint)]) == 1
    assert "SHA-256" in capsys.readouterr().err
