from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from modeling.errors import ModelingError
from modeling.evaluation import fidelity
from modeling.evaluation.answers import Scores
from modeling.export.checkpoint import torch_logits
from modeling.export.export import export
from modeling.export.verification import GROUPINGS, against_truth, compare, compare_in_batches
from modeling.files import ModelFiles, sha256
from modeling.spec import ModelSpec
from modeling.tasks.sentiment import dataset
from scripts import verify as script
from tests.tiny_checkpoints import LABELS, tiny_spec
from textserve.classifier import Classifier, Encoding, softmax

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("bert")


@pytest.fixture(scope="module")
def reference(checkpoint: Path, texts: list[str]) -> Scores:
    """Scores by PyTorch."""
    return softmax(torch_logits(ModelSpec.model_validate(tiny_spec()), checkpoint, texts))


@pytest.fixture(scope="module")
def labels(reference: Scores) -> list[str | None]:
    return [LABELS[index] for index in reference.argmax(axis=1)]


@pytest.fixture(scope="module")
def exported(
    checkpoint: Path,
    write_model: Callable[..., ModelFiles],
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    reference: Scores,
) -> Path:
    """The root of a project with an exported model whose golden texts are the most certain ones for PyTorch."""
    root = tmp_path_factory.mktemp("exported")
    surest = reference.argmax(axis=0)
    golden = [{"text": texts[index], "label": label} for index, label in zip(surest, LABELS, strict=True)]
    export(write_model(root, golden=golden), checkpoint, texts[:80])
    return root


@pytest.fixture
def files(exported: Path, own_root: Path) -> ModelFiles:
    """A copy of the exported model, to be changed."""
    shutil.copytree(exported, own_root, dirs_exist_ok=True)
    return ModelFiles.of("tiny")


