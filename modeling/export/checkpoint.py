"""The source of a model, a checkpoint or a ready ONNX file: its checks, its float32 export and its answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import version_converter

from modeling.errors import ModelingError
from modeling.export import declared
from modeling.export.declared import read_config
from modeling.export.loading import first_line, load_network, load_tokenizer
from modeling.files import ModelFiles, replacing, sha256
from modeling.progress import Progress
from modeling.spec import ModelSpec
from textserve import spec as serving
from textserve.classifier import (
    BATCH_TEXTS,
    Encoding,
    activate,
    batch_feeds,
    golden_problems,
    length_batches,
)
from textserve.graph import open_session
from textserve.spec import Input

# The most unused rows of an embedding table in published encoders, from padding (often to a multiple of 64) and spares.
SPARE_ROWS = 1024
# Maximum difference between logits of PyTorch and ONNX Runtime in float32, relative to the largest logit.
GRAPH_TOLERANCE = 1e-3
PADDING_ADVICE = (
    "try the other tokenization.padding_side, or graph.attention_mask: null, with which only texts of equal length "
    "share a batch"
)


def check_source(files: ModelFiles, checkpoint: Path) -> dict[str, Any]:
    """Check that ``checkpoint`` is complete, unchanged since the download, and has the right tokenizer.

    Returns its provenance: the section ``source`` of the report if the files match it, otherwise (from training, or
    copied by hand) its kind, repository and the SHA-256 of each file. Raises :class:`ModelingError` naming the file.
    """
    spec = files.spec()
    source, own = spec.source, spec.source.kind == "training"
    kind, name = ("ONNX file", source.onnx_file) if source.kind == "onnx" else ("checkpoint", "config.json")
    if not (checkpoint / name).is_file():
        fix = "train one" if own else f"run python -m scripts.download {spec.name}"
        raise ModelingError(f"{checkpoint} has no {kind}; {fix}, or give another folder with --checkpoint")
    recorded = files.report().get("source")
    # A ready ONNX file may be in a subfolder.
    names = {file.name for file in checkpoint.iterdir()} | (recorded or {}).get("sha256", source.sha256).keys()
    found = {name: sha256(checkpoint / name) for name in sorted(names) if (checkpoint / name).is_file()}
    changed = [name for name, digest in recorded["sha256"].items() if found.get(name) != digest] if recorded else []
    # Training writes into the same folder; any other folder is the user's choice.
    if changed and not own and checkpoint == files.checkpoint:
        raise ModelingError(
            f"{checkpoint / changed[0]}: is not the downloaded file; run python -m scripts.download {spec.name} again"
        )
    _check_tokenizer(spec, checkpoint)
    if recorded and not changed:
        return dict(recorded)
    return {"kind": "training" if own else "folder", "repository": source.repository, "sha256": found}


def _check_tokenizer(spec: ModelSpec, folder: Path) -> None:
    """Compare special ids and the number of tokens with those of the spec and of the network."""
    tokenizer, ready = load_tokenizer(folder), spec.source.kind == "onnx"
    # The config beside a ready ONNX file is that of the tokenizer's own model.
    config = {} if ready else read_config(folder)
    rows = _token_rows(spec, folder / spec.source.onnx_file) if ready else config.get("vocab_size")
    problems = []
    # Networks made for generation have no padding token: any token that no text contains will do.
    pad = config.get("pad_token_id") if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if pad is not None and pad != spec.tokenization.pad_id:
        problems.append(f"it pads with {pad}, tokenization.pad_id is {spec.tokenization.pad_id}")
    for token in ("pad", "bos", "eos"):
        has, wants = getattr(tokenizer, f"{token}_token_id"), config.get(f"{token}_token_id")
        if has is not None and wants is not None and has != wants:
            problems.append(f"its {token} token is {has}, the network's {wants}")
    if rows is not None and not 0 <= rows - len(tokenizer) <= SPARE_ROWS:
        problems.append(f"it has {len(tokenizer)} tokens, the network has embeddings for {rows}")
    if problems:
        raise ModelingError(f"{folder}: the tokenizer is another model's: {'; '.join(problems)}")


def check_golden(spec: ModelSpec, checkpoint: Path) -> None:
    """Raise a :class:`ModelingError` if the source contradicts the spec, or answers a golden text differently."""
    if spec.source.kind != "onnx":
        declared.check(spec, checkpoint)
    if wrong := golden_problems(spec, source_scores(spec, checkpoint, [golden.input for golden in spec.golden])):
        raise ModelingError(
            f"{spec.name}: answered by {checkpoint}, {'; '.join(wrong)}; choose other texts, or correct the answers"
        )


def check_inputs(spec: ModelSpec, model: Path) -> None:
    """Raise a :class:`ModelingError` if the inputs of the graph are not those of the spec's ``graph`` section."""
    found = [declared.name for declared in onnx.load(model, load_external_data=False).graph.input]
    graph = spec.graph
    named = {
        "input_ids": graph.input_ids,
        "attention_mask": graph.attention_mask,
        "token_type_ids": graph.token_type_ids,
    }
    if missing := sorted(set(found) - set(named.values())):
        raise ModelingError(
            f"{spec.name}: the network has the input {missing[0]}; add to the graph section of model.yaml: "
            f"{missing[0] if missing[0] in named else 'the key for it'}: {missing[0]}"
        )
    for key, name in named.items():
        if name and name not in found:
            raise ModelingError(
                f"{spec.name}: graph.{key} is {name}, the network's inputs are {', '.join(found)}; set it to "
                f"{'null' if key != 'input_ids' else 'one of them'} in model.yaml"
            )


