"""What came from the source, a checkpoint or a ready ONNX file: exported in float32, and asked for its answers."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from optimum.exporters.onnx import onnx_export_from_model
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modeling.errors import ModelingError
from modeling.export import ready_onnx
from modeling.spec import ModelSpec

BATCH = 32
# A table is made longer than its vocabulary, to a multiple of 64 or so, and by tokens that were never used; no
# published encoder has more of those.
SPARE_ROWS = 1024


def require_checkpoint(spec: ModelSpec, folder: Path) -> None:
    """Refuse a folder without what the spec's kind of source brings.

    Raises:
        ModelingError: saying what to do.
    """
    what, name = ("ONNX file", spec.source.onnx_file) if spec.source.kind == "onnx" else ("checkpoint", "config.json")
    if not (folder / name).is_file():
        do = "train one" if spec.source.kind == "training" else f"python -m scripts.download {spec.name} fetches it"
        raise ModelingError(f"{folder} holds no {what}; {do}, or name another folder with --checkpoint")


def check_labels(spec: ModelSpec, folder: Path) -> None:
    """Compare the checkpoint's ``id2label`` with the spec's labels.

    Raises:
        ModelingError: with both, if they differ.
    """
    found = {int(index): name for index, name in _config(folder).get("id2label", {}).items()}
    wanted = dict(enumerate(label.name for label in spec.labels))
    if found != wanted:
        raise ModelingError(f"{folder / 'config.json'}: id2label is {found}, the spec's labels are {wanted}")


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's own tokenizer, as transformers reads it.

    Raises:
        ModelingError: if there is none, or none that the ``tokenizers`` library can run, which is all that serves.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # whatever a damaged file causes in transformers
        raise ModelingError(f"{folder}: its tokenizer cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelingError(f"{folder}: its tokenizer runs in Python only; one that has a tokenizer.json is needed")
    return tokenizer


def check_tokenizer(spec: ModelSpec, folder: Path) -> None:
    """Look for signs that the tokenizer in ``folder`` is another model's than the network beside it.

    Raises:
        ModelingError: if it pads with another id than the spec or the network, has other ids for the start and the end
            of a text than the network, or has more tokens, or far fewer, than the network has embeddings.
    """
    tokenizer, ready = load_tokenizer(folder), spec.source.kind == "onnx"
    # Beside a ready ONNX file there is the configuration of the tokenizer's own model.
    config = {} if ready else _config(folder)
    rows = ready_onnx.token_rows(spec, folder / spec.source.onnx_file) if ready else config.get("vocab_size")
    found = []
    if tokenizer.pad_token_id != spec.tokenization.pad_id:
        found.append(f"it pads with {tokenizer.pad_token_id}, tokenization.pad_id is {spec.tokenization.pad_id}")
    for token in ("pad", "bos", "eos"):
        has, wants = getattr(tokenizer, f"{token}_token_id"), config.get(f"{token}_token_id")
        if has is not None and wants is not None and has != wants:
            found.append(f"its {token} token is {has}, the network's {wants}")
    if rows is not None and not 0 <= rows - len(tokenizer) <= SPARE_ROWS:
        found.append(f"it has {len(tokenizer)} tokens, the network has embeddings for {rows}")
    if found:
        raise ModelingError(f"{folder}: the tokenizer is another model's: {'; '.join(found)}")


def export_float(spec: ModelSpec, checkpoint: Path, model: Path, tokenizer: Path) -> None:
    """Write ``checkpoint`` as a float32 ONNX graph to ``model`` and its tokenizer to ``tokenizer``.

    Raises:
        ModelingError: if the folder holds nothing that can be loaded, or its labels are not the spec's.
    """
    require_checkpoint(spec, checkpoint)
    if spec.source.kind == "onnx":
        ready_onnx.upgrade(spec, checkpoint / spec.source.onnx_file, model)
        load_tokenizer(checkpoint).backend_tokenizer.save(str(tokenizer))
        return
    check_labels(spec, checkpoint)
    # Eager attention becomes a plain graph; the fused kind leaves computations of its constant scale in it.
    network = _network(checkpoint, attn_implementation="eager")
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(
            network,
            output=folder,
            task="text-classification",
            opset=spec.export.opset,
            do_validation=False,
            preprocessors=[load_tokenizer(checkpoint)],
        )
        shutil.copyfile(Path(folder) / "model.onnx", model)
        shutil.copyfile(Path(folder) / "tokenizer.json", tokenizer)


def token_ids(checkpoint: Path, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Ids of each text by the checkpoint's own tokenizer, special tokens included, ``max_tokens`` at most."""
    encoded = load_tokenizer(checkpoint)(list(texts), truncation=True, max_length=max_tokens)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def source_probabilities(spec: ModelSpec, checkpoint: Path, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """What the source answers, shape ``[len(texts), labels]``: PyTorch in float32, or the ready ONNX file itself."""
    if spec.source.kind != "onnx":
        return torch_probabilities(checkpoint, texts, spec.tokenization.max_tokens)
    ids = token_ids(checkpoint, texts, spec.tokenization.max_tokens)
    return ready_onnx.probabilities(spec, checkpoint / spec.source.onnx_file, ids)


def torch_probabilities(checkpoint: Path, texts: Sequence[str], max_tokens: int) -> npt.NDArray[np.float32]:
    """Probabilities by PyTorch in float32 with the checkpoint's own tokenizer, shape ``[len(texts), labels]``."""
    tokenizer, model = load_tokenizer(checkpoint), _network(checkpoint)
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


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelingError(f"{folder / 'config.json'}: cannot be read: {error}") from error
    return config


def _network(folder: Path, **options: Any) -> Any:
    try:
        return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **options).eval()
    except Exception as error:  # whatever a damaged file causes in transformers
        raise ModelingError(f"{folder}: its network cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
