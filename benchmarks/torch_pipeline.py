"""``transformers.pipeline("text-classification")`` with PyTorch, float32, one thread, one text at a time.

    python -m benchmarks.torch_pipeline MODEL_FOLDER DATA_FOLDER --mix short --texts 300 --checkpoint FOLDER

Prints one JSON object: ``weights``, texts per second and CPU milliseconds per text. Without a checkpoint, the network
has the shape of the default model and random weights: wrong labels, same speed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from benchmarks import texts
from scripts.command import parser
from textserve.classifier import TOKENIZER_FILE
from textserve.spec import ModelSpec

WARM_UP_TEXTS = 16
# The default model, based on multilingual-e5-small; see its model card.
SHAPE = {"num_hidden_layers": 12, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}


def load(folder: Path, checkpoint: Path) -> tuple[Any, str]:
    """The pipeline, and the origin of its weights."""
    spec = ModelSpec.load(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER_FILE), model_max_length=spec.tokenization.max_tokens
    )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(spec.tokenization.pad_id)
    if checkpoint.is_dir():
        network, weights = AutoModelForSequenceClassification.from_pretrained(checkpoint), "of the checkpoint"
    else:
        config = BertConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=spec.tokenization.max_tokens,
            pad_token_id=spec.tokenization.pad_id,
            num_labels=len(spec.labels),
            **SHAPE,
        )
        network, weights = BertForSequenceClassification(config), "random, of the same shape"
    return pipeline("text-classification", model=network.float().eval(), tokenizer=tokenizer, device="cpu"), weights


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", type=Path, help="folder of the model")
    args.add_argument("data", type=Path, help="folder of the data packages")
    args.add_argument("--mix", choices=texts.MIXES, default="short")
    args.add_argument("--texts", type=int, default=300, help="number of texts")
    args.add_argument("--checkpoint", type=Path, required=True, help="folder of the checkpoint; may not exist")
    options = args.parse_args(arguments)
    torch.set_num_threads(1)
    loaded = texts.load(options.mix, options.data, options.model / TOKENIZER_FILE)
    classify, weights = load(options.model, options.checkpoint)
    for text in loaded[:WARM_UP_TEXTS]:
        classify(text, truncation=True)
    measured = loaded[: options.texts]
    used, start = time.process_time(), time.perf_counter()
    for text in measured:
        classify(text, truncation=True)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    speed = {"texts_per_second": len(measured) / seconds, "cpu_ms": used * 1000 / len(measured)}
    print(json.dumps({"weights": weights, **speed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
