from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import transformers

from modeling.errors import ModelingError
from modeling.export.loading import load_config, load_network, load_tokenizer
from modeling.recipes import full
from tests.tiny_checkpoints import LABELS, SAVED

pytestmark = pytest.mark.export

VERSION_5 = SAVED / "transformers5"
ANSWERS = json.loads((VERSION_5 / "answers.json").read_text(encoding="utf-8"))
VOCABULARIES = SAVED / "sentencepiece"


def answers(network: Any, tokenizer: Any, texts: list[str]) -> list[list[float]]:
    with torch.inference_mode():
        return [network(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]


@pytest.mark.parametrize("name", ANSWERS)
def test_what_transformers_5_saved_answers_as_it_does_there(name: str) -> None:
    texts, expected = list(ANSWERS[name]), list(ANSWERS[name].values())
    network = load_network(VERSION_5 / name)
    assert network.dtype == torch.float32
    np.testing.assert_allclose(answers(network, load_tokenizer(VERSION_5 / name), texts), expected, atol=1e-4)
    assert np.std(expected, axis=0).min() > 0.02


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_training_starts_from_what_transformers_5_saved(tmp_path: Path, name: str) -> None:
    labels = list(LABELS)
    tokenizer, network = full.load(VERSION_5 / name, labels)
    expected = answers(network.eval(), tokenizer, list(ANSWERS[name]))
    np.testing.assert_allclose(expected, list(ANSWERS[name].values()), atol=1e-4)
    full.save(network, tokenizer, tmp_path, {})
    saved = load_network(tmp_path)
    assert list(saved.config.id2label.values()) == labels
    np.testing.assert_allclose(answers(saved, load_tokenizer(tmp_path), list(ANSWERS[name])), expected, atol=1e-5)


def test_extra_special_tokens_stay_whole() -> None:
    tokenizer = load_tokenizer(VERSION_5 / "bert")
    assert tokenizer.additional_special_tokens == ["[USER]"]
    assert tokenizer.tokenize("the [USER] wins") == ["the", "[USER]", "wins"]


def changed(folder: Path, to: Path, file: str, **content: Any) -> Path:
    """A copy of ``folder`` with other values in a JSON file."""
    shutil.copytree(folder, to)
    found = json.loads((to / file).read_text(encoding="utf-8"))
    (to / file).write_text(json.dumps(found | content), encoding="utf-8")
    return to


ROTARY = {"rope_type": "default", "rope_theta": 50.0}
OF_MODERNBERT = {"full_attention": ROTARY, "sliding_attention": ROTARY}


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("qwen3", {"rope_parameters": ROTARY | {"rope_type": "longrope"}}, "rope_parameters"),
        ("qwen3", {"rope_parameters": ROTARY | {"partial_rotary_factor": 0.5}}, "rope_parameters"),
        ("qwen3", {"rope_parameters": {"full_attention": ROTARY}}, "rope_parameters"),
        ("qwen3", {"model_type": "gpt_neox"}, "rope_parameters"),
        ("qwen3", {"model_type": "gemma", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("modernbert", {"layer_types": ["sliding_attention", "full_attention"]}, "layer_types"),
        (
            "modernbert",
            {"rope_parameters": OF_MODERNBERT | {"full_attention": ROTARY | {"rope_type": "yarn", "factor": 2.0}}},
            "rope_parameters",
        ),
    ],
)
def test_what_only_transformers_5_can_compute_is_refused_by_name(
    tmp_path: Path, name: str, content: dict[str, Any], key: str
) -> None:
    folder = changed(VERSION_5 / name, tmp_path / name, "config.json", **content)
    with pytest.raises(ModelingError, match=rf"cannot read {key} of .* in its config\.json, which version 5\.24\.0"):
        load_network(folder)


@pytest.mark.parametrize(
    ("layers", "every"),
    [
        ("F", 1),
        ("FF", 1),
        ("FS", 2),
        ("FSS", 3),
        ("FSSFSSF", 3),
    ],
)
def test_layers_that_read_the_whole_text_are_counted(tmp_path: Path, layers: str, every: int) -> None:
    kinds = [{"F": "full_attention", "S": "sliding_attention"}[letter] for letter in layers]
    folder = changed(VERSION_5 / "modernbert", tmp_path / "m", "config.json", layer_types=kinds)
    assert load_config(folder).global_attn_every_n_layers == every


def test_scaled_rotary_positions_are_read(tmp_path: Path) -> None:
    scaled = ROTARY | {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 8}
    config = load_config(changed(VERSION_5 / "qwen3", tmp_path / "q", "config.json", rope_parameters=scaled))
    assert config.rope_theta == 50.0
    assert config.rope_scaling == {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 8}


def test_a_class_that_no_version_knows_is_that_of_its_file(tmp_path: Path) -> None:
    folder = changed(
        VERSION_5 / "modernbert", tmp_path / "own", "tokenizer_config.json", tokenizer_class="OwnTokenizer"
    )
    (text, *_) = ANSWERS["modernbert"]
    assert load_tokenizer(folder)(text).data == load_tokenizer(VERSION_5 / "modernbert")(text).data


@pytest.mark.parametrize("code", [["own.Tokenizer", "own.Tokenizer"], {"AutoTokenizer": ["own.Tokenizer", None]}])
def test_a_tokenizer_that_needs_its_own_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Any
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks whether to run the code"))
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": code}
    folder = changed(VERSION_5 / "modernbert", tmp_path / "own", "tokenizer_config.json", **own)
    (folder / "own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(ModelingError, match="its tokenizer cannot be loaded"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("config", "file", "special"),
    [
        ("DebertaV2Config", "spm.model", {"offset": 0, "start": 2, "end": 3}),
        # Its ids come after one more special token than SentencePiece has.
        ("XLMRobertaConfig", "sentencepiece.bpe.model", {"offset": 1, "start": 0, "end": 2}),
    ],
)
def test_a_vocabulary_of_sentencepiece_needs_no_tokenizer_json(
    tmp_path: Path, config: str, file: str, special: dict[str, int]
) -> None:
    shutil.copyfile(VOCABULARIES / file, tmp_path / file)
    getattr(transformers, config)(vocab_size=48).save_pretrained(tmp_path)
    vocabulary = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / file))
    tokenizer = load_tokenizer(tmp_path)
    for text in ("The bank falls today.", "The storm wins again. The sun waits here."):
        ids = [index + special["offset"] for index in vocabulary.encode(text)]
        assert tokenizer(text)["input_ids"] == [special["start"], *ids, special["end"]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_several_files_is_read_whole_and_in_float32(
    make_checkpoint: Callable[..., Path], tmp_path: Path, texts: list[str], dtype: torch.dtype
) -> None:
    checkpoint = make_checkpoint("bert")
    expected = load_network(checkpoint)
    load_network(checkpoint).to(dtype).save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    found, tokenizer = load_network(tmp_path), load_tokenizer(checkpoint)
    assert found.dtype == torch.float32
    for name, weight in found.named_parameters():
        assert torch.equal(weight, expected.get_parameter(name).to(dtype).float()), name
    some = texts[:5]
    np.testing.assert_allclose(answers(found, tokenizer, some), answers(expected, tokenizer, some), atol=0.1)
