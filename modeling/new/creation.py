"""Writes the ``model.yaml`` of a new model.

:mod:`~modeling.new.card` reads the card of its checkpoint, :mod:`~modeling.new.golden` proposes golden texts, and
:mod:`~modeling.new.document` writes the file.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeling import sources, tasks
from modeling.errors import ModelingError
from modeling.export import declared
from modeling.export.declared import Declared
from modeling.files import ROOT, ModelFiles
from modeling.new import card
from modeling.new.card import Card
from modeling.new.document import render
from modeling.spec import ModelSpec, Source
from textserve.spec import DEFAULT_THRESHOLD, GOLDEN_KEYS, SPEC_FILE, Graph, SpecError

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
GENERIC = re.compile(r"LABEL_\d+")
# A model with this label and one or two others says whether a second text follows from the first.
ENTAILMENT = "entailment"
INFERENCE_LABELS = 3
# With more labels than this, more texts lie between two of the labels.
MANY = 10
# Layers of fewer channels are not faster in INT8: each has a fixed cost.
MIN_WIDTH = 128
ANSWERS = {
    "single_label_classification": "One of {} labels",
    "multi_label_classification": "Any of {} labels",
    "regression": "A number",
}
WEIGHTS = ("*.safetensors", "*.bin")


def create(name: str, location: str, *, allow_pickle: bool = False, root: Path = ROOT) -> str:
    """Write ``models/NAME/model.yaml`` from the checkpoint at ``location``, and return a summary and the next steps.

    ``location`` is a folder, or ``ID`` or ``ID@REVISION`` on the hub. The checkpoint is copied to
    ``build/NAME/checkpoint``. Raises :class:`ModelingError` if the model exists, or the checkpoint cannot be fetched or
    served.
    """
    if not NAME.fullmatch(name):
        raise ModelingError(f"MODEL={name}: a name has 1 to 63 lower-case letters, digits, dots and hyphens")
    files = ModelFiles(root / "models" / name, root / "build" / name)
    if files.folder.exists():
        raise ModelingError(f"models/{name}: exists and is not overwritten; give another name, MODEL=…, or remove it")
    source = sources.locate(location)
    with tempfile.TemporaryDirectory() as temporary:
        sources.glance(source, Path(temporary))
        try:
            # Before fetching the weights, which takes minutes.
            declared.declared(Path(temporary))
        except ModelingError as error:
            raise ModelingError(str(error).replace(temporary, location)) from error
        text = Path(temporary) / sources.CARD_FILE
        found = card.read(text.read_text(encoding="utf-8", errors="replace") if text.exists() else "")
    section = sources.fetch(source, files.checkpoint, allow_pickle=allow_pickle)
    spec, text_of_spec = _describe(name, source, found, section["sha256"], files)
    _write(files, text_of_spec)
    files.add_to_report("source", section)
    return _summary(spec, source, allow_pickle=allow_pickle)


def _describe(
    name: str, source: Source, found: Card, digests: Mapping[str, str], files: ModelFiles
) -> tuple[ModelSpec, str]:
    # Imported here: torch takes seconds.
    from modeling.export.network import inspect
    from modeling.new import golden

    answers, network = declared.declared(files.checkpoint), inspect(files.checkpoint)
    comments: dict[str, str] = {}
    reads = _reads(answers, found, comments)
    labels, task = _labels(answers, reads, comments)
    pinned: dict[str, Any] = {"kind": source.kind, "repository": source.repository}
    if source.revision:
        pinned["revision"] = source.revision
    else:  # the files of a folder may change
        pinned["sha256"] = {file.name: digests[file.name] for mask in WEIGHTS for file in files.checkpoint.glob(mask)}
    if not found.languages:
        comments["languages"] = "the card names none: correct it"
    if found.license == card.UNKNOWN_LICENSE:
        comments["license"] = "the card names none: correct it"
    several = answers.problem_type == "multi_label_classification"
    inputs = {key: key for key in Graph.model_fields if key in network.inputs}
    content: dict[str, Any] = {
        "name": name,
        "description": _description(answers, reads, source),
        **({"task": task} if task else {}),
        "languages": found.languages or ["en"],
        "license": found.license,
        "architecture": answers.architecture,
        "source": pinned,
        "problem_type": answers.problem_type,
        "activation": answers.activation,
        **({"threshold": DEFAULT_THRESHOLD} if several else {}),
        "input": reads,
        "labels": labels,
        "tokenization": {
            "pad_id": network.pad_id,
            **({"padding_side": network.padding_side} if network.padding_side != "right" else {}),
            "max_tokens": network.max_tokens,
            **({"truncation": "longest_first"} if reads == "pair" else {}),
        },
        "graph": {"input_ids": "input_ids", "attention_mask": None, **inputs, "logits": "logits"},
        "export": {"opset": network.opset},
        **({"quantization": {"method": "none"}} if network.width < MIN_WIDTH else {}),
        "fidelity": _fidelity(len(labels), task),
    }
    comments |= _comments(source, len(labels))
    draft = _validated(content | {"golden": _placeholders(content)}, files.checkpoint)
    texts = [text for text in found.texts if isinstance(text, tuple) == (reads == "pair")]
    texts += golden.examples(draft.languages, reads)
    content["golden"] = golden.propose(draft, files.checkpoint, texts)
    comments["golden"] = "proposed by the model itself: look at them; checked at every start"
    if not several and len({text.get("label", "") for text in content["golden"]}) == 1 < len(labels):
        comments["golden"] += "; it gave all proposed texts one label: add a text with another label"
    spec = _validated(content, files.checkpoint)
    declared.check(spec, files.checkpoint)
    return spec, render(content, comments)


def _reads(answers: Declared, found: Card, comments: dict[str, str]) -> str:
    """``pair`` or ``text``; adds the reason to ``comments``."""
    lower = {label.lower() for label in answers.labels}
    if answers.is_cross_encoder:
        comments["input"] = "a cross-encoder of sentence-transformers; text if it reads one text"
    elif ENTAILMENT in lower and len(lower) <= INFERENCE_LABELS:
        comments["input"] = "by its labels: a premise and a hypothesis"
    elif found.reads_pairs:
        comments["input"] = "by its card; text if it reads one text"
    else:
        comments["input"] = "pair if it reads two texts"
        return "text"
    return "pair"


def _labels(answers: Declared, reads: str, comments: dict[str, str]) -> tuple[list[str | dict[str, str]], str | None]:
    """The section ``labels``, and the task that the labels belong to; adds to ``comments``."""
    is_plain = reads == "text" and answers.problem_type == "single_label_classification"
    if is_plain and (recognized := tasks.recognize(answers.labels)):
        task, labels = recognized
        comments["task"] = f"by its labels: texts and behavioural tests of {task}; remove this line for another task"
        return [*labels], task
    comments["labels"] = "in the order of the model's outputs"
    if answers.problem_type == "regression":
        comments["labels"] = "the name of the number"
    if generic := next((label for label in answers.labels if GENERIC.fullmatch(label)), None):
        comments["labels"] += f"; for a better name write {{name: {generic}, label: …}}"
    return list(answers.labels), None


def _description(answers: Declared, reads: str, source: Source) -> str:
    answer = ANSWERS[answers.problem_type].format(len(answers.labels))
    origin = source.repository if source.kind == "huggingface" else Path(source.repository).name
    return f"{answer} for a {'pair of texts' if reads == 'pair' else 'text'}, by {origin}."


def _fidelity(labels: int, task: str | None) -> dict[str, Any]:
    # A task has thousands of texts; the default limit applies.
    texts = {} if task else {"texts": 200}
    agreement = 0.97 if labels > MANY else 0.99
    return {**texts, "min_agreement": agreement, "min_speedup": 1.5}


def _comments(source: Source, labels: int) -> dict[str, str]:
    at = f"{source.repository}@{source.revision}" if source.revision else source.repository
    return {
        "": f"Written by make new from {at}. modeling/spec.py describes and validates every key.",
        "problem_type": "single_label_classification, multi_label_classification or regression",
        "threshold": "a label applies from this score on; {name: …, threshold: …} for one label",
        "tokenization.max_tokens": "the longest input; fewer save time and memory",
        "tokenization.truncation": "which text of a pair is cut; or only_first, only_second",
        "graph": "names in the ONNX file",
        "quantization.method": "its layers are too narrow to be faster in INT8",
        "fidelity": "limits for make verify",
        "fidelity.min_agreement": "with so many labels, more texts lie between two of them" if labels > MANY else "",
        "fidelity.min_speedup": "low, since the machine may be busy; verify prints the measured speed-up",
    }


def _placeholders(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Golden texts of the right form, for a spec that has none yet."""
    label = content["labels"][0]
    answers: dict[str, Any] = {"label": label if isinstance(label, str) else label["label"], "labels": [], "score": 0.0}
    key = GOLDEN_KEYS[content["problem_type"]]
    return [{"text": "a", **({"text_pair": "a"} if content["input"] == "pair" else {}), key: answers[key]}] * 2


