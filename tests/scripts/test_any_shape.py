"""Export, verify, evaluate and save: one label, several labels, a number, and each question about pairs of texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeling.evaluation import gates, speed
from modeling.export.checkpoint import source_scores
from modeling.files import ModelFiles
from modeling.registry.versions import URI_VARIABLE
from modeling.spec import ModelSpec
from scripts import evaluate, export, verify
from tests.server import save_model
from tests.tiny_checkpoints import LABELS, tiny_spec
from textserve.prediction import Prediction
from textserve.spec import GOLDEN_KEYS, Input

pytestmark = pytest.mark.export

LIMITS = {"texts": 100, "min_agreement": 0.9, "max_f1_loss": 0.2, "min_rank_correlation": 0.9, "min_speedup": 0.0}


def answered(spec: ModelSpec, text: Input, scores: list[float]) -> dict[str, Any]:
    """A labelled row of ``text``, with the answer that has these scores."""
    prediction = Prediction(spec, scores, tokens=0, truncated=False)
    answers = {"label": prediction.label, "labels": prediction.labels, "score": prediction.score}
    key = GOLDEN_KEYS[spec.problem_type]
    own = {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
    return {**own, key: answers[key]}


@pytest.fixture
def checkpoint_of(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[[str], Path]:
    """``checkpoint_of(problem_type)``: a tiny checkpoint that names its problem."""

    def make(problem_type: str) -> Path:
        from transformers import AutoModelForSequenceClassification

        folder = tmp_path / "checkpoint"
        shutil.copytree(make_checkpoint("bert"), folder)
        labels = ["stars"] if problem_type == "regression" else list(LABELS)
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        if problem_type == "regression":
            model.classifier.weight.data = model.classifier.weight.data[:1].clone()
            model.classifier.bias.data = model.classifier.bias.data[:1].clone()
        model.config.problem_type, model.config.id2label = problem_type, dict(enumerate(labels))
        model.config.label2id = {label: index for index, label in enumerate(labels)}
        model.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("kind", ["text", "pair"])
@pytest.mark.parametrize("problem_type", GOLDEN_KEYS)
def test_a_model_of_any_shape_is_exported_verified_evaluated_and_saved(
    own_root: Path,
    copy_project: Callable[[Path], Path],
    write_model: Callable[..., ModelFiles],
    checkpoint_of: Callable[[str], Path],
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem_type: str,
    kind: str,
) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    monkeypatch.setattr(speed, "SPEED_TEXTS", 10)
    checkpoint = checkpoint_of(problem_type)
    inputs: list[Input] = list(texts) if kind == "text" else list(zip(texts, reversed(texts), strict=True))
    pair = {"text_pair": "z"} if kind == "pair" else {}
    placeholder = {"label": LABELS[0], "labels": [], "score": 0.0}[GOLDEN_KEYS[problem_type]]  # type: ignore[index]
    shape: dict[str, Any] = {
        "task": None,
        "languages": ["en", "pl"],
        "problem_type": problem_type,
        "input": kind,
        "labels": ["stars"] if problem_type == "regression" else list(LABELS),
        "golden": [{"text": text, **pair, GOLDEN_KEYS[problem_type]: placeholder} for text in ("x", "y")],  # type: ignore[index]
        "fidelity": LIMITS,
        "quantization": {"calibration_texts": 40},
    }
    spec = ModelSpec.model_validate(tiny_spec() | shape)
    rows = [
        answered(spec, text, scores)
        for text, scores in zip(inputs, source_scores(spec, checkpoint, inputs).tolist(), strict=True)
    ]
    # The surest of each answer, which quantization does not change.
    margins = source_scores(spec, checkpoint, inputs)
    sure = sorted(range(len(rows)), key=lambda index: -float(abs(margins[index] - 0.5).min()))[:2]
    files = write_model(own_root, **(shape | {"golden": [rows[index] for index in sure]}))
    files.checkpoint.symlink_to(checkpoint)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (files.folder / "test.jsonl").write_text(lines, encoding="utf-8")
    name = "calibration.txt" if kind == "text" else "calibration.jsonl"
    (files.folder / name).write_text("\n".join(texts) if kind == "text" else lines, encoding="utf-8")
    tests = {"tests": [{"name": "case", "kind": "invariance", "change": "upper case"}]}
    own = {"en": tests | {"texts": [list(text) if isinstance(text, tuple) else text for text in inputs[:5]]}}
    (files.folder / "behaviour.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    blocks = ("quality", "calibration", "fidelity", "behaviour")
    card = "".join(f"<!-- {block} --><!-- /{block} -->\n" for block in blocks)
    (files.folder / "README.md").write_text(card, encoding="utf-8")

    assert export.main(["tiny"]) == 0
    assert verify.main(["tiny"]) == 0, capsys.readouterr().err
    verified = capsys.readouterr().out
    assert "general English texts" not in verified
    evaluate.main(["tiny", "--against", "none"])
    report, spec = files.report(), files.spec()
    measured = report["quality"]["languages"]["mul"]
    main = {"label": "macro_f1", "labels": "micro_f1", "score": "rank_correlation"}[GOLDEN_KEYS[spec.problem_type]]
    assert measured[main] > 0.8
    assert report["verification"]["batches"]["labels_changed"] == 0 or problem_type == "regression"
    failed = [gate.name for gate in gates.check(report, spec) if not gate.holds]
    assert [name for name in failed if not name.startswith("invariance")] == []
    plots = {file.stem for file in (files.folder / "images").iterdir()} - {"quantization"}
    expected = {"label": {"confusion", "reliability"}, "labels": set(), "score": {"scatter"}}
    assert plots == expected[GOLDEN_KEYS[spec.problem_type]]
    assert f"{measured[main]:.3f}" in (files.folder / "README.md").read_text(encoding="utf-8")
    assert f"{measured[main]:.3f}" in (files.build / "report.html").read_text(encoding="utf-8")
    save_model(own_root / "store", "tiny", copy_project(own_root))
