"""What a checkpoint says about its answers: labels, problem type and activation, and whether a spec agrees.

Where a checkpoint says nothing, the rule of transformers' ``text-classification`` pipeline applies: no activation for
regression, sigmoid for several labels at once and for a single output, softmax for one of several labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from transformers import PretrainedConfig

from modeling.errors import ModelingError
from modeling.spec import ModelSpec
from textserve.spec import ACTIVATIONS, Activation, ProblemType

CLASSIFIER = "ForSequenceClassification"
# What networks that are no classifiers do, and what to do instead, by the end of the architecture's name.
FINE_TUNE = f"fine-tune it as …{CLASSIFIER}, or choose a checkpoint that is"
GENERATES = f"generates text, which a server of language models does; to classify texts, {FINE_TUNE}"
OTHERS = {
    "ForTokenClassification": f"labels each token; to label whole texts, {FINE_TUNE}",
    "ForQuestionAnswering": f"finds an answer in a text; to label whole texts, {FINE_TUNE}",
    "ForMultipleChoice": f"selects one of several texts; to label whole texts, {FINE_TUNE}",
    "ForMaskedLM": f"fills in masked tokens; {FINE_TUNE}",
    "ForPreTraining": f"fills in masked tokens; {FINE_TUNE}",
    "ForCausalLM": GENERATES,
    "LMHeadModel": GENERATES,
    "ForConditionalGeneration": GENERATES,
    "Model": f"has no classification head; {FINE_TUNE}",
}
# By the class of torch that sentence-transformers records in the configuration of a cross-encoder.
ACTIVATION_FUNCTIONS: Mapping[str, Activation] = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}


@dataclass(frozen=True, slots=True)
class Declared:
    """The answers of a checkpoint.

    Attributes:
        architecture: the class of its network.
        labels: the names of its outputs, by index.
        problem_type: as config.json says, or else by the number of outputs.
        is_explicit: whether config.json names the problem type.
        activation: as sentence-transformers recorded it, or else by the rule of transformers' pipeline.
        is_cross_encoder: whether sentence-transformers saved it, as a network that reads pairs of texts.
    """

    architecture: str
    labels: list[str]
    problem_type: ProblemType
    is_explicit: bool
    activation: Activation
    is_cross_encoder: bool


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``; raises :class:`ModelingError` if it cannot be read."""
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelingError(f"{file}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelingError(f"{file}: is not a JSON object")
    return content


def declared(folder: Path) -> Declared:
    """What the checkpoint in ``folder`` says; raises :class:`ModelingError` if it is no classifier of texts."""
    content, file = read_config(folder), folder / "config.json"
    architecture = str((content.get("architectures") or ["unknown"])[0])
    if not architecture.endswith(CLASSIFIER):
        unknown = f"is no known classifier of texts; {FINE_TUNE}"
        does = next((does for end, does in OTHERS.items() if architecture.endswith(end)), unknown)
        raise ModelingError(f"{file}: is a {architecture}, which {does}")
    explicit = content.get("problem_type")
    if explicit not in (None, *get_args(ProblemType)):
        raise ModelingError(f"{file}: problem_type is {explicit}; known are {', '.join(get_args(ProblemType))}")
    labels = _labels(content, file)
    if explicit == "regression" and len(labels) > 1:
        raise ModelingError(
            f"{file}: is a regression with {len(labels)} outputs; only a single number can be served: train one "
            "checkpoint for each of them, or labels in place of numbers"
        )
    if explicit == "single_label_classification" and len(labels) == 1:
        raise ModelingError(
            f"{file}: problem_type is {explicit}, and id2label has only {labels[0]!r}; write regression for a number, "
            "or multi_label_classification for the probability of the label"
        )
    problem_type: ProblemType = explicit or ("regression" if len(labels) == 1 else "single_label_classification")
    recorded = _recorded(content, file)
    if recorded is None or (recorded == "none" and len(labels) > 1):  # of several labels, Identity is only the default
        recorded = _by_pipeline(explicit, len(labels))
    if recorded not in ACTIVATIONS[problem_type]:
        raise ModelingError(
            f"{file}: its activation is {recorded}, but its problem type is {problem_type}, which has "
            f"{' or '.join(ACTIVATIONS[problem_type])}; correct one of them"
        )
    return Declared(architecture, labels, problem_type, bool(explicit), recorded, _is_cross_encoder(content))


def check(spec: ModelSpec, folder: Path) -> None:
    """Raise a :class:`ModelingError` that names both if the spec contradicts the checkpoint in ``folder``."""
    found, file = declared(folder), folder / "config.json"
    if spec.architecture != found.architecture:
        raise ModelingError(f"{file}: is a {found.architecture}, architecture in the spec is {spec.architecture}")
    names = [label.name for label in spec.labels]
    if found.labels != names:
        raise ModelingError(f"{file}: id2label is {_short(found.labels)}, the spec's labels are {_short(names)}")
    if found.is_explicit and found.problem_type != spec.problem_type:
        raise ModelingError(f"{file}: problem_type is {found.problem_type}, the spec's is {spec.problem_type}")
    same = found.problem_type == spec.problem_type
    if same and "activation" not in spec.model_fields_set and found.activation != spec.activation:
        raise ModelingError(
            f"{file}: its activation is {found.activation}, the spec's is by default {spec.activation}; write "
            f"activation: {found.activation} in the spec, or another one if its scores are to differ"
        )


def _labels(content: dict[str, Any], file: Path) -> list[str]:
    try:
        # A config.json without id2label has the defaults of transformers, LABEL_0 and LABEL_1.
        id2label = PretrainedConfig.from_dict(content).id2label
        labels = [str(id2label[index]) for index in range(len(id2label))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelingError(f"{file}: id2label does not have a name for each of 0, 1, 2, …") from error
    if duplicates := [label for label in labels if labels.count(label) > 1]:
        raise ModelingError(f"{file}: id2label has {duplicates[0]!r} twice; give each output its own name")
    return labels


def _recorded(content: dict[str, Any], file: Path) -> Activation | None:
    recorded = (content.get("sentence_transformers") or {}).get("activation_fn")
    recorded = recorded or content.get("sbert_ce_default_activation_function")
    if recorded is None:
        return None
    name = str(recorded).rpartition(".")[2]
    if name not in ACTIVATION_FUNCTIONS:
        known = ", ".join(ACTIVATION_FUNCTIONS)
        raise ModelingError(f"{file}: its activation is {recorded}, which is not served; {known} are")
    return ACTIVATION_FUNCTIONS[name]


def _by_pipeline(problem_type: ProblemType | None, labels: int) -> Activation:
    if problem_type == "regression":
        return "none"
    return "sigmoid" if problem_type == "multi_label_classification" or labels == 1 else "softmax"


def _is_cross_encoder(content: dict[str, Any]) -> bool:
    return "sentence_transformers" in content or "sbert_ce_default_activation_function" in content


def _short(labels: list[str]) -> str:
    return str(labels) if len(labels) <= 20 else f"{len(labels)} labels, {labels[:10]}…"
