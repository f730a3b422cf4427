"""The part of a model's ``model.yaml`` that serving reads: labels, scores, tokenization, graph and golden texts.

The rest (sources, training, gates) is ignored here; :mod:`modeling.spec` validates it before the model is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from textserve import validation

SPEC_FILE = "model.yaml"
# Folder inside a stored model with the files of models/NAME: BentoML writes a model.yaml of its own beside it.
STORED_FOLDER = "files"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
# One text, or a pair of them.
Input: TypeAlias = str | tuple[str, str]
# As in the configuration of a Hugging Face checkpoint; regression is a single number.
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
Activation = Literal["softmax", "sigmoid", "none"]
# The activations that a problem may have, the default first.
ACTIVATIONS: Mapping[ProblemType, Sequence[Activation]] = {
    "single_label_classification": ("softmax", "sigmoid", "none"),
    "multi_label_classification": ("sigmoid",),
    "regression": ("none", "sigmoid"),
}
# The key of a golden text's answer.
GOLDEN_KEYS: Mapping[ProblemType, str] = {
    "single_label_classification": "label",
    "multi_label_classification": "labels",
    "regression": "score",
}
MAX_LABELS = 1000
DEFAULT_THRESHOLD = 0.5
DEFAULT_TOLERANCE = 0.1

UNQUOTED = "YAML reads yes, no and numbers as something else unless quoted"
PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "string_type": f"must be a string; {UNQUOTED}",
}


class SpecError(ValueError):
    """An invalid ``model.yaml``. The message names the file, the key and the expected value, one line per problem."""


class Section(BaseModel):
    """A section of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Section):
    """One output of the model; a plain string is its name."""

    name: LabelName = Field(description="As in the checkpoint's id2label, such as LABEL_0 or POSITIVE.")
    label: LabelName = Field(
        default_factory=lambda found: found.get("name", ""), description="The name to serve; default: ``name``."
    )
    threshold: float | None = Field(None, gt=0, lt=1, description="For multi-label models; default: the model's.")
    tone: Literal["red", "gray", "green"] | None = Field(None, description="Colour on the page; default: by index.")


def _label(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise ValueError(f"must be a string, or have a name; {UNQUOTED}")
    return value


class Tokenization(Section):
    """What ``tokenizer.json`` does not contain."""

    pad_id: int = Field(ge=0, description="Token id that pads the shorter texts of a batch.")
    padding_side: Literal["right", "left"] = Field(
        "right", description="Left for a network that reads the answer from the last token, whatever it is (XLNet)."
    )
    max_tokens: int = Field(ge=4, le=8192, description="Longest input of the model, special tokens included.")
    truncation: Literal["longest_first", "only_first", "only_second"] = Field(
        "longest_first", description="Which text of a pair is truncated, in transformers' terms."
    )


class Graph(Section):
    """Input and output names of the ONNX graph. ``attention_mask: null``: the graph cannot tell padding from text."""

    input_ids: str = "input_ids"
    attention_mask: str | None = "attention_mask"
    token_type_ids: str | None = Field(None, description="The tokenizer's type ids.")
    logits: str = "logits"


class Quantization(Section):
    """How the served graph was made from the float32 graph."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    method: Literal["none", "static-int8"] = "static-int8"


class GoldenText(Section):
    """A text, or pair of texts, with an undisputed answer: a label, a set of labels, or a number.

    The service is ready only if the model gives the right answer to every golden text.
    """

    text: str = Field(min_length=1)
    text_pair: str | None = Field(None, min_length=1)
    label: str | None = None
    labels: list[str] | None = Field(None, description="All labels over their threshold; may be empty.")
    score: float | None = Field(None, allow_inf_nan=False)
    tolerance: float | None = Field(None, gt=0, description="Largest difference from ``score``; default: 0.1.")

    @property
    def input(self) -> Input:
        """The text, or the pair of texts."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)


class ModelSpec(BaseModel):
    """The part of a model's spec that serving reads."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Name
    description: str
    problem_type: ProblemType = Field(
        "single_label_classification", description="One of the labels, any number of them, or a single number."
    )
    activation: Activation = Field(
        default_factory=lambda found: ACTIVATIONS[found.get("problem_type", "single_label_classification")][0],
        description="Turns logits into scores; default: softmax for one label, sigmoid for several, none for a number.",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="For multi-label models: score from which a label applies; default: 0.5."
    )
    input: Literal["text", "pair"] = Field("text", description="One text, or two of them.")
    labels: list[Annotated[Label, BeforeValidator(_label)]]
    tokenization: Tokenization
    graph: Graph = Graph()
    quantization: Quantization = Quantization()
    golden: list[GoldenText] = Field(min_length=2)

    @cached_property
    def label_names(self) -> list[str]:
        """The served name of each model output, by index."""
        return [label.label for label in self.labels]

    @cached_property
    def thresholds(self) -> list[float]:
        """The threshold of each label, by index."""
        return [label.threshold or self.threshold or DEFAULT_THRESHOLD for label in self.labels]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        golden = map(self._golden_problem, range(len(self.golden)))
        if problem := next(filter(None, (self._labels_problem(), self._scores_problem(), *golden)), None):
            raise ValueError(problem)
        return self

    def _labels_problem(self) -> str | None:
        count, fewest = len(self.labels), 2 if self.problem_type == "single_label_classification" else 1
        if self.problem_type == "regression" and count != 1:
            return f"labels: has {count}; regression is a single number, whose name is the only label"
        if not fewest <= count <= MAX_LABELS:
            return f"labels: has {count}; {self.problem_type} has {fewest} to {MAX_LABELS}"
        for key in ("name", "label"):
            values = [getattr(label, key) for label in self.labels]
            if duplicates := sorted({value for value in values if values.count(value) > 1}):
                return f"labels: the {key} {duplicates[0]!r} is used more than once; each must be unique"
        return None

    def _scores_problem(self) -> str | None:
        allowed = ACTIVATIONS[self.problem_type]
        if self.activation not in allowed:
            return f"activation: is {self.activation}; {self.problem_type} has {' or '.join(allowed)}"
        if (
            any((self.threshold, *(label.threshold for label in self.labels)))
            and self.problem_type != "multi_label_classification"
        ):
            return f"threshold: only multi_label_classification has one, problem_type is {self.problem_type}"
        if self.tokenization.truncation != "longest_first" and self.input != "pair":
            return f"tokenization.truncation: is {self.tokenization.truncation}; only a model with input: pair has it"
        return None

    def _golden_problem(self, index: int) -> str | None:
        golden, where = self.golden[index], f"golden[{index}]"
        if (golden.text_pair is not None) != (self.input == "pair"):
            has = "no text_pair" if golden.text_pair is None else "a text_pair"
            return f"{where}: has {has}, and input is {self.input}"
        wanted = GOLDEN_KEYS[self.problem_type]
        given = [key for key in GOLDEN_KEYS.values() if getattr(golden, key) is not None]
        if given != [wanted]:
            return f"{where}: has {' and '.join(given) or 'no answer'}; one of {self.problem_type} has {wanted}"
        answers = golden.labels or [label for label in (golden.label,) if label]
        if unknown := [label for label in answers if label not in self.label_names]:
            return f"{where}: the label {unknown[0]!r} is not one of this model's: {enumeration(self.label_names)}"
        return None

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


def enumeration(names: Sequence[str], most: int = 10) -> str:
    """The first ``most`` of ``names``, separated by commas, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
