"""``model.yaml`` in full: the source, the export and the limits beside :class:`textserve.spec.ModelSpec`.

The spec of the default model, in ``models/``, is a commented example.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from modeling import tasks
from textserve import spec
from textserve.spec import Section

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def is_path(repository: str) -> bool:
    """Whether ``repository`` is a folder rather than an id on a hub, where both are allowed."""
    return repository.startswith(("/", "./", "../", "~"))


class TokenizerSource(Section):
    """The source of the tokenizer of a ready ONNX file."""

    repository: str = Field(description="Id on the hub, or a folder: a path that starts with / ./ ../ or ~.")
    revision: Commit | None = Field(None, description="Commit on the hub.")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.revision is None and not is_path(self.repository):
            raise ValueError("revision: a tokenizer from the hub needs the 40 hexadecimal digits of its commit")
        return self


class Source(Section):
    """The pinned source of the weights. Paths are relative to the project's root."""

    kind: Literal["huggingface", "folder", "mlflow", "onnx", "training"] = Field(
        description="A checkpoint on a Hugging Face hub, in a folder, or in MLflow; a ready ONNX file, with its "
        "tokenizer; or the output of scripts/train.py."
    )
    repository: str = Field(
        description="Id on the hub; folder; MLflow URI (models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/PATH); for "
        "a ready ONNX file an id, or a folder if it starts with / ./ ../ or ~; for training, the base checkpoint."
    )
    revision: Commit | None = Field(None, description="Commit on the hub; branches move and are rejected.")
    sha256: dict[str, Sha256] = Field(default_factory=dict, description="Expected digests by file name.")
    tokenizer: TokenizerSource | None = Field(None, description="For a ready ONNX file; default: its own folder.")

    @property
    def onnx_file(self) -> str:
        """Name of the ready ONNX file (kind ``onnx`` only)."""
        (name,) = (name for name in self.sha256 if name.endswith(".onnx"))
        return name

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.kind == "huggingface" and self.revision is None:
            raise ValueError("revision: a Hugging Face model needs the 40 hexadecimal digits of its commit")
        if self.kind == "onnx" and sum(name.endswith(".onnx") for name in self.sha256) != 1:
            raise ValueError("sha256: a ready ONNX file needs the digest of the file, under its name, NAME.onnx")
        if self.kind != "onnx" and self.tokenizer is not None:
            raise ValueError("tokenizer: only a ready ONNX file can have its tokenizer elsewhere")
        return self


def _by_value(names: object) -> object:
    """``names`` as a mapping whose keys are strings; the keys of a list are its indices."""
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else None
    return names if pairs is None else {str(value): name for value, name in pairs}


Column = Literal["text", "text_pair", "label", "labels", "score"]


class DataSet(Section):
    """Texts in a file of a data set on a Hugging Face hub: Parquet, CSV or JSON Lines."""

    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
    revision: Commit
    file: Annotated[str, StringConstraints(pattern=r"^[^/].*\.(parquet|csv|jsonl)$")] = Field(
        description="Path in the repository, NAME.parquet, NAME.csv or NAME.jsonl."
    )
    columns: dict[Column, str] = Field(default_factory=dict, description="Column names that differ from the key.")
    names: Annotated[dict[str, str], BeforeValidator(_by_value)] = Field(
        default_factory=dict,
        description="The model's label for each value of the data set; a list has the labels of 0, 1, 2, …",
    )
    rows: int = Field(5000, ge=1, description="Maximum number of rows, drawn with a fixed seed.")


class Texts(Section):
    """Data sets to evaluate and to calibrate on, unless the model's folder has files for that."""

    test: DataSet | None = None
    calibration: DataSet | None = None


class Export(Section):
    """How the checkpoint becomes a float32 ONNX graph."""

    opset: int = Field(18, ge=9, le=24, description="A ready ONNX file with a lower opset is upgraded.")


class Quantization(spec.Quantization):
    """How the float32 graph is quantized; see :mod:`modeling.export.quantization`."""

    model_config = ConfigDict(extra="forbid")

    calibration_texts: int = Field(400, ge=1, description="Training texts that set the activation scales.")
    outlier_ratio: float = Field(3.0, gt=1.0, description="Relative peak above which a channel stays float.")
    weight_bits: int = Field(8, ge=2, le=8, description="Width of the integer weights.")


