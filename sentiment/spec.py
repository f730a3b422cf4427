"""``model.yaml``: the one place for what is known of a model, and its validation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

SPEC_FILE = "model.yaml"
# Where a stored model keeps the files of models/NAME: BentoML writes a model.yaml of its own beside it.
STORED_FOLDER = "files"

Meaning = Literal["negative", "neutral", "positive"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SpecError(ValueError):
    """A ``model.yaml`` that cannot be used. The message names the file, the key and what is wanted, a line each."""


def is_path(repository: str) -> bool:
    """Whether ``repository`` names a folder rather than an id on a hub, where either may stand."""
    return repository.startswith(("/", "./", "../", "~"))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerSource(_Section):
    """Where the tokenizer of a ready ONNX file comes from."""

    repository: str = Field(description="Id on the hub, or a folder: a path that starts with / ./ ../ or ~.")
    revision: Commit | None = Field(None, description="The commit to take from the hub.")

    @model_validator(mode="after")
    def _pinned(self) -> TokenizerSource:
        if self.revision is None and not is_path(self.repository):
            raise ValueError("revision: a tokenizer from the hub needs the 40 hexadecimal digits of its commit")
        return self


class Source(_Section):
    """Where the weights come from, exactly. Paths are relative to the project's root."""

    kind: Literal["huggingface", "folder", "mlflow", "onnx", "training"] = Field(
        description="A checkpoint on a Hugging Face hub, in a folder, or in MLflow; a ready ONNX file, with its "
        "tokenizer; or the outcome of scripts/train.py."
    )
    repository: str = Field(
        description="Id on the hub; folder; MLflow URI (models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/PATH); for "
        "a ready ONNX file an id, or a folder if it starts with / ./ ../ or ~; of the checkpoint that training "
        "starts from."
    )
    revision: Commit | None = Field(None, description="The commit to take; a branch moves, so none is accepted.")
    sha256: dict[str, Sha256] = Field(default_factory=dict, description="Digest of each file that is known of.")
    tokenizer: TokenizerSource | None = Field(
        None, description="Of a ready ONNX file; without it the tokenizer's files are those beside the ONNX file."
    )

    @property
    def onnx_file(self) -> str:
        """Name of the ready ONNX file; only for the kind ``onnx``."""
        (name,) = (name for name in self.sha256 if name.endswith(".onnx"))
        return name

    @model_validator(mode="after")
    def _pinned(self) -> Source:
        if self.kind == "huggingface" and self.revision is None:
            raise ValueError("revision: a Hugging Face model needs the 40 hexadecimal digits of its commit")
        if self.kind == "onnx" and sum(name.endswith(".onnx") for name in self.sha256) != 1:
            raise ValueError("sha256: a ready ONNX file needs the digest of the file, under its name, NAME.onnx")
        if self.kind != "onnx" and self.tokenizer is not None:
            raise ValueError("tokenizer: only a ready ONNX file has its tokenizer elsewhere")
        return self


class Label(_Section):
    """One output of the model: its name in the checkpoint, and what it means."""

    name: str = Field(description="As the checkpoint's id2label has it, such as LABEL_0 or POSITIVE.")
    meaning: Meaning


class Tokenization(_Section):
    """What the tokenizer file does not say by itself."""

    pad_id: int = Field(ge=0, description="Token id that fills up the shorter texts of a batch.")
    max_tokens: int = Field(ge=4, le=8192, description="Longest input that the model reads, special tokens included.")


class Graph(_Section):
    """Names in the ONNX graph. ``attention_mask: null`` says that padding would be read as text."""

    input_ids: str = "input_ids"
    attention_mask: str | None = "attention_mask"
    token_type_ids: str | None = Field(None, description="Fed with zeros.")
    logits: str = "logits"


class Export(_Section):
    """How the checkpoint becomes a float32 ONNX graph."""

    opset: int = Field(18, ge=9, le=24, description="A ready ONNX file of a lower one is upgraded to it.")


class Quantization(_Section):
    """How the float32 graph becomes a smaller and faster one; see scripts/pipeline/quantization.py."""

    method: Literal["none", "static-int8"] = "static-int8"
    calibration_texts: int = Field(400, ge=1, description="Training texts from which activation scales are taken.")
    outlier_ratio: float = Field(3.0, gt=1.0, description="How far above the others a channel is kept in float.")
    weight_bits: int = Field(8, ge=2, le=8, description="Of the integer weights.")