def _validated(content: Mapping[str, Any], checkpoint: Path) -> ModelSpec:
    try:
        return ModelSpec.model_validate(content)
    except ValueError as error:
        raise ModelingError(f"{checkpoint}: cannot be described: {error}") from error


def _write(files: ModelFiles, text: str) -> None:
    """Write the spec into its folder, which appears with a valid file or not at all."""
    with tempfile.TemporaryDirectory(prefix="new-", dir=files.build) as temporary:
        folder = Path(temporary) / files.folder.name
        folder.mkdir()
        (folder / SPEC_FILE).write_text(text, encoding="utf-8")
        try:
            ModelSpec.load(folder)
        except SpecError as error:
            raise ModelingError(f"{files.folder / SPEC_FILE}: cannot be written: {error}") from error
        files.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, files.folder)


def _summary(spec: ModelSpec, source: Source, *, allow_pickle: bool) -> str:
    pickle = " ALLOW_PICKLE=1" if allow_pickle and source.kind == "folder" else ""
    tokens = f"{spec.architecture}, up to {spec.tokenization.max_tokens} tokens"
    return (
        f"models/{spec.name}/{SPEC_FILE}: {spec.description.rstrip('.')}; {tokens}\n"
        f"Look at its labels, languages, licence ({spec.license}) and {len(spec.golden)} golden texts, then run\n"
        f"    make model MODEL={spec.name}{pickle}\n"
        f"    make serve MODEL={spec.name}"
    )
