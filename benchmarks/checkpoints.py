"""Makes random checkpoints of many architectures: small, seeded, with a tokenizer and answers that depend on the text.

The answers are nonsense, but computed as a trained network of the same architecture would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from textserve.spec import Input, ProblemType

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
PAD = SPECIAL.index("[PAD]")
MAX_TOKENS = 64
# Most words in a random text: more than MAX_TOKENS, so that some texts are truncated.
MOST_WORDS = 70
SEED = 4


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a network; its feed-forward layers have a width of four times ``hidden``."""

    hidden: int = 32
    layers: int = 2
    heads: int = 4
    words: int = 4000

    @property
    def spread(self) -> float:
        """Deviation of the weights: so large that answers depend much more on the words than on special tokens."""
        return float(1.1 / self.hidden**0.5)


TINY = Size()


@dataclass(frozen=True, slots=True)
class Template:
    """How a tokenizer joins texts, as templates of ``tokenizers``, and what it returns."""

    single: str = "[CLS] $A [SEP]"
    pair: str = "[CLS] $A [SEP] $B:1 [SEP]:1"
    type_ids: bool = False
    padding_side: str = "right"


BERT = Template(type_ids=True)
ROBERTA = Template(pair="[CLS] $A [SEP] [SEP] $B [SEP]")
XLNET = Template(single="$A [SEP] [CLS]:2", pair="$A [SEP] $B:1 [SEP]:1 [CLS]:2", type_ids=True, padding_side="left")
DECODER = Template(single="$A", pair="$A $B")


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture to test.

    Attributes:
        name: its usual name.
        config: name of the class of its configuration.
        options: options of the configuration for a size, besides the options that all architectures have.
        template: the template of its tokenizer.
        type_ids: whether its graph reads the tokenizer's type ids.
    """

    name: str
    config: str
    options: Callable[[Size], Mapping[str, Any]]
    template: Template = BERT
    type_ids: bool = False

    @property
    def network(self) -> str:
        """The name of the network's class."""
        return self.config.removesuffix("Config") + "ForSequenceClassification"


def _encoder(size: Size, **options: Any) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.hidden,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": size.spread,
    } | options


def _encoder_with(**options: Any) -> Callable[[Size], Mapping[str, Any]]:
    return lambda size: _encoder(size, **options)


# The positions of RoBERTa start after the id of the padding token.
_AFTER_PADDING = {"max_position_embeddings": MAX_TOKENS + PAD + 1, "type_vocab_size": 1}
# Fewer buckets and distances than the longest text has tokens, as in trained networks.
_RELATIVE = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "pooler_hidden_size": 32,
}
_BUCKETS = {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}


def _deberta(**options: Any) -> Callable[[Size], Mapping[str, Any]]:
    return lambda size: _encoder(size, **_RELATIVE | options | {"pooler_hidden_size": size.hidden})


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture("BERT", "BertConfig", _encoder, type_ids=True),
        Architecture(
            "DistilBERT",
            "DistilBertConfig",
            lambda size: {
                "dim": size.hidden,
                "n_layers": size.layers,
                "n_heads": size.heads,
                "hidden_dim": 4 * size.hidden,
                "max_position_embeddings": MAX_TOKENS,
                "initializer_range": size.spread,
            },
            Template(),
        ),
        Architecture("RoBERTa", "RobertaConfig", _encoder_with(**_AFTER_PADDING), ROBERTA),
        Architecture("XLM-RoBERTa", "XLMRobertaConfig", _encoder_with(**_AFTER_PADDING), ROBERTA),
        Architecture("CamemBERT", "CamembertConfig", _encoder_with(**_AFTER_PADDING), ROBERTA),
        Architecture(
            "ALBERT", "AlbertConfig", lambda size: _encoder(size, embedding_size=size.hidden // 2), type_ids=True
        ),
        Architecture(
            "ELECTRA", "ElectraConfig", lambda size: _encoder(size, embedding_size=size.hidden // 2), type_ids=True
        ),
        Architecture("MPNet", "MPNetConfig", _encoder_with(**_AFTER_PADDING), ROBERTA),
        Architecture(
            "MobileBERT",
            "MobileBertConfig",
            lambda size: _encoder(
                size,
                embedding_size=size.hidden // 2,
                intra_bottleneck_size=size.hidden // 2,
                # The network does not normalize, so that errors grow from layer to layer.
                initializer_range=size.spread / 2,
            ),
            type_ids=True,
        ),
        Architecture("DeBERTa", "DebertaConfig", _deberta(max_relative_positions=16)),
        Architecture("DeBERTa v2", "DebertaV2Config", _deberta(**_BUCKETS, conv_kernel_size=3)),
        Architecture("DeBERTa v3", "DebertaV2Config", _deberta(**_BUCKETS)),
        Architecture(
            "ModernBERT", "ModernBertConfig", _encoder_with(local_attention=8, global_attn_every_n_layers=2), Template()
        ),
        Architecture(
            "XLNet",
            "XLNetConfig",
            lambda size: {
                "d_model": size.hidden,
                "n_layer": size.layers,
                "n_head": size.heads,
                "d_inner": 4 * size.hidden,
                "initializer_range": size.spread,
            },
            XLNET,
            type_ids=True,
        ),
        Architecture(
            "GPT-2",
            "GPT2Config",
            lambda size: {
                "n_embd": size.hidden,
                "n_layer": size.layers,
                "n_head": size.heads,
                "n_positions": MAX_TOKENS,
                "initializer_range": size.spread,
            },
            DECODER,
        ),
        Architecture("Qwen2", "Qwen2Config", _encoder_with(num_key_value_heads=2), DECODER),
        Architecture("Qwen3", "Qwen3Config", _encoder_with(num_key_value_heads=2, head_dim=16), DECODER),
    )
}