class Fidelity(Section):
    """Limits that scripts/verify.py checks, marked by answer: one label (1), several labels (n) or a number (x).

    Differences are between scores.
    """

    texts: int = Field(2000, ge=1, description="Minimum number of texts to compare on.")
    min_agreement: float = Field(0.99, ge=0, le=1, description="1, n: share of texts with the answer of the source.")
    max_f1_loss: float = Field(
        0.005, ge=0, le=1, description="1: macro-F1 lost against the source. n: micro-F1 lost against it."
    )
    min_rank_correlation: float = Field(0.99, ge=-1, le=1, description="x: Spearman's, with the source.")
    max_difference: float | None = Field(None, gt=0, description="x: from the source; default: no limit.")
    min_speedup: float = Field(2.5, ge=0, description="Speed relative to float32 ONNX: one text, one core.")
    min_speedup_without_vnni: float = Field(1.2, ge=0, description="The same without 8-bit dot products.")
    max_batch_difference: float = Field(1e-4, ge=0, description="Between a text alone and in a batch.")


class FailureRates(Section):
    """Maximum share of failed cases for each kind of behavioural test, per language: the mean over its tests."""

    minimum_functionality: float = Field(0.25, ge=0, le=1, description="Plain texts with the wrong label.")
    invariance: float = Field(0.15, ge=0, le=1, description="Answers changed by an irrelevant edit.")
    direction: float = Field(0.15, ge=0, le=1, description="Edits that do not move the scores as expected.")


class Gates(Section):
    """Limits that scripts/promote.py checks on the measurements of scripts/evaluate.py, with :class:`Fidelity`.

    Quality limits apply to one kind of answer: one label (1), several labels (n), or a number (x).
    """

    min_macro_f1: float = Field(0.6, ge=0, le=1, description="1: in each language.")
    min_macro_f1_bound: float = Field(0.5, ge=0, le=1, description="1: lower end of its 95 % interval, in each.")
    min_micro_f1: float = Field(0.5, ge=0, le=1, description="n: in each language.")
    min_micro_f1_bound: float = Field(0.4, ge=0, le=1, description="n: lower end of its 95 % interval, in each.")
    min_rank_correlation: float = Field(0.6, ge=-1, le=1, description="x: Spearman's, with the truth, in each.")
    min_rank_correlation_bound: float = Field(0.5, ge=-1, le=1, description="x: lower end of its 95 % interval.")
    max_rmse: float | None = Field(None, gt=0, description="x: root mean square error in each; default: no limit.")
    max_f1_loss: float = Field(
        0.02, ge=0, le=1, description="1, n: macro-F1, or micro-F1, lost to the model in use, in each language."
    )
    max_rank_correlation_loss: float = Field(0.02, ge=0, le=2, description="x: lost to the model in use, in each.")
    max_ece: float = Field(0.05, ge=0, le=1, description="1: expected calibration error.")
    max_failure_rate: FailureRates = FailureRates()
    max_megabytes: float = Field(600, gt=0, description="Size of ONNX file and tokenizer, 10^6 bytes.")
    min_relative_speed: float = Field(0.8, ge=0, description="Speed relative to the model in use.")


class ModelSpec(spec.ModelSpec):
    """The full specification of a model."""

    model_config = ConfigDict(extra="forbid")

    task: str | None = Field(
        None, description="A package of modeling/tasks/: its texts to calibrate and evaluate on, and its tests."
    )
    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] = Field(min_length=1)
    license: str = Field(description="SPDX expression.")
    architecture: str
    source: Source
    texts: Texts = Texts()
    export: Export = Export()
    quantization: Quantization = Quantization()
    fidelity: Fidelity = Fidelity()
    gates: Gates = Gates()

    @field_validator("task")
    @classmethod
    def _known(cls, task: str | None) -> str | None:
        if task is not None and task not in tasks.names():
            raise ValueError(f"is {task}; known are {', '.join(tasks.names())}")
        return task

    @model_validator(mode="after")
    def _task_fits(self) -> Self:
        known = tasks.labels(self.task)
        if known and not known.issuperset(self.label_names):
            raise ValueError(f"task: {self.task} has the labels {', '.join(sorted(known))}; this model has others")
        if self.task and (self.problem_type, self.input) != ("single_label_classification", "text"):
            raise ValueError(f"task: {self.task} is one label of one text; this is {self.problem_type} of {self.input}")
        return self

    @property
    def serving(self) -> spec.ModelSpec:
        """The part that serving reads."""
        return spec.ModelSpec.model_validate(self.model_dump())

    def identity(self, digests: dict[str, str]) -> dict[str, Any]:
        """Everything that can change an answer. A verification is valid for one identity, and the version is its hash.

        Golden texts are part of it: they decide whether the service answers at all.
        """
        answer = {"problem_type", "activation", "threshold", "input", "labels", "tokenization", "graph", "golden"}
        exclude = {"labels": {"__all__": {"tone"}}}  # only colours the page
        return {"sha256": digests, **self.model_dump(mode="json", include=answer, exclude=exclude, exclude_none=True)}
