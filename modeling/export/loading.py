"""Loads the tokenizer and the network of a checkpoint, whichever version of transformers saved it; never its code.

optimum requires version 4, which does not know, or expects elsewhere, some of what version 5 writes: a tokenizer class
that stands for ``tokenizer.json`` as it is; extra special tokens as a list; and the parameters of rotary positions,
without which a network would load but answer differently. What cannot be translated raises an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

from modeling.errors import ModelingError

# The kinds of rotary positions whose parameters have the same names in both versions.
SAME_ROTARY = ("default", "linear", "llama3", "yarn")
# Rotary parameters that version 4 expects at the top level of the configuration.
MOVED = ("rope_theta", "partial_rotary_factor")
FULL, SLIDING = "full_attention", "sliding_attention"
EXPORT_IT = "export it to ONNX with that version, and serve the file: kind: onnx"


def load_tokenizer(folder: str | Path) -> Any:
    """The checkpoint's own tokenizer, without its code; raises :class:`ModelingError` if it is not a fast tokenizer.

    ``folder`` may also be an id on the hub.
    """
    try:
        tokenizer = _tokenizer(folder)
    except Exception as error:  # transformers raises anything on damaged files
        raise ModelingError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelingError(f"{folder}: its tokenizer runs in Python only; a tokenizer.json is required")
    return tokenizer


def _tokenizer(folder: str | Path) -> Any:
    settings = get_tokenizer_config(folder)
    name = str(settings.get("tokenizer_class") or "")
    known = tokenizer_class_from_name(f"{name.removesuffix('Fast')}Fast") or tokenizer_class_from_name(name)
    options: dict[str, Any] = {}
    if isinstance(settings.get("extra_special_tokens"), list):  # a mapping in version 4
        options = {"extra_special_tokens": {}, "additional_special_tokens": settings["extra_special_tokens"]}
    is_version_5 = settings.get("backend") == "tokenizers"
    if "auto_map" in settings or not (is_version_5 or (name and known is None)):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    # As saved: a class of version 4 would change its tokens. Defaults come from that class, or from version 5.
    options["model_input_names"] = settings.get("model_input_names") or getattr(
        known, "model_input_names", ["input_ids", "attention_mask"]
    )
    options["padding_side"] = settings.get("padding_side") or getattr(known, "padding_side", "right")
    with _quiet():
        return PreTrainedTokenizerFast.from_pretrained(folder, **options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warning that the tokenizer has another class."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def load_config(folder: str | Path, **values: Any) -> Any:
    """The configuration of the checkpoint's network, in which ``values`` replace its own.

    Raises what transformers raises, or :class:`ModelingError` if only a later version can read it. ``folder`` may also
    be an id on the hub.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **values)
    try:
        translated = _rotary(config)
        if getattr(config, "use_bidirectional_attention", None) and "use_bidirectional_attention" not in _known(config):
            raise _Unknown("use_bidirectional_attention")
    except _Unknown as error:
        raise ModelingError(
            f"{folder}: transformers {transformers.__version__} cannot read {error} of the {config.model_type} in its "
            f"config.json, which version {config.transformers_version} wrote; {EXPORT_IT}"
        ) from error
    for key, value in translated.items():
        setattr(config, key, value)
    return config


class _Unknown(Exception):
    """The key of a configuration that version 4 cannot read."""


def _known(config: Any) -> Mapping[str, Any]:
    """The keys that version 4 knows for a configuration of this class, with their defaults."""
    return dict(type(config)().to_dict())


def _rotary(config: Any) -> dict[str, Any]:
    """The rotary parameters of ``config`` under the keys of version 4; empty if none need translation."""
    found, known = getattr(config, "rope_parameters", None), _known(config)
    if not found or "rope_parameters" in known:
        return {}
    if config.model_type == "modernbert":
        return _modernbert(config, found)
    moved = {key: found[key] for key in MOVED if key in found}
    kind, own_names = found.get("rope_type"), "rotary_emb_base" in known
    readable = set(moved) <= set(known) or moved.get("partial_rotary_factor") == 1.0
    if kind not in SAME_ROTARY or "rope_theta" not in {*moved} & {*known} or own_names or not readable:
        raise _Unknown("rope_parameters")
    scaling = {key: value for key, value in found.items() if key not in MOVED}
    return moved | {"rope_scaling": None if kind == "default" else scaling}


def _modernbert(config: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys for ModernBERT: every n-th layer reads the whole text, and each kind of layer has its own base."""
    kinds = config.layer_types
    every = next(
        (n for n in range(1, len(kinds) + 1) if kinds == [SLIDING if i % n else FULL for i in range(len(kinds))]), 0
    )
    if not every:
        raise _Unknown("layer_types")
    if any(found.get(kind, {}).get("rope_type") != "default" for kind in set(kinds)):
        raise _Unknown("rope_parameters")
    bases = {kind: found[kind]["rope_theta"] for kind in set(kinds)}
    return {
        "global_attn_every_n_layers": every,
        "global_rope_theta": bases[FULL],
        "local_rope_theta": bases.get(SLIDING),
    }


def load_network(folder: Path, **options: Any) -> Any:
    """The checkpoint's network in float32; raises :class:`ModelingError` if it, or any of its weights, is missing."""
    try:
        network, loading = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=load_config(folder),
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **options,
        )
    except ModelingError:
        raise
    except Exception as error:  # transformers raises anything on damaged files
        raise ModelingError(f"{folder}: its network cannot be loaded: {first_line(error)}") from error
    if missing := sorted(loading["missing_keys"]):
        raise ModelingError(f"{folder}: has no weights for {missing[0]}; random weights would answer")
    return network.eval()


def first_line(error: Exception) -> str:
    """The first line of the error's message, or the name of its class if it has none."""
    return str(error).strip().split("\n")[0] or type(error).__name__