def words(size: Size) -> list[str]:
    """The words of the vocabulary."""
    return [f"w{index}" for index in range(size.words)]


def texts(size: Size, count: int, seed: int = 0) -> list[str]:
    """Random texts of 1 to MOST_WORDS words."""
    random, known = np.random.default_rng(seed), words(size)
    return [" ".join(random.choice(known, size=random.integers(1, MOST_WORDS + 1))) for _ in range(count)]


def pairs(size: Size, count: int, seed: int = 0) -> list[Input]:
    """Random pairs of texts."""
    return list(zip(texts(size, count, seed), texts(size, count, seed + 1), strict=True))


def make(
    architecture: Architecture,
    folder: Path,
    inputs: Sequence[Input],
    size: Size = TINY,
    *,
    problem_type: ProblemType = "single_label_classification",
    labels: Sequence[str] = ("red", "green", "blue"),
    padding_side: str | None = None,
    pads: bool = True,
    tokenizer: Any = None,
) -> None:
    """Write a checkpoint to ``folder``, with a head that tells ``inputs`` apart.

    Args:
        architecture: the architecture of the network.
        folder: the folder to write to.
        inputs: texts, or pairs of texts.
        size: the size of the network.
        problem_type: the problem type in its configuration.
        labels: the names of its outputs.
        padding_side: the padding side of its tokenizer; default: the usual side for the architecture.
        pads: whether the tokenizer has a padding token.
        tokenizer: a tokenizer of ``transformers``; by default, each word of :func:`words` is a token.
    """
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = tokenizer or _tokenizer(architecture.template, size, padding_side, pads)
    config = getattr(transformers, architecture.config)(
        **architecture.options(size),
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
        problem_type=problem_type,
    )
    network = getattr(transformers, architecture.network)(config).eval()
    _spread(network, tokenizer, inputs)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(template: Template, size: Size, padding_side: str | None, pads: bool) -> Any:
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *words(size)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template.single, pair=template.pair, special_tokens=[(token, vocabulary[token]) for token in SPECIAL]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"pad_token": "[PAD]"} if pads else {},
        unk_token="[UNK]",  # noqa: S106  # no password
        bos_token="[CLS]",  # noqa: S106  # no password
        eos_token="[SEP]",  # noqa: S106  # no password
        model_max_length=MAX_TOKENS,
        padding_side=padding_side or template.padding_side,
        model_input_names=["input_ids", *(["token_type_ids"] if template.type_ids else []), "attention_mask"],
    )


def _spread(network: Any, tokenizer: Any, inputs: Sequence[Input]) -> None:
    """Set the weights of the head to what differs most between ``inputs``, with logits of mean 0."""
    head = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    read: list[torch.Tensor] = []
    # A head that answers for every token is read at the last token.
    hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0].reshape(-1, given[0].shape[-1])[-1]))
    with torch.no_grad():
        for text in inputs:
            network(**tokenizer(*([text] if isinstance(text, str) else text), return_tensors="pt", truncation=True))
        hook.remove()
        features = torch.stack(read)
        mean = features.mean(dim=0)
        # Remove the direction of the mean, because not every head has a bias that could do so.
        centred = features - torch.outer(features @ mean, mean) / mean.square().sum()
        weight = torch.linalg.svd(centred, full_matrices=False)[2][: len(head.weight)]
        head.weight.copy_(2 * weight / (features @ weight.T).std(dim=0)[:, None])
        if head.bias is not None:
            head.bias.zero_()