def export_float(spec: ModelSpec, checkpoint: Path, model: Path, tokenizer: Path) -> None:
    """Write ``checkpoint`` as float32 graph and tokenizer; raises :class:`ModelingError` if that is not possible."""
    if spec.source.kind == "onnx":
        with replacing(model) as new:
            _upgrade(spec, checkpoint / spec.source.onnx_file, new)
        _save_tokenizer(checkpoint, tokenizer)
        return
    # Eager attention exports as a plain graph; fused attention leaves the computation of its constant scale in it.
    network = _padding(spec, load_network(checkpoint, attn_implementation="eager"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            _export(spec, network, folder)
        except Exception as error:  # optimum and torch raise anything
            raise ModelingError(
                f"{checkpoint}: a {spec.architecture} cannot be exported at opset {spec.export.opset}: "
                f"{first_line(error)}"
            ) from error
        with replacing(model) as new:
            shutil.copyfile(Path(folder) / "model.onnx", new)
    _save_tokenizer(checkpoint, tokenizer)


def _save_tokenizer(checkpoint: Path, to: Path) -> None:
    with replacing(to) as new:
        load_tokenizer(checkpoint).backend_tokenizer.save(str(new))


def _export(spec: ModelSpec, network: Any, folder: str) -> None:
    # optimum takes seconds to import, and only the export needs it.
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.onnx.model_configs import BertOnnxConfig, DistilBertOnnxConfig
    from optimum.exporters.tasks import TasksManager

    options = {"task": "text-classification", "opset": spec.export.opset, "do_validation": False}
    try:
        TasksManager.get_supported_tasks_for_model_type(network.config.model_type, "onnx", library_name="transformers")
    except KeyError:
        # optimum does not know the architecture, such as XLNet; most have the inputs of BERT or DistilBERT.
        kind = BertOnnxConfig if spec.graph.token_type_ids else DistilBertOnnxConfig
        options["custom_onnx_configs"] = {"model": kind(network.config, task="text-classification")}
    onnx_export_from_model(network, output=folder, **options)


def check_graph(spec: ModelSpec, checkpoint: Path, model: Path) -> None:
    """Raise a :class:`ModelingError` if the exported graph does not answer like the checkpoint, alone and in a batch.

    An export traces the network with one text; its length, or the number of texts, may have become a constant.
    """
    texts = [_repeated(golden.input, times) for golden in spec.golden[:4] for times in (1, 2, 7)]
    encodings, session = tokenized(spec, checkpoint, texts), open_session(model)
    # Without a mask, only texts of the same length share a batch.
    batch = list(range(len(texts))) if spec.graph.attention_mask else [0] * 3
    what = f"{checkpoint}: a {spec.architecture} cannot be served"
    try:
        alone = np.concatenate([session.run([spec.graph.logits], batch_feeds(spec, [text]))[0] for text in encodings])
        together = session.run([spec.graph.logits], batch_feeds(spec, [encodings[index] for index in batch]))[0]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelingError(f"{what}: its graph does not run on every text: {first_line(error)}") from error
    differences = np.abs(alone - torch_logits(spec, checkpoint, texts)).max(axis=1)
    if not differences.max() <= GRAPH_TOLERANCE * max(1.0, float(np.abs(alone).max())):
        tokens = len(encodings[int(differences.argmax())].ids)
        raise ModelingError(
            f"{what}: on a text of {tokens} tokens its graph differs from the checkpoint by {differences.max():.2g}"
        )
    change = np.abs(activate(spec.activation, together) - activate(spec.activation, alone[batch])).max()
    if not change <= spec.fidelity.max_batch_difference:
        raise ModelingError(
            f"{what} in batches: padding changes a score by {change:.1e}, fidelity.max_batch_difference is "
            f"{spec.fidelity.max_batch_difference:g}; {PADDING_ADVICE}"
        )


def _repeated(text: Input, times: int) -> Input:
    if isinstance(text, str):
        return " ".join([text] * times)
    return " ".join([text[0]] * times), " ".join([text[1]] * times)


def tokenized(spec: serving.ModelSpec, checkpoint: Path, texts: Sequence[Input]) -> list[Encoding]:
    """The encoding of each text, or pair, by the checkpoint's own tokenizer, as the spec truncates it."""
    found = _call(spec, load_tokenizer(checkpoint), texts, return_token_type_ids=True)
    with_types = spec.graph.token_type_ids is not None
    return [
        Encoding(ids, truncated=False, type_ids=type_ids if with_types else None)
        for ids, type_ids in zip(found["input_ids"], found["token_type_ids"], strict=True)
    ]


def _call(spec: serving.ModelSpec, tokenizer: Any, texts: Sequence[Input], **options: Any) -> Any:
    columns = [list(texts)] if spec.input == "text" else [list(column) for column in zip(*texts, strict=True)]
    strategy = spec.tokenization.truncation
    return tokenizer(*columns, truncation=strategy, max_length=spec.tokenization.max_tokens, **options)


def source_scores(spec: ModelSpec, checkpoint: Path, texts: Sequence[Input]) -> npt.NDArray[np.float32]:
    """Scores by the source, ``[len(texts), labels]``; raises :class:`ModelingError` if it does not run."""
    if spec.source.kind != "onnx":
        return activate(spec.activation, torch_logits(spec, checkpoint, texts))
    # Text by text, with the file before its conversion.
    encodings = Progress(tokenized(spec, checkpoint, texts), desc="source", unit="text")
    file = checkpoint / spec.source.onnx_file
    try:
        session = open_session(file)
        rows = [session.run([spec.graph.logits], batch_feeds(spec, [encoding]))[0] for encoding in encodings]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelingError(f"{file}: does not run with the names of the spec's graph section: {error}") from error
    return activate(spec.activation, np.concatenate(rows))


def torch_logits(spec: serving.ModelSpec, checkpoint: Path, texts: Sequence[Input]) -> npt.NDArray[np.float32]:
    """Logits by PyTorch in float32 with the checkpoint's own tokenizer, shape ``[len(texts), labels]``.

    Only texts of equal length share a batch, since padding changes the answers of some networks.
    """
    inputs, network = _call(spec, load_tokenizer(checkpoint), texts), _padding(spec, load_network(checkpoint))
    rows: dict[int, npt.NDArray[np.float32]] = {}
    batches = list(length_batches([len(ids) for ids in inputs["input_ids"]], BATCH_TEXTS, equal=True))
    for indices in Progress(batches, desc="PyTorch", unit="batch"):
        tensors = {key: torch.tensor([values[index] for index in indices]) for key, values in inputs.items()}
        with torch.inference_mode():
            rows.update(zip(indices, network(**tensors).logits.float().numpy(), strict=True))
    return np.stack([rows[index] for index in range(len(texts))])


def run_network(
    network: Callable[[Any], torch.Tensor],
    tokenizer: Any,
    texts: Sequence[str],
    max_tokens: int,
    batch_texts: int = BATCH_TEXTS,
) -> npt.NDArray[np.float32]:
    """The rows that ``network`` returns for the tensors of each batch of ``texts``, in the order of ``texts``."""
    rows: dict[int, npt.NDArray[np.float32]] = {}
    for indices in Progress(
        list(length_batches([len(text) for text in texts], batch_texts)), desc="PyTorch", unit="batch"
    ):
        batch = [texts[index] for index in indices]
        inputs = tokenizer(batch, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        with torch.inference_mode():
            rows.update(zip(indices, network(inputs).float().numpy(), strict=True))
    return np.stack([rows[index] for index in range(len(texts))])


def _padding(spec: serving.ModelSpec, network: Any) -> Any:
    """``network``, with the spec's padding token if it has none: GPT-2 needs it to find a text's last token."""
    if getattr(network.config, "pad_token_id", None) is None:
        network.config.pad_token_id = spec.tokenization.pad_id
    return network


def _upgrade(spec: ModelSpec, file: Path, to: Path) -> None:
    """Write the graph of ``file`` to ``to`` at the opset of the spec, or at its own if that is higher."""
    try:
        model = onnx.load(file)
        (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        if opset < spec.export.opset:
            model = version_converter.convert_version(model, spec.export.opset)
        onnx.save(model, to)
    except Exception as error:  # protobuf and the converter raise anything
        raise ModelingError(
            f"{file}: cannot be converted to opset {spec.export.opset}: {first_line(error)}; lower export.opset in "
            "the spec (quantization needs at least 10)"
        ) from error


def _token_rows(spec: ModelSpec, file: Path) -> int | None:
    """Rows of the token embedding table; None if the graph does not look it up with ``Gather``."""
    graph = onnx.load(file).graph
    shapes = {constant.name: constant.dims for constant in graph.initializer}
    ids = {spec.graph.input_ids}
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in ids:
            ids.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in ids and node.input[0] in shapes:
            return int(shapes[node.input[0]][0])
    return None