class Fidelity(_Section):
    """What verify.py asks of the ONNX file before it may be used. Differences are between probabilities."""

    texts: int = Field(2000, ge=1, description="Texts to compare on, at least.")
    min_agreement: float = Field(0.99, ge=0, le=1, description="Share of texts with the same label as the source.")
    max_f1_loss: float = Field(0.005, ge=0, le=1, description="Macro-F1 that may be lost against the source.")
    min_speedup: float = Field(2.5, ge=0, description="Times as fast as float32 ONNX: one text, one core.")
    min_speedup_without_vnni: float = Field(
        1.2, ge=0, description="The same on a processor without dot products of 8-bit integers."
    )
    max_batch_difference: float = Field(1e-4, ge=0, description="Between a text alone and in any batch.")


class FailureRates(_Section):
    """Share of failed cases that each kind of behavioural test may have, in each language: the mean over its tests."""

    minimum_functionality: float = Field(0.25, ge=0, le=1, description="Plain texts with another label.")
    invariance: float = Field(0.15, ge=0, le=1, description="Labels that an irrelevant change changes.")
    direction: float = Field(0.15, ge=0, le=1, description="Changes that do not move the sentiment as they should.")


class Gates(_Section):
    """What promote.py asks of a model, as evaluate.py measured it, before it may be the one in use.

    That it answers as its source does is asked by :class:`Fidelity`, and is a gate too.
    """

    min_macro_f1: float = Field(0.6, ge=0, le=1, description="In each language.")
    min_macro_f1_bound: float = Field(0.5, ge=0, le=1, description="Lower end of its 95 % interval, in each language.")
    max_f1_loss: float = Field(0.02, ge=0, le=1, description="Macro-F1 lost to the model in use, in each language.")
    max_ece: float = Field(0.05, ge=0, le=1, description="Expected calibration error.")
    max_failure_rate: FailureRates = FailureRates()
    max_megabytes: float = Field(600, gt=0, description="Size of the ONNX file and the tokenizer, 10^6 bytes.")
    min_relative_speed: float = Field(0.8, ge=0, description="Speed as a share of the speed of the model in use.")


class GoldenText(_Section):
    """A text whose label is beyond doubt; the service is not ready before it has answered each one rightly."""

    text: str = Field(min_length=1)
    label: Meaning


class ModelSpec(_Section):
    """Everything that is known of a model. See ``models/sentiment-pl-en/model.yaml`` for one with comments."""

    name: Name
    description: str
    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] = Field(min_length=1)
    license: str = Field(description="SPDX expression, or what is known where the card says nothing.")
    architecture: str
    source: Source
    labels: list[Label] = Field(min_length=2, description="In the order of the model's outputs.")
    tokenization: Tokenization
    graph: Graph = Graph()
    export: Export = Export()
    quantization: Quantization = Quantization()
    fidelity: Fidelity = Fidelity()
    gates: Gates = Gates()
    golden: list[GoldenText] = Field(min_length=2)

    @property
    def meanings(self) -> list[Meaning]:
        """What each output of the model means, by its index."""
        return [label.meaning for label in self.labels]

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        names = [label.name for label in self.labels]
        for what, values in (("name", names), ("meaning", [str(meaning) for meaning in self.meanings])):
            doubled = sorted({value for value in values if values.count(value) > 1})
            if doubled:
                raise ValueError(f"labels: the {what} {doubled[0]!r} stands more than once; each label needs its own")
        golden = {text.label for text in self.golden}
        for meaning in self.meanings:
            if meaning not in golden:
                raise ValueError(f"golden: no text is labelled {meaning!r}; each label needs at least one")
        for label in sorted(golden - set(self.meanings)):
            raise ValueError(f"golden: the label {label!r} is not one of this model's: {', '.join(self.meanings)}")
        return self

    @classmethod
    def load(cls, path: Path) -> ModelSpec:
        """Read and validate a ``model.yaml``, or the one in the folder ``path``.

        Raises:
            SpecError: if the file is missing, is not YAML, or a key is missing, unknown or wrong.
        """
        file = path / SPEC_FILE if path.is_dir() else path
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SpecError(f"{file}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SpecError(f"{file}: is not YAML in UTF-8: {error}") from error
        if not isinstance(content, dict):
            raise SpecError(f"{file}: is empty or not a mapping; it needs keys such as name, labels and golden")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = [f"{_key(detail['loc'])}{_wanted(detail['msg'])}" for detail in error.errors()]
            raise SpecError("\n".join(f"{file}: {problem}" for problem in problems)) from error


def _key(location: Iterable[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return f"{key}: " if key else ""


def _wanted(message: str) -> str:
    return {"Field required": "is missing", "Extra inputs are not permitted": "is not a known key"}.get(
        message, message.removeprefix("Value error, ")
    )
