"""A pytest plugin: the spec of a tiny model, random checkpoints, and stand-ins for the data packages."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modeling.files import ROOT, ModelFiles
from modeling.tasks.sentiment import dataset

TORCH = importlib.util.find_spec("torch") is not None
if TORCH:
    # These tests need no hub. Hugging Face's libraries read this on import.
    os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Ignore tests that import torch where it is not installed: pytest imports even the tests that it deselects."""
    if TORCH or collection_path.suffix != ".py":
        return None
    return True if "pytest.mark.export" in collection_path.read_text(encoding="utf-8") else None


# Warnings of libraries about their own code.
EXPORT_WARNINGS = [
    # optimum chooses the TorchScript exporter
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning",
    # that exporter calls its own deprecated functions
    "ignore:The feature will be removed:DeprecationWarning",
    # transformers branches on shapes while it is traced; the tests check the result
    "ignore::torch.jit.TracerWarning",
    # what that exporter cannot fold or is careful about; export checks the graph
    "ignore:Constant folding:UserWarning",
    "ignore:Exporting aten..index operator:UserWarning",
    # DeBERTa's and ModernBERT's code
    "ignore:.torch.jit.script:DeprecationWarning",
    # MLflow queries its database in a way that SQLAlchemy deprecates
    "ignore:The ``noload`` loader strategy:DeprecationWarning",
    # MLflow compares pandas' columns with a range
    "ignore:Operation with range is deprecated:DeprecationWarning",
]

LABELS = ("negative", "neutral", "positive")
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
HIDDEN = 64
# Checkpoints as other libraries, and other versions of these libraries, have saved them.
SAVED = ROOT / "tests" / "fixtures"
MAX_TOKENS = 32


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("export"):
        for warning in EXPORT_WARNINGS:
            item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture
def spec_content() -> dict[str, Any]:
    """A valid ``model.yaml`` for the checkpoints of ``make_checkpoint("bert")``, with limits for tiny models."""
    return tiny_spec()


@pytest.fixture(scope="session")
def write_model() -> Callable[..., ModelFiles]:
    """``write_model(root, **sections)``: write only the spec of a model named ``tiny`` below ``root``."""

    def write(root: Path, **sections: Any) -> ModelFiles:
        folder = root / "models" / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.yaml").write_text(yaml.safe_dump(tiny_spec() | sections), encoding="utf-8")
        return ModelFiles.of("tiny", root)

    return write


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the scripts look for models, instead of the project's root."""
    of = ModelFiles.of
    monkeypatch.setattr(ModelFiles, "of", lambda name, root=tmp_path: of(name, root))
    return tmp_path


