"""What a spec must say of a checkpoint's network beside its answers: inputs, opset, longest input, padding."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch

from modeling.errors import ModelingError
from modeling.export.loading import load_network, load_tokenizer
from modeling.spec import Export
from textserve.spec import Graph

# For a tokenizer and a network without a limit, as with relative positions.
USUAL_TOKENS = 512
LONGEST = 8192
# A tokenizer without a limit has a larger number instead.
NO_LIMIT = 10**6
# Embeddings of positions in transformers; wpe is that of GPT-2.
POSITION_TABLES = ("position_embeddings", "wpe")
PADDING = 3
A_TEXT = "a few words"


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its tokenizer.

    Attributes:
        inputs: names of the inputs of its graph.
        opset: the opset of its graph.
        max_tokens: its longest input, special tokens included.
        pad_id: the token id that pads.
        padding_side: the side on which padding changes the answer less.
        width: the number of channels of its layers.
    """

    inputs: list[str]
    opset: int
    max_tokens: int
    pad_id: int
    padding_side: Literal["right", "left"]
    width: int


def inspect(checkpoint: Path) -> Network:
    """The network in the folder ``checkpoint``; raises :class:`ModelingError` if it cannot be exported or served."""
    tokenizer = load_tokenizer(checkpoint)
    network = load_network(checkpoint)
    pad_id = _pad_id(network, tokenizer)
    if pad_id is None:
        raise ModelingError(
            f"{checkpoint}: its tokenizer has no padding token, and neither it nor config.json names another token "
            "that no text has; set pad_token in tokenizer_config.json, and pad_token_id in config.json"
        )
    inputs, opset = _graph(network, checkpoint)
    side = _padding_side(network, tokenizer, pad_id)
    width = int(network.config.hidden_size)
    return Network(inputs, opset, _max_tokens(network, tokenizer), pad_id, side, width)


def _pad_id(network: Any, tokenizer: Any) -> int | None:
    """The padding token of the tokenizer, else of the network, else (if made for generation) the end-of-text token.

    No text may contain it: a network such as GPT-2 reads its answer from the last token that is not padding.
    """
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    if (declared := getattr(network.config, "pad_token_id", None)) is not None:
        return int(declared)
    in_texts, end = tokenizer(A_TEXT)["input_ids"], tokenizer.eos_token_id
    if end is None or end in in_texts:
        return None
    network.config.pad_token_id = int(end)
    return int(end)


def _graph(network: Any, checkpoint: Path) -> tuple[list[str], int]:
    # optimum takes seconds to import; its first module registers the architectures.
    import_module("optimum.exporters.onnx.model_configs")
    from optimum.exporters.tasks import TasksManager

    kind = network.config.model_type
    try:
        config = TasksManager.get_exporter_config_constructor(
            exporter="onnx", task="text-classification", model_type=kind, library_name="transformers"
        )(network.config)
    except (KeyError, ValueError) as error:
        raise ModelingError(
            f"{checkpoint}: is a {kind}, which optimum cannot export to ONNX; choose another architecture, or export "
            "it yourself and serve the file: kind: onnx"
        ) from error
    inputs = list(config.ordered_inputs(network))
    if unknown := sorted(set(inputs) - set(Graph.model_fields)):
        raise ModelingError(f"{checkpoint}: is a {kind}, whose graph has the input {unknown[0]}, which is not served")
    return inputs, max(Export().opset, config.DEFAULT_ONNX_OPSET)


def _max_tokens(network: Any, tokenizer: Any) -> int:
    """The smaller limit of tokenizer and network, at most LONGEST; USUAL_TOKENS if neither has a limit."""
    positions = getattr(network.config, "max_position_embeddings", None) or 0
    tables = (table for name, table in network.named_modules() if name.endswith(POSITION_TABLES))
    table = next((table for table in tables if isinstance(table, torch.nn.Embedding)), None)
    if table is not None:
        # Positions start after the padding's index, as in RoBERTa.
        positions = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    limits = [limit for limit in (positions, tokenizer.model_max_length) if 0 < limit < NO_LIMIT]
    return min(*limits, LONGEST) if limits else USUAL_TOKENS


def _padding_side(network: Any, tokenizer: Any, pad_id: int) -> Literal["right", "left"]:
    """The side on which padding changes the answer less; right if both are equal."""
    ids = tokenizer(A_TEXT)["input_ids"]
    padding = [pad_id] * PADDING
    rows = {"alone": (ids, [1] * len(ids)), "right": (ids + padding, [1] * len(ids) + [0] * PADDING)}
    rows["left"] = (padding + ids, [0] * PADDING + [1] * len(ids))
    answers = {}
    for side, (row, mask) in rows.items():
        with torch.inference_mode():
            answers[side] = network(torch.tensor([row]), attention_mask=torch.tensor([mask])).logits.float()
    right, left = (round(float((answers[side] - answers["alone"]).abs().max()), 3) for side in ("right", "left"))
    return "left" if left < right else "right"
