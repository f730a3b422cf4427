from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modeling import sources
from modeling.errors import ModelingError
from modeling.export.checkpoint import check_source, export_float, torch_logits
from modeling.export.export import export
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset
from scripts import export as script
from tests.tiny_checkpoints import LABELS, tiny_spec
from textserve.classifier import Classifier, softmax

pytestmark = pytest.mark.export

Golden = list[dict[str, str]]


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture(scope="module")
def golden(checkpoint: Path, texts: list[str]) -> Golden:
    """The text of which the checkpoint is most certain, for each label."""
    logits = torch_logits(ModelSpec.model_validate(tiny_spec()), checkpoint, texts)
    surest = softmax(logits).argmax(axis=0)
    return [{"text": texts[index], "label": label} for index, label in zip(surest, LABELS, strict=True)]


def test_the_exported_model_agrees_with_pytorch_and_the_report_describes_it(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, texts: list[str], golden: Golden
) -> None:
    files = write_model(tmp_path, golden=golden)
    section = export(files, checkpoint, texts[:80])
    served = Classifier(files.folder)
    rows = served.predict(served.encode(texts[80:]))
    expected = softmax(torch_logits(files.spec(), checkpoint, texts[80:]))
    assert len(set(expected.argmax(axis=1))) == 3
    assert (rows.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95
    assert np.abs(rows - expected).max() < 0.1
    assert files.report() == {"export": section}
    assert section["float_bytes"] == files.float_model.stat().st_size
    assert section["bytes"] == files.model.stat().st_size < section["float_bytes"]
    assert section["sha256"] == sha256(files.model)
    operators = [node.op_type for node in onnx.load(files.model).graph.node]
    quantization = section["quantization"]
    assert len(quantization["linears"]) == 12
    # Query, key and value of the first layer are one product, and key and value of the last.
    assert operators.count("MatMulIntegerToFloat") == 9
    assert quantization["optimization"]["merged_linears"] == 5
    assert quantization["optimization"]["attentions"] == operators.count("MultiHeadAttention") == 2
    assert quantization["optimization"]["pooled_nodes"] > 0
    assert quantization["outlier_channels"] == 0
    assert section["versions"]["onnx"] == onnx.__version__


def test_without_quantization_the_float_graph_is_served(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, golden: Golden
) -> None:
    files = write_model(tmp_path, golden=golden, quantization={"method": "none"})
    section = export(files, checkpoint)
    assert files.model.read_bytes() == files.float_model.read_bytes()
    assert "quantization" not in section
    assert section["float_reason"] == "quantization.method is none"
    assert section["bytes"] == section["float_bytes"]


def test_calibration_is_deterministic_and_uses_at_most_the_number_of_texts_in_the_spec(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, texts: list[str], golden: Golden
) -> None:
    files = write_model(tmp_path, golden=golden, quantization={"calibration_texts": 8})
    digests = [export(files, checkpoint, texts[:number])["sha256"] for number in (8, 80)]
    assert digests[0] == digests[1]


def test_an_embedding_table_slightly_longer_than_the_vocabulary_is_accepted(
    make_checkpoint: Callable[..., Path], write_model: Callable[..., ModelFiles], tmp_path: Path
) -> None:
    checkpoint, files = make_checkpoint("bert", rows=256), write_model(tmp_path)
    check_source(files, checkpoint)
    export_float(files.spec(), checkpoint, files.float_model, files.tokenizer)
    assert files.float_model.stat().st_size > 0


def test_files_that_changed_after_the_download_are_rejected_by_name(
    checkpoint: Path, write_model: Callable[..., ModelFiles], tmp_path: Path, golden: Golden
) -> None:
    files = write_model(tmp_path, source={"kind": "folder", "repository": str(checkpoint)})
    files.add_to_report("source", sources.fetch(files.spec().source, files.checkpoint))
    with (files.checkpoint / "model.safetensors").open("r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(ModelingError, match=r"model\.safetensors: is not the downloaded file"):
        export(files, files.checkpoint)


@pytest.fixture
def project(
    write_data: Callable[..., Path],
    write_model: Callable[..., ModelFiles],
    own_root: Path,
    words: list[str],
    texts: list[str],
    checkpoint: Path,
    golden: Golden,
) -> ModelFiles:
    """A model in its own project, with its checkpoint and rated texts."""
    rated = [*texts, *(f"{first} {second}" for first in words[:20] for second in words[:15])]
    ratings = "".join(f"{number}\t0.0\t{text}\n" for number, text in enumerate(rated)).encode()
    files = write_model(own_root, golden=golden, quantization={"calibration_texts": 80})
    write_data(files.data, {"tweets": ratings})
    shutil.copytree(checkpoint, files.checkpoint)
    return files


def test_the_script_calibrates_with_rated_texts_or_with_those_of_a_file(
    project: ModelFiles,
    texts: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modeling.evaluation.reference.MIN_TEXTS", 10)
    assert script.main(["tiny"]) == 0
    assert project.reference()["sha256"] == project.digests()["model.onnx"]
    for file in (project.float_model, project.model, project.tokenizer):
        assert file.stat().st_size > 0
    rated = project.report()["export"]["sha256"]
    printed = capsys.readouterr().out
    assert "models/tiny/model.onnx: " in printed
    assert "12 linear layers and 0 tables in INT8, 0 outlier channels in float" in printed
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts[:10]), encoding="utf-8")
    assert script.main(["tiny", "--texts", str(file)]) == 0
    assert project.report()["export"]["sha256"] != rated


def configure(files: ModelFiles, **config: Any) -> None:
    """Change the configuration of the checkpoint."""
    file = files.checkpoint / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | config), encoding="utf-8")


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