@pytest.fixture(scope="session")
def copy_project() -> Callable[[Path], Path]:
    """``copy_project(root)``: copy the scripts and all that they import, without models."""

    def copy(root: Path) -> Path:
        for name in ("scripts", "modeling", "release", "textserve"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        return root

    return copy


def tiny_spec() -> dict[str, Any]:
    return {
        "name": "tiny",
        "description": "A model for tests.",
        "task": "sentiment",
        "languages": ["en", "pl"],
        "license": "MIT",
        "architecture": "BertForSequenceClassification",
        "source": {"kind": "training", "repository": "tests/tiny"},
        "labels": [{"name": name, "label": name} for name in LABELS],
        "tokenization": {"pad_id": SPECIAL_TOKENS.index("<pad>"), "max_tokens": MAX_TOKENS},
        "graph": {"token_type_ids": "token_type_ids"},
        "fidelity": {"texts": 50, "min_agreement": 0.95, "max_f1_loss": 0.05, "min_speedup": 0.0},
        "golden": [{"text": f"a {name} text", "label": name} for name in LABELS],
    }


@pytest.fixture(scope="session")
def words() -> list[str]:
    """The vocabulary of the random checkpoints."""
    return [f"{start}{vowel}{end}" for start in "bdfgklmnprstwz" for vowel in "aeiou" for end in ("", "l", "n")]


@pytest.fixture(scope="session")
def texts(words: list[str]) -> list[str]:
    """Random texts of 2 to 19 words."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(words, size=random.integers(2, 20))) for _ in range(160)]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Callable[..., Path]:
    """``make_checkpoint(architecture, *, outlier=0.0, rows=None, seed=4)``: a folder with a tiny random checkpoint.

    ``architecture`` is ``bert``, ``distilbert`` or ``roberta``. ``outlier`` is the size of a planted outlier channel
    (BERT only). ``rows`` makes the embedding table larger than the tokenizer needs.
    """

    def make(architecture: str, *, outlier: float = 0.0, rows: int | None = None, seed: int = 4) -> Path:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        model = random_network(architecture, rows or len(SPECIAL_TOKENS) + len(words))
        linears = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
        ids = torch.randint(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(words), (64, 12))
        with torch.no_grad():
            attend(linears)
            if outlier:
                _plant(model.bert, outlier)
            # Spread and centre the logits, so that every label occurs.
            head, logits = list(linears.values())[-1], model(ids).logits
            head.weight.div_(logits.std(dim=0).mean())
            head.bias.copy_(-logits.mean(dim=0) / logits.std(dim=0).mean())
        folder = tmp_path_factory.mktemp(architecture)
        model.save_pretrained(folder)
        word_tokenizer(words).save_pretrained(folder)
        return folder

    return make


def attend(linears: Mapping[str, Any]) -> None:
    """Let the first token, the only one that the head reads, depend on the words more than on itself."""
    for name, layer in linears.items():
        if name.endswith(("self.value", "attention.output.dense", "attention.v_lin", "attention.out_lin")):
            layer.weight.mul_(3)


def _plant(encoder: Any, size: float) -> None:
    """Lift channel 5 of the first layer's input, and subtract it in every layer that reads it: no answer changes."""
    attention = encoder.encoder.layer[0].attention
    encoder.embeddings.LayerNorm.bias[5] += size
    for layer in (attention.self.query, attention.self.key, attention.self.value):
        layer.bias.sub_(size * layer.weight[:, 5])
    attention.output.dense.bias[5] -= size


def random_network(architecture: str, rows: int, **answers: Any) -> Any:
    """A random network with three labels, or other ``answers``, as in its configuration."""
    import transformers

    common: dict[str, Any] = {
        "vocab_size": rows,
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
        "initializer_range": 0.1,
        "id2label": dict(enumerate(LABELS)),
        **answers,
    }
    common["label2id"] = {name: index for index, name in common["id2label"].items()}
    layers = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * HIDDEN}
    if architecture == "bert":
        bert = transformers.BertConfig(**common, **layers, max_position_embeddings=MAX_TOKENS)
        return transformers.BertForSequenceClassification(bert).eval()
    if architecture == "roberta":  # its positions start above the padding id
        roberta = transformers.RobertaConfig(
            **common, **layers, max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1
        )
        return transformers.RobertaForSequenceClassification(roberta).eval()
    distilbert = transformers.DistilBertConfig(
        **common, dim=HIDDEN, n_layers=2, n_heads=4, hidden_dim=2 * HIDDEN, max_position_embeddings=MAX_TOKENS
    )
    return transformers.DistilBertForSequenceClassification(distilbert).eval()


def word_tokenizer(words: list[str], *, with_types: bool = False) -> Any:
    """A fast tokenizer of whole words, which gives the second text of a pair its own type if ``with_types``."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1" if with_types else "<s> $A </s> $B </s>",
        special_tokens=[(token, vocabulary[token]) for token in ("<s>", "</s>")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL_TOKENS, strict=True)),
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if with_types else [])],
    )


@pytest.fixture
def write_data(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``write_data(folder, ratings)``: a stand-in for the data package, accepted by ``fetch``.

    ``ratings`` has the lines of each file of the ratings archive by short name.
    """

    def write(folder: Path, ratings: Mapping[str, bytes]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        names = dataset.DOMAINS.values()
        inner = _tar({f"hutto_ICWSM_2014/{name}_GroundTruth.txt": ratings.get(name, b"") for name in names})
        (folder / dataset.VADER_FILE).write_bytes(_tar({dataset.RATINGS_ARCHIVE: inner}))
        packages = {
            name: (requirement, hashlib.sha256((folder / name).read_bytes()).hexdigest())
            for name, (requirement, _) in dataset.PACKAGES.items()
        }
        monkeypatch.setattr(dataset, "PACKAGES", packages)
        return folder

    return write


def _tar(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
