"""Tiny random models that fit the specs in ``models/`` and pass their golden texts.

Architecture, kind of vocabulary, padding id, names and order of labels, longest input and repository files are those of
the real model; the encoder is random, and the head is fitted to the golden texts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.implementations import ByteLevelBPETokenizer

from modeling.spec import ModelSpec

MAX_TOKENS = 512
HIDDEN = 64
VOCABULARY = 400
# RoBERTa's positions start after the id of the padding.
POSITIONS_BEFORE = 2


def texts_like(spec: ModelSpec, count: int = 120) -> list[str]:
    """Random texts of the words of the golden texts."""
    words = [word for golden in spec.golden for word in golden.text.split()]
    draw = random.Random(0)
    return [" ".join(draw.choices(words, k=draw.randint(2, 14))) for _ in range(count)]


def herbert(spec: ModelSpec, folder: Path) -> None:
    """BERT with HerBERT's tokenizer: BPE with an end of word, id 1 pads."""
    tokens = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))  # noqa: S106  # no password
    tokens.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.decoder = decoders.BPEDecoder(suffix="</w>")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    tokens.train_from_iterator(texts_like(spec), trainer)
    tokens.post_processor = processors.BertProcessing(sep=("</s>", 2), cls=("<s>", 0))
    tokenizer = transformers.HerbertTokenizerFast(tokenizer_object=tokens, model_max_length=MAX_TOKENS)
    network = transformers.BertForSequenceClassification(
        transformers.BertConfig(**_common(spec, len(tokenizer)), **_LAYERS, max_position_embeddings=MAX_TOKENS)
    )
    _fit(network, tokenizer, spec)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def roberta(spec: ModelSpec, folder: Path) -> None:
    """RoBERTa as in 2022: weights as a pickle, and of the tokenizer the vocabulary and the merges only."""
    network = _roberta(spec, folder)[1]
    # Not by save_pretrained, which writes safetensors, and not the fast tokenizer's own file.
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    network.config.architectures = ["RobertaForSequenceClassification"]
    network.config.save_pretrained(folder)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")


def roberta_without_mask(spec: ModelSpec, folder: Path) -> None:
    """A ready ONNX file of opset 9 with the one input ``input``; the tokenizer is in another repository."""
    tokenizer, network = _roberta(spec, folder)
    for file in list(folder.iterdir()):
        file.unlink()

    ids = torch.tensor(tokenizer([spec.golden[0].text])["input_ids"])
    torch.onnx.export(
        _Unmasked(network).eval(),
        (ids,),
        str(folder / spec.source.onnx_file),
        input_names=[spec.graph.input_ids],
        output_names=[spec.graph.logits],
        dynamic_axes={spec.graph.input_ids: {0: "batch", 1: "tokens"}, spec.graph.logits: {0: "batch"}},
        opset_version=9,
        dynamo=False,
    )


def roberta_base(spec: ModelSpec, folder: Path) -> None:
    """The repository that the tokenizer of :func:`roberta_without_mask` comes from."""
    tokenizer, network = _roberta(spec, folder)
    network.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def distilbert(spec: ModelSpec, folder: Path) -> None:
    """DistilBERT with lower-case WordPiece; of the tokenizer there is the list of words only."""
    tokens = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  # no password
    tokens.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens.train_from_iterator(
        texts_like(spec),
        trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False),
    )
    tokens.model.save(str(folder))
    settings = {"do_lower_case": True, "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = transformers.DistilBertTokenizerFast(vocab_file=str(folder / "vocab.txt"), **settings)
    layers = {"dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 2 * HIDDEN}
    network = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(**_common(spec, len(tokenizer)), **layers, max_position_embeddings=MAX_TOKENS)
    )
    _fit(network, tokenizer, spec)
    network.save_pretrained(folder)


MAKERS: dict[str, Callable[[ModelSpec, Path], None]] = {
    "twitter-sentiment-pl-base": herbert,
    "twitter-roberta-base-sentiment-latest": roberta,
    "roberta-sequence-classification-9": roberta_without_mask,
    "distilbert-base-uncased-finetuned-sst-2-english": distilbert,
}

_LAYERS: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 2 * HIDDEN,
}


class _Unmasked(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """RoBERTa with ``input_ids`` only; positions are computed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor) -> Any:
        positions = (torch.arange(ids.shape[1]) + POSITIONS_BEFORE).unsqueeze(0)
        encoder = self.network.roberta
        return self.network.classifier(encoder(ids, token_type_ids=torch.zeros_like(ids), position_ids=positions)[0])


def _common(spec: ModelSpec, tokens: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(4)
    names = [label.name for label in spec.labels]
    return {
        "vocab_size": tokens,
        "pad_token_id": spec.tokenization.pad_id,
        "initializer_range": 0.1,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def _roberta(spec: ModelSpec, folder: Path) -> tuple[Any, Any]:
    """Tokenizer (its vocabulary and merges in ``folder``) and network."""
    tokens = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens.train_from_iterator(texts_like(spec), vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokens.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast(
        vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"), model_max_length=MAX_TOKENS
    )
    network = transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(
            **_common(spec, len(tokenizer)),
            **_LAYERS,
            max_position_embeddings=MAX_TOKENS + POSITIONS_BEFORE,
            type_vocab_size=1,
            attn_implementation="eager",  # the fused kind cannot be exported at opset 9
        )
    )
    _fit(network, tokenizer, spec)
    return tokenizer, network


def _fit(network: Any, tokenizer: Any, spec: ModelSpec) -> None:
    """Fit the last layer to the golden texts by least squares on its inputs."""
    network.eval()
    linears = {name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)}
    head = list(linears.values())[-1]
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    with torch.no_grad():
        for name, layer in linears.items():
            # The head reads the first token: make it attend more to the words.
            if name.endswith(("self.value", "attention.output.dense", "attention.v_lin", "attention.out_lin")):
                layer.weight.mul_(3)
        for text in [*(golden.text for golden in spec.golden), *texts_like(spec)]:
            network(**tokenizer([text], return_tensors="pt", return_token_type_ids=False))
    hook.remove()
    features = np.concatenate([features.reshape(-1, HIDDEN).numpy() for features in read]).astype(np.float64)
    centre = features[len(spec.golden) :].mean(axis=0)
    indices = [spec.label_names.index(str(golden.label)) for golden in spec.golden]
    wanted = np.eye(len(spec.labels))[indices] - 1 / len(spec.labels)
    weight = 6 * (np.linalg.pinv(features[: len(spec.golden)] - centre) @ wanted).T
    with torch.no_grad():
        head.weight.copy_(torch.tensor(weight))
        head.bias.copy_(torch.tensor(-weight @ centre))
