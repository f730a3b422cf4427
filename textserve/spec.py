"""The part of a model's ``model.yaml`` that serving reads: labels, tokenization, graph and golden texts.

The rest (sources, training, gates) is ignored here; :mod:`modeling.spec` validates it before the model is stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from textserve import validation

SPEC_FILE = "model.yaml"
# Folder inside a stored model with the files of models/NAME: BentoML writes a model.yaml of its own beside it.
STORED_FOLDER = "files"

Meaning = Literal["negative", "neutral", "positive"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]

PROBLEMS = {"missing": "is missing", "extra_forbidden": "is not a known key"}


class SpecError(ValueError):
    """An invalid ``model.yaml``. The message names the file, the key and the expected value, one line per problem."""


class Section(BaseModel):
    """A section of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Section):
    """One output of the model: its name in the checkpoint, and what it means."""

    name: str = Field(description="As in the checkpoint's id2label, such as LABEL_0 or POSITIVE.")
    meaning: Meaning


class Tokenization(Section):
    """What ``tokenizer.json`` does not contain."""

    pad_id: int = Field(ge=0, description="Token id that pads the shorter texts of a batch.")
    max_tokens: int = Field(ge=4, le=8192, description="Longest input of the model, special tokens included.")


class Graph(Section):
    """Input and output names of the ONNX graph. ``attention_mask: null``: the graph cannot tell padding from text."""

    input_ids: str = "input_ids"
    attention_mask: str | None = "attention_mask"
    token_type_ids: str | None = Field(None, description="Filled with zeros.")
    logits: str = "logits"


class Quantization(Section):
    """How the served graph was made from the float32 graph."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    method: Literal["none", "static-int8"] = "static-int8"


class GoldenText(Section):
    """A text with an undisputed label. The service is ready only if the model predicts all of them correctly."""

    text: str = Field(min_length=1)
    label: Meaning


class ModelSpec(BaseModel):
    """The part of a model's spec that serving reads."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Name
    description: str
    labels: list[Label] = Field(min_length=2, description="In the order of the model's outputs.")
    tokenization: Tokenization
    graph: Graph = Graph()
    quantization: Quantization = Quantization()
    golden: list[GoldenText] = Field(min_length=2)

    @property
    def meanings(self) -> list[Meaning]:
        """The meaning of each model output, by index."""
        return [label.meaning for label in self.labels]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [label.name for label in self.labels]
        for kind, values in (("name", names), ("meaning", [str(meaning) for meaning in self.meanings])):
            duplicates = sorted({value for value in values if values.count(value) > 1})
            if duplicates:
                raise ValueError(f"labels: the {kind} {duplicates[0]!r} is used more than once; each must be unique")
        golden = {text.label for text in self.golden}
        for meaning in self.meanings:
            if meaning not in golden:
                raise ValueError(f"golden: no text is labelled {meaning!r}; each label needs at least one")
        for label in sorted(golden - set(self.meanings)):
            raise ValueError(f"golden: the label {label!r} is not one of this model's: {', '.join(self.meanings)}")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
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
            problems = validation.problems(error, PROBLEMS)
            raise SpecError("\n".join(f"{file}: {problem}" for problem in problems)) from error
