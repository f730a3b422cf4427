"""A Hugging Face checkpoint: exporting it to ONNX, and running it with PyTorch to compare with."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from optimum.exporters.onnx import onnx_export_from_model
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scripts.pipeline.files import ScriptError
from sentiment.spec import ModelSpec

BATCH = 32


def require_checkpoint(folder: Path) -> None:
    """Refuse a folder without a checkpoint.

    Raises:
        ScriptError: saying what to do.
    """
    if not (folder / "config.json").is_file():
        raise ScriptError(f"{folder} holds no checkpoint; train one, or name another folder with --checkpoint")


def check_labels(spec: ModelSpec, folder: Path) -> None:
    """Compare the checkpoint's ``id2label`` with the spec's labels.

    Raises:
        ScriptError: with both, if they differ.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = {int(index): name for index, name in config.get("id2label", {}).items()}
    wanted = dict(enumerate(label.name for label in spec.labels))
    if found != wanted:
        raise ScriptError(f"{folder / 'config.json'}: id2label is {found}, the spec's labels are {wanted}")


def export_float(spec: ModelSpec, checkpoint: Path, model: Path, tokenizer: Path) -> None:
    """Write ``checkpoint`` as a float32 ONNX graph to ``model`` and its tokenizer to ``tokenizer``.

    Raises:
        ScriptError: if the folder holds no checkpoint, or its labels are not the spec's.
    """
    require_checkpoint(checkpoint)
    check_labels(spec, checkpoint)
    # Eager attention becomes a plain graph; the fused kind leaves computations of its constant scale in it.
    network = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(
            network.eval(),
            output=folder,
            task="text-classification",
            opset=spec.export.opset,
            do_validation=False,
            preprocessors=[AutoTokenizer.from_pretrained(checkpoint)],
        )
        shutil.copyfile(Path(folder) / "model.onnx", model)
        shutil.copyfile(Path(folder) / "tokenizer.json", tokenizer)


def torch_probabilities(checkpoint: Path, texts: Sequence[str], max_tokens: int) -> npt.NDArray[np.float32]:
    """Probabilities by PyTorch in float32 with the checkpoint's own tokenizer, shape ``[len(texts), labels]``."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    rows: dict[int, npt.NDArray[np.float32]] = {}
    for start in tqdm(range(0, len(order), BATCH), desc="PyTorch", unit="batch"):
        places = order[start : start + BATCH]
        batch = tokenizer(
            [texts[place] for place in places],
            truncation=True,
            max_length=max_tokens,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            probabilities = model(**batch).logits.softmax(dim=-1).numpy()
        rows.update(zip(places, probabilities, strict=True))
    return np.stack([rows[place] for place in range(len(texts))])
