from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from benchmarks import checkpoints
from benchmarks.checkpoints import ARCHITECTURES
from modeling.errors import ModelingError
from modeling.export.network import USUAL_TOKENS, inspect
from tests.tiny_checkpoints import MAX_TOKENS, SPECIAL_TOKENS

pytestmark = pytest.mark.export

TWO_INPUTS = ["input_ids", "attention_mask"]


@pytest.fixture
def changed(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """``changed(architecture, file, **content)``: a checkpoint with other values in a JSON file; None removes one."""

    def change(architecture: str, file: str, **content: Any) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(make_checkpoint(architecture), folder)
        found = json.loads((folder / file).read_text(encoding="utf-8")) | content
        found = {key: value for key, value in found.items() if value is not None}
        (folder / file).write_text(json.dumps(found), encoding="utf-8")
        return folder

    return change


@pytest.mark.parametrize("limit", [10**30, None])
@pytest.mark.parametrize(
    ("architecture", "inputs"),
    [("bert", [*TWO_INPUTS, "token_type_ids"]), ("distilbert", TWO_INPUTS), ("roberta", TWO_INPUTS)],
)
def test_inputs_and_the_longest_input_are_those_of_the_network(
    changed: Callable[..., Path], architecture: str, inputs: list[str], limit: int | None
) -> None:
    # The tokenizer has no limit, as many have none; RoBERTa has two more positions than it can use.
    found = inspect(changed(architecture, "tokenizer_config.json", model_max_length=limit))
    assert sorted(found.inputs) == sorted(inputs)
    assert (found.max_tokens, found.pad_id, found.padding_side) == (MAX_TOKENS, SPECIAL_TOKENS.index("<pad>"), "right")
    assert found.opset >= 18


def test_the_limit_of_the_tokenizer_counts_if_it_is_smaller(changed: Callable[..., Path]) -> None:
    assert inspect(changed("bert", "tokenizer_config.json", model_max_length=16)).max_tokens == 16


def test_a_tokenizer_that_is_not_fast_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed("bert", "tokenizer_config.json", tokenizer_class="CanineTokenizer")
    with pytest.raises(ModelingError, match=r"runs in Python only; a tokenizer\.json is required"):
        inspect(folder)


def test_without_a_padding_token_that_of_the_network_pads(changed: Callable[..., Path]) -> None:
    folder = changed("bert", "tokenizer_config.json", pad_token=None)
    (folder / "special_tokens_map.json").unlink()
    assert inspect(folder).pad_id == SPECIAL_TOKENS.index("<pad>")


@pytest.mark.parametrize("name", ["GPT-2", "Qwen3"])
def test_a_decoder_without_any_pads_with_the_end_of_a_text(tmp_path: Path, name: str) -> None:
    size = checkpoints.Size(words=40)
    checkpoints.make(ARCHITECTURES[name], tmp_path, checkpoints.texts(size, 20), size, pads=False)
    found = inspect(tmp_path)
    assert (found.pad_id, found.padding_side) == (checkpoints.SPECIAL.index("[SEP]"), "right")


def test_what_is_in_every_text_does_not_pad(changed: Callable[..., Path]) -> None:
    folder = changed("bert", "tokenizer_config.json", pad_token=None)
    (folder / "special_tokens_map.json").unlink()
    config = folder / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content | {"pad_token_id": None}), encoding="utf-8")
    with pytest.raises(ModelingError, match=r"no padding token.*; set pad_token in tokenizer_config\.json"):
        inspect(folder)


def test_a_network_that_reads_the_last_token_pads_on_the_left_and_needs_an_exporter(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_checkpoint("bert"))
    layers = {"d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 32, "initializer_range": 0.3}
    config = transformers.XLNetConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **layers)
    transformers.XLNetForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelingError, match="is a xlnet, which optimum cannot export"):
        inspect(tmp_path)
    monkeypatch.setattr("modeling.export.network._graph", lambda *_: (TWO_INPUTS, 18))
    found = inspect(tmp_path)
    assert (found.padding_side, found.max_tokens) == ("left", USUAL_TOKENS)


def test_code_in_a_checkpoint_is_not_run(changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks whether to run the code"))
    folder = changed("bert", "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    (folder / "own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(ModelingError):
        inspect(folder)
