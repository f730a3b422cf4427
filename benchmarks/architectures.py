"""Measure which architectures can be served: in INT8 or float, how exactly, and how fast.

    make architectures [ONLY="NAME …"]

For each architecture, a random checkpoint is exported and verified. Its answers are compared with those of the pipeline
of transformers on the same checkpoint, one text at a time; answers to a text alone with answers in random batches; and
its speed with that of the float32 graph. Random networks are small, so a speed-up says whether INT8 pays, not how much
it would gain for a large network. Takes about five minutes; needs no network connection.

Writes benchmarks/results/architectures.json, from which make docs-tables writes the table of docs/architectures.md.

Exit codes: 0 done.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import transformers
import yaml

from benchmarks import checkpoints, machine
from benchmarks.checkpoints import ARCHITECTURES, MAX_TOKENS, PAD, Architecture, Size
from modeling.errors import ModelingError
from modeling.export.checkpoint import source_scores
from modeling.export.export import export
from modeling.export.verification import likeness, verify
from modeling.files import ROOT, ModelFiles
from modeling.spec import ModelSpec
from scripts.command import command, parser
from textserve.classifier import Classifier
from textserve.prediction import Prediction
from textserve.spec import Input

RESULTS = ROOT / "benchmarks" / "results" / "architectures.json"
SIZE = Size(hidden=256, layers=3)
TEXTS = 80
NAME = "random"
Scores = npt.NDArray[np.float32]


def describe(
    root: Path, architecture: Architecture, checkpoint: Path, inputs: Sequence[Input], **sections: Any
) -> ModelFiles:
    """Write the spec of ``checkpoint`` below ``root``; its golden texts are the inputs that it answers most surely.

    ``sections`` are added to the spec, such as ``problem_type``; its labels must be those of the checkpoint.
    """
    content = {
        "name": NAME,
        "description": f"A random {architecture.name}.",
        "languages": ["en"],
        "license": "CC0-1.0",
        "architecture": architecture.network,
        "source": {"kind": "training", "repository": NAME},
        "input": "text" if isinstance(inputs[0], str) else "pair",
        "labels": ["red", "green", "blue"],
        "tokenization": {
            "pad_id": PAD,
            "max_tokens": MAX_TOKENS,
            # XLNet reads the last position; decoders read the last token, on whichever side the padding is.
            "padding_side": "left" if architecture.name == "XLNet" else "right",
        },
        "graph": {"token_type_ids": "token_type_ids" if architecture.type_ids else None},
        "fidelity": {"texts": 10, "min_agreement": 0.9, "min_speedup": 0},
    } | sections
    text, *pair = [inputs[0]] if isinstance(inputs[0], str) else inputs[0]
    first = {"text": text, **({"text_pair": pair[0]} if pair else {})}
    answers = {"single_label_classification": {"label": content["labels"][0]}, "regression": {"score": 0.0}}
    answer = answers.get(content.get("problem_type", "single_label_classification"), {"labels": []})
    draft = ModelSpec.model_validate(content | {"golden": [first | answer] * 2})
    content["golden"] = _golden(draft, inputs, source_scores(draft, checkpoint, inputs))
    folder = root / "models" / content["name"]
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return ModelFiles.of(content["name"], root)


def _golden(spec: ModelSpec, inputs: Sequence[Input], scores: Scores) -> list[dict[str, Any]]:
    """The two inputs with the surest answers that differ."""
    single = spec.problem_type == "single_label_classification"
    sureness = scores.max(axis=1) if single else np.abs(scores - (0 if spec.activation == "none" else 0.5)).min(axis=1)
    found: dict[str, dict[str, Any]] = {}
    for index in np.argsort(-sureness, kind="stable"):
        prediction = Prediction(spec, scores[index].tolist(), tokens=0, truncated=False)
        answer: dict[str, Any] = {"label": prediction.label}
        if spec.problem_type == "regression":
            answer = {"score": round(prediction.score, 2), "tolerance": 0.3}
        elif not single:
            answer = {"labels": prediction.labels}
        given = inputs[index]
        texts = {"text": given} if isinstance(given, str) else {"text": given[0], "text_pair": given[1]}
        found.setdefault(json.dumps(answer), texts | answer)
    return list(found.values())[:2]


def pipeline_scores(checkpoint: Path, inputs: Sequence[Input], labels: Sequence[str]) -> Scores:
    """Scores by the ``text-classification`` pipeline of transformers, one input at a time, ``[inputs, labels]``."""
    pipeline = transformers.pipeline("text-classification", model=str(checkpoint), top_k=None, device="cpu")
    rows = []
    for given in inputs:
        text = given if isinstance(given, str) else {"text": given[0], "text_pair": given[1]}
        (answer,) = pipeline([text], truncation=True, max_length=MAX_TOKENS)
        scores = {entry["label"]: entry["score"] for entry in answer}
        rows.append([scores[label] for label in labels])
    return np.array(rows, dtype=np.float32)


def measure(architecture: Architecture, root: Path, size: Size = SIZE, count: int = TEXTS) -> dict[str, Any]:
    """A row of the table: how ``architecture`` is served, or why it is not; files are written below ``root``."""
    checkpoint, inputs = root / "checkpoint", checkpoints.texts(size, count)
    row: dict[str, Any] = {"architecture": architecture.name, "network": architecture.network}
    checkpoints.make(architecture, checkpoint, inputs, size)
    files = describe(root, architecture, checkpoint, inputs)
    try:
        exported = export(files, checkpoint, inputs[: count // 2])
        verified = verify(files, checkpoint, inputs)
    except ModelingError as error:
        return row | {"refused": str(error).replace(str(checkpoint), "checkpoint")}
    spec = files.spec()
    expected = pipeline_scores(checkpoint, inputs, spec.label_names)
    found = Classifier(files.folder).predict_many(inputs)
    return row | {
        "served": "float32" if "float_reason" in exported else "INT8",
        "float_reason": exported.get("float_reason"),
        "linears": len(exported.get("quantization", {}).get("linears", [])),
        **likeness(spec, expected, found),
        "largest_difference": float(np.abs(found - expected).max()),
        "largest_difference_in_batches": verified["batches"]["largest_difference"],
        "speedup": verified["speedup"],
    }


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=list(ARCHITECTURES), metavar="NAME")
    only = options.parse_args(arguments).only
    transformers.logging.set_verbosity_error()
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if only and RESULTS.exists() else []
    rows = {row["architecture"]: row for row in before}
    for name in only or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as root:
            rows[name] = measure(ARCHITECTURES[name], Path(root))
        print(json.dumps(rows[name]), flush=True)
    report = {
        "machine": machine.describe(),
        "versions": {
            name: version
            for name, version in machine.versions(ROOT / ".venv-export").items()
            if name in ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")
        },
        "size": {"hidden": SIZE.hidden, "layers": SIZE.layers, "texts": TEXTS},
        "rows": [rows[name] for name in ARCHITECTURES if name in rows],
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
