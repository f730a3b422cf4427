"""``model.yaml``: everything that is known of a model, and its validation.

What serving needs is in :class:`textserve.spec.ModelSpec`. This module adds where the model comes from, how its ONNX
file is made, and what it has to pass before it is used. ``models/sentiment-pl-en/model.yaml`` is one with comments.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from textserve import spec
from textserve.spec import Section

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def is_path(repository: str) -> bool:
    """Whether ``repository`` names a folder rather than an id on a hub, where either is allowed."""
    return repository.startswith(("/", "./", "../", "~"))


class TokenizerSource(Section):
    """Where the tokenizer of a ready ONNX file comes from."""

    repository: str = Field(description="Id on the hub, or a folder: a path that starts with / ./ ../ or ~.")
    revision: Commit | None = Field(None, description="The commit to take from the hub.")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.revision is None and not is_path(self.repository):
            raise ValueError("revision: a tokenizer from the hub needs the 40 hexadecimal digits of its commit")
        return self


class Source(Section):
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
    def _pinned(self) -> Self:
        if self.kind == "huggingface" and self.revision is None:
            raise ValueError("revision: a Hugging Face model needs the 40 hexadecimal digits of its commit")
        if self.kind == "onnx" and sum(name.endswith(".onnx") for name in self.sha256) != 1:
            raise ValueError("sha256: a ready ONNX file needs the digest of the file, under its name, NAME.onnx")
        if self.kind != "onnx" and self.tokenizer is not None:
            raise ValueError("tokenizer: only a ready ONNX file has its tokenizer elsewhere")
        return self


class Export(Section):
    """How the checkpoint becomes a float32 ONNX graph."""

    opset: int = Field(18, ge=9, le=24, description="A ready ONNX file of a lower one is upgraded to it.")


class Quantization(spec.Quantization):
    """How the float32 graph becomes a smaller and faster one; see :mod:`modeling.export.quantization`."""

    model_config = ConfigDict(extra="forbid")

    calibration_texts: int = Field(400, ge=1, description="Training texts from which activation scales are taken.")
    outlier_ratio: float = Field(3.0, gt=1.0, description="How far above the others a channel is kept in float.")
    weight_bits: int = Field(8, ge=2, le=8, description="Of the integer weights.")


class Fidelity(Section):
    """What verify.py asks of the ONNX file before it may be used. Differences are between probabilities."""

    texts: int = Field(2000, ge=1, description="Texts to compare on, at least.")
    min_agreement: float = Field(0.99, ge=0, le=1, description="Share of texts with the same label as the source.")
    max_f1_loss: float = Field(0.005, ge=0, le=1, description="Macro-F1 that may be lost against the source.")
    min_speedup: float = Field(2.5, ge=0, description="Times as fast as float32 ONNX: one text, one core.")
    min_speedup_without_vnni: float = Field(
        1.2, ge=0, description="The same on a processor without dot products of 8-bit integers."
    )
    max_batch_difference: float = Field(1e-4, ge=0, description="Between a text alone and in any batch.")


class FailureRates(Section):
    """Share of failed cases that each kind of behavioural test may have, in each language: the mean over its tests."""

    minimum_functionality: float = Field(0.25, ge=0, le=1, description="Plain texts with another label.")
    invariance: float = Field(0.15, ge=0, le=1, description="Labels that an irrelevant change changes.")
    direction: float = Field(0.15, ge=0, le=1, description="Changes that do not move the sentiment as they should.")


class Gates(Section):
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


class ModelSpec(spec.ModelSpec):
    """Everything that is known of a model."""

    model_config = ConfigDict(extra="forbid")

    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] = Field(min_length=1)
    license: str = Field(description="SPDX expression, or what is known where the card says nothing.")
    architecture: str
    source: Source
    export: Export = Export()
    quantization: Quantization = Quantization()
    fidelity: Fidelity = Fidelity()
    gates: Gates = Gates()

    @property
    def serving(self) -> spec.ModelSpec:
        """The part that serving reads."""
        return spec.ModelSpec.model_validate(self.model_dump())