ANOTHER = "build/tiny/checkpoint: the tokenizer is another model's: "


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda files: configure(files, problem_type="multi_label_classification"),
            "problem_type is multi_label_classification, the spec's is single_label_classification",
        ),
        (lambda files: configure(files, pad_token_id=3), f"{ANOTHER}its pad token is 1, the network's 3"),
        (lambda files: configure(files, bos_token_id=2), f"{ANOTHER}its bos token is 0, the network's 2"),
        (lambda files: configure(files, eos_token_id=0), f"{ANOTHER}its eos token is 2, the network's 0"),
        (lambda files: configure(files, vocab_size=213), f"{ANOTHER}it has 214 tokens, the network has embeddings for"),
        (lambda files: configure(files, vocab_size=1239), f"{ANOTHER}it has 214 tokens, the network has embeddings"),
        (lambda files: damage(files.checkpoint / "model.safetensors"), "checkpoint: its network cannot be loaded: "),
        (lambda files: damage(files.checkpoint / "tokenizer.json"), "checkpoint: its tokenizer cannot be loaded: "),
        (lambda files: shutil.rmtree(files.checkpoint), "has no checkpoint; train one, or give another folder with"),
        (lambda files: damage(files.data / dataset.VADER_FILE), "SHA-256"),
    ],
)
def test_a_checkpoint_or_data_that_cannot_be_used_is_exit_code_1_with_the_reason(
    project: ModelFiles, change: Callable[[ModelFiles], None], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project)
    assert script.main(["tiny"]) == 1
    assert reason in capsys.readouterr().err
    assert not project.model.exists()


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"languages": []}, "languages"),
        ({"labels": [{"name": name, "label": name} for name in ("positive", "neutral", "negative")]}, "id2label"),
        ({"tokenization": {"pad_id": 0, "max_tokens": 32}}, "it pads with 1, tokenization.pad_id is 0"),
        ({"name": "other"}, "models/tiny/model.yaml: name is other; set it to tiny"),
        (
            {"golden": [{"text": f"a {name} text", "label": name} for name in LABELS]},
            "choose other texts, or correct the answers",
        ),
        ({"graph": {}}, "has the input token_type_ids; add to the graph section of model.yaml: token_type_ids: token"),
        ({"graph": {"token_type_ids": "token_type_ids", "attention_mask": "mask"}}, "has the input attention_mask;"),
    ],
)
def test_a_spec_that_does_not_fit_is_exit_code_1_with_the_key(
    project: ModelFiles,
    write_model: Callable[..., ModelFiles],
    own_root: Path,
    golden: Golden,
    sections: dict[str, Any],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(own_root, **({"golden": golden} | sections))
    assert script.main(["tiny"]) == 1
    assert reason in capsys.readouterr().err
