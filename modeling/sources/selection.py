"""Selects the files of a checkpoint or tokenizer, and checks that they are complete."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError, safe_open

from modeling.errors import ModelingError

CONFIG_FILE = "config.json"
# PEFT writes it beside weights that only add to another model.
ADAPTER_FILE = "adapter_config.json"
# At least one of these has the vocabulary; *.model is SentencePiece's.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors")
PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")


def checkpoint_files(names: list[str], allow_pickle: bool) -> list[str]:
    """Configuration, tokenizer and weights, preferably safetensors; raises :class:`ModelingError` if any is missing."""
    check_checkpoint(names)
    weights, index = _matching(names, SAFETENSORS), INDEX_FILES[0]
    if not weights:
        weights, index = _matching(names, PICKLES), INDEX_FILES[1]
        if not weights:
            raise ModelingError("has no weights: neither model.safetensors nor pytorch_model.bin")
        if not allow_pickle:
            raise ModelingError(
                f"has its weights only as {weights[0]}, a pickle, which can execute code when opened. "
                "Convert it to safetensors (for a hub, huggingface.co/spaces/safetensors/convert opens a pull request "
                "whose commit can be pinned), or trust its author with --allow-pickle, ALLOW_PICKLE=1 of make"
            )
    return [*tokenizer_files(names), *weights, *_matching(names, (index,))]


def check_checkpoint(names: list[str]) -> None:
    """Raise a :class:`ModelingError` if these are the files of an adapter, or not of a checkpoint."""
    if ADAPTER_FILE in names:
        raise ModelingError(
            f"is an adapter of PEFT, by its {ADAPTER_FILE}, which only adds to another model. Merge them with peft, "
            "AutoPeftModelForSequenceClassification.from_pretrained(ADAPTER, num_labels=…).merge_and_unload()"
            ".save_pretrained(FOLDER), save the tokenizer there too, and give FOLDER"
        )
    if CONFIG_FILE not in names:
        raise ModelingError(f"is not a checkpoint: it has no {CONFIG_FILE}")


def tokenizer_files(names: list[str]) -> list[str]:
    """The tokenizer's files and the configuration; raises :class:`ModelingError` if there is no vocabulary."""
    if not _matching(names, VOCABULARIES):
        raise ModelingError("has no tokenizer: none of tokenizer.json, vocab.json, vocab.txt and *.model")
    return _matching(names, (CONFIG_FILE, *VOCABULARIES, *SETTINGS))


def check_complete(folder: Path) -> None:
    """Raise a :class:`ModelingError` if a safetensors file is damaged, or a file of an index is missing."""
    for index in (folder / name for name in INDEX_FILES if (folder / name).exists()):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelingError(f"{index.name}: is not an index of weight files") from error
        for name in sorted(shards):
            if not (folder / name).exists():
                raise ModelingError(f"{name}: is missing; {index.name} lists it")
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelingError(f"{file.name}: is truncated or damaged ({error}); fetch it again") from error


def _matching(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    # For fnmatch, * also stands for a folder.
    return [name for name in names if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)]