def rewrite_spec(files: ModelFiles, **sections: Any) -> None:
    file = files.folder / "model.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) | sections
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def damage(files: ModelFiles) -> None:
    """Shuffle the weights of the last layer that writes into the encoder's output."""
    model = onnx.load(files.model)
    layer = [node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"][-1]
    (weights,) = [constant for constant in model.graph.initializer if constant.name == layer.input[1]]
    shuffled = np.random.default_rng(0).permuted(numpy_helper.to_array(weights), axis=0)
    weights.CopyFrom(numpy_helper.from_array(shuffled, weights.name))
    onnx.save(model, files.model)


def answered(files: ModelFiles, texts: list[str]) -> list[dict[str, str]]:
    """Golden texts labelled by the served model itself."""
    classifier = Classifier(files.folder)
    answers = classifier.predict(classifier.encode(texts)).argmax(axis=1)
    by_label = {LABELS[index]: text for text, index in zip(texts, answers, strict=True)}
    return [{"text": text, "label": label} for label, text in by_label.items()]


def test_an_exported_model_is_within_its_limits_and_recorded_with_its_source(
    files: ModelFiles, checkpoint: Path, texts: list[str], labels: list[str | None]
) -> None:
    languages = ["pl", *["en"] * (len(texts) - 1)]
    section = compare(files, checkpoint, texts, labels, languages)
    assert fidelity.problems(section, files.spec()) == []
    assert {name: found["texts"] for name, found in section["languages"].items()} == {"pl": 1, "en": len(texts) - 1}
    assert all(found["agreement"] >= 0.95 for found in section["languages"].values())
    assert section["identity"] == files.spec().identity(files.digests())
    assert (section["source"]["kind"], section["source"]["repository"]) == ("training", "tests/tiny")
    assert section["source"]["sha256"]["model.safetensors"] == sha256(checkpoint / "model.safetensors")
    assert section["texts"] == len(texts)
    assert section["agreement"] >= 0.95
    assert section["torch_macro_f1"] == 1.0
    assert section["f1_loss"] == pytest.approx(1.0 - section["served_macro_f1"])
    assert section["batches"]["labels_changed"] == 0
    assert section["batches"]["largest_difference"] <= 1e-4
    assert 0 < section["mean_difference"] <= section["largest_difference"] < 0.1


def test_a_damaged_layer_fails_the_limits_even_if_the_golden_texts_pass(
    files: ModelFiles, checkpoint: Path, texts: list[str], labels: list[str | None]
) -> None:
    damage(files)
    rewrite_spec(files, golden=answered(files, texts))
    problems = fidelity.problems(compare(files, checkpoint, texts, labels), files.spec())
    assert len(problems) == 2
    assert "min_agreement" in problems[0]
    assert "max_f1_loss" in problems[1]


def test_a_golden_text_with_another_label_is_rejected_with_its_index(
    files: ModelFiles, checkpoint: Path, texts: list[str]
) -> None:
    golden = files.spec().golden
    swapped = [{"text": text.text, "label": label} for text, label in zip(golden, reversed(LABELS), strict=True)]
    rewrite_spec(files, golden=swapped)
    wrong = r"tiny: golden\[0\] is negative, expected positive; golden\[2\] is positive"
    with pytest.raises(ModelingError, match=wrong):
        compare(files, checkpoint, texts, [None] * len(texts))


@pytest.mark.parametrize("group", ["golden", "texts"])
def test_a_tokenizer_that_encodes_a_text_differently_is_rejected_with_its_index(
    files: ModelFiles, checkpoint: Path, texts: list[str], group: str
) -> None:
    content = json.loads(files.tokenizer.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    golden = [word for text in files.spec().golden for word in text.text.split()]
    others = [word for word in vocabulary if word.isalpha() and word not in golden]
    first, second = (golden[0], others[-1]) if group == "golden" else others[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    files.tokenizer.write_text(json.dumps(content), encoding="utf-8")
    changed = next(index for index, text in enumerate(texts) if {first, second} & set(text.split()))
    index = 0 if group == "golden" else changed
    with pytest.raises(ModelingError, match=rf"is not the tokenizer of .*: it reads {group}\[{index}\] differently"):
        compare(files, checkpoint, texts, [None] * len(texts))


def test_an_unchanged_download_is_recorded_as_the_source(files: ModelFiles, checkpoint: Path, texts: list[str]) -> None:
    rewrite_spec(files, source={"kind": "mlflow", "repository": "models:/tiny@staging"})
    shutil.copytree(checkpoint, files.checkpoint)
    digests = {file.name: sha256(file) for file in checkpoint.iterdir()}
    recorded = {"kind": "mlflow", "repository": "models:/tiny@staging", "run_id": "1", "sha256": digests}
    files.add_to_report("source", recorded)
    assert compare(files, files.checkpoint, texts[:5], [None] * 5)["source"] == recorded
    (files.checkpoint / "config.json").write_text((checkpoint / "config.json").read_text() + "\n")
    with pytest.raises(ModelingError, match=r"config\.json: is not the downloaded file"):
        compare(files, files.checkpoint, texts[:5], [None] * 5)
    shutil.copytree(files.checkpoint, files.build / "by-hand")
    assert compare(files, files.build / "by-hand", texts[:5], [None] * 5)["source"]["kind"] == "folder"


def spec_of(labels: Sequence[str], **sections: Any) -> ModelSpec:
    """The spec of a model with these labels."""
    golden = [{"text": "x", "label": labels[0]}] * 2
    return ModelSpec.model_validate(tiny_spec() | {"labels": list(labels), "golden": golden} | sections)


class FakeModel:
    """A classifier whose texts are numbers, with the probability ``answer(number, size of the batch)``."""

    def __init__(self, pads: bool, answer: Callable[[int, int], float]) -> None:
        self.pads, self.answer = pads, answer
        self.spec = spec_of(["negative", "positive"])
        self.computed: list[int] = []

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [Encoding([int(text)] * (2 + int(text) % 5), False) for text in texts]

    def predict(self, encodings: Sequence[Encoding]) -> Scores:
        assert self.pads or len({len(encoding.ids) for encoding in encodings}) == 1
        numbers = [encoding.ids[0] for encoding in encodings]
        self.computed += numbers
        first = np.array([self.answer(number, len(numbers)) for number in numbers], dtype=np.float32)
        return np.stack([first, 1 - first], axis=1)

    def compared(self, texts: int) -> tuple[int, float]:
        names = [str(number) for number in range(texts)]
        alone = np.concatenate([self.predict([encoding]) for encoding in self.encode(names)])
        self.computed.clear()
        return compare_in_batches(cast(Classifier, self), self.encode(names), alone)


@pytest.mark.parametrize("pads", [True, False])
def test_each_grouping_computes_every_text_once_and_without_padding_mixes_no_lengths(pads: bool) -> None:
    classifier = FakeModel(pads, lambda number, size: number / 200)
    assert classifier.compared(150) == (0, 0.0)
    assert sorted(classifier.computed) == sorted(list(range(150)) * GROUPINGS)


@pytest.mark.parametrize(
    ("answer", "flips", "largest"),
    [
        (lambda number, size: 0.7 if number == 60 and size > 1 else 0.2, GROUPINGS, 0.5),
        (lambda number, size: 0.2 if size == 1 else 0.25, 0, 0.05),
    ],
)
def test_a_difference_between_batches_is_measured_and_counted_if_it_changes_a_label(
    answer: Callable[[int, int], float], flips: int, largest: float
) -> None:
    changed, difference = FakeModel(True, answer).compared(64)
    assert changed == flips
    assert difference == pytest.approx(largest)


MACRO_F1 = (2 / 3 + 2 / 3 + 1) / 3


@pytest.mark.parametrize(
    ("labels", "reference", "served", "truth", "expected"),
    [
        (
            LABELS,
            [0, 0, 1, 2],
            [0, 1, 1, 2],
            ["negative", "negative", "neutral", "positive"],
            [1.0, MACRO_F1, 1 - MACRO_F1],
        ),
        (
            ["negative", "positive"],
            [0, 1, 0, 1],
            [0, 0, 1, 1],
            ["negative", None, "neutral", "positive"],
            [1.0, 1.0, 0.0],
        ),
        (LABELS, [0, 1], [0, 1], [None, "other"], []),
    ],
)
def test_macro_f1_is_the_mean_over_labels_of_texts_with_a_label_of_the_model(
    labels: list[str], reference: list[int], served: list[int], truth: list[str | None], expected: list[float]
) -> None:
    one_hot = np.eye(3, dtype=np.float32)
    scores = against_truth(spec_of(labels), one_hot[reference], one_hot[served], truth)
    assert list(scores.values()) == pytest.approx(expected)


@pytest.fixture
def texts_file(files: ModelFiles, checkpoint: Path, texts: list[str], tmp_path: Path) -> Path:
    """A file for ``--texts``; the project then has its checkpoint, too."""
    files.checkpoint.symlink_to(checkpoint)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def test_a_model_within_its_limits_is_exit_code_0_and_reported(
    files: ModelFiles, texts_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.add_to_report("export", {"bytes": 1})
    assert script.main(["tiny", "--texts", str(texts_file)]) == 0
    report = files.report()
    assert report["export"] == {"bytes": 1}
    assert report["verification"]["texts"] == 160
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["texts", "agreement", "speed-up", "exactness"]
    assert "0 labels changed" in printed


def test_failed_limits_are_exit_code_2_and_each_is_printed(
    files: ModelFiles, texts_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {"min_speedup": 1000.0, "min_speedup_without_vnni": 1000.0}
    rewrite_spec(files, fidelity={"texts": 161, "min_agreement": 0.5, **slow})
    assert script.main(["tiny", "--texts", str(texts_file)]) == 2
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 2
    assert "fidelity.texts requires 161" in failed[0]
    assert "min_speedup is 1000.0" in failed[1]
    assert files.report()["verification"]["texts"] == 160


def test_the_default_texts_are_the_labelled_ones(
    files: ModelFiles,
    checkpoint: Path,
    texts: list[str],
    write_data: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = "".join(f"{number}\t2.0\t{text}\n" for number, text in enumerate(texts)).encode()
    write_data(files.data, {"tweets": lines})
    (files.folder / "polish-dev.jsonl").write_text('{"text": "ba be", "label": "neutral"}\n', encoding="utf-8")
    tested = [text for text in texts if dataset.part_of(text) == "test"]
    rewrite_spec(files, fidelity={"texts": 10, "min_agreement": 0.5, "max_f1_loss": 1.0, "min_speedup": 0.0})
    assert script.main(["tiny", "--checkpoint", str(checkpoint)]) == 0
    assert files.report()["verification"]["texts"] == len(tested) + 1
    assert "macro-F1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda files, _: files.model.unlink(), "model.onnx"),
        (lambda files, _: files.tokenizer.unlink(), "tokenizer.json"),
        (lambda files, _: files.float_model.unlink(), "float.onnx"),
        (lambda files, _: (files.folder / "model.yaml").unlink(), "model.yaml"),
        (lambda files, _: files.checkpoint.unlink(), "build/tiny/checkpoint"),
        (lambda _, texts_file: texts_file.unlink(), "texts.txt"),
    ],
)
def test_a_missing_file_is_exit_code_1_with_its_name(
    files: ModelFiles,
    texts_file: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[ModelFiles, Path], object],
    named: str,
) -> None:
    change(files, texts_file)
    assert script.main(["tiny", "--texts", str(texts_file)]) == 1
    assert named in capsys.readouterr().err
    assert "verification" not in files.report()
