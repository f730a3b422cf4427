"""Hugging Face's inference protocol for text classification: ``POST /``.

Requests and responses are those of ``huggingface_hub.InferenceClient(url).text_classification`` and of the Inference
API's ``text-classification`` task. The response is a list of lists even for a single text,
``[[{"label", "score"}, …]]``: from a flat list that client would return only the first label. With
``candidate_labels``, requests and responses are those of ``zero_shot_classification``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from textserve.application import Application
from textserve.classifier import Truncation, activate
from textserve.errors import InvalidRequest
from textserve.http.formats import (
    PAIR_EXAMPLE,
    SCORE_DIGITS,
    LabelScore,
    MessageResponse,
    TopK,
    as_input,
    as_inputs,
    classify_inputs,
    is_pair,
    message,
    messages,
    naming,
    ranked,
    read_for,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import INPUT, TEXTS, post, schemas
from textserve.prediction import Prediction
from textserve.spec import Activation, Input, ModelSpec
from textserve.zero_shot import entailment, zero_shot

# The default of transformers' pipeline.
TEMPLATE = "This example is {}."
# Any of these parameters makes a request zero-shot classification.
ZERO_SHOT = ("candidate_labels", "multi_label", "hypothesis_template")

PROBLEMS = messages(
    'is missing; send {"inputs": "…"}',
    "must be an object",
    extra_forbidden="is not a known key",
    greater_than_equal="must be at least 1",
    literal_error="must be softmax, sigmoid or none",
    list_type="must be a list of strings",
    too_short="is empty; send at least one label",
)


def _inputs(value: Any, spec: ModelSpec) -> list[Input] | Input:
    """The input or list of inputs. It is read here since pydantic's errors for a union would not name the index."""
    if isinstance(value, list):
        return as_inputs(value, "inputs", spec)
    if isinstance(value, str) or is_pair(value, spec):
        return as_input(value, "inputs", spec)
    one, several = ("a string", "strings") if spec.input == "text" else (PAIR_EXAMPLE, "such pairs")
    raise InvalidRequest(f"must be {one} or a list of {several}", where="inputs")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Strict):
    """What the response contains; ``null`` is the same as leaving a parameter out."""

    top_k: TopK | None = Field(None, description="Number of labels, the highest score first; all by default.")
    function_to_apply: Activation | None = Field(
        None,
        description="How scores are computed from logits: softmax gives probabilities that sum to 1, sigmoid a "
        "probability of each label by itself, none the logits. The default is the model's own function.",
    )
    truncation: bool | None = Field(
        None, description="False rejects a text with more tokens than the model reads; otherwise its end is cut off."
    )
    candidate_labels: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Labels to choose from, for an entailment model; the response is then a zero-shot answer."
    )
    multi_label: bool | None = Field(None, description="Whether any number of the candidate labels may apply.")
    hypothesis_template: str | None = Field(
        None, description=f"The sentence into which a candidate label is put; by default {TEMPLATE!r}."
    )


class Options(_Strict):
    """The Inference API's options for loading and caching models: accepted without effect."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None


class InferenceRequest(_Strict):
    """The body of ``POST /``."""

    inputs: Annotated[Any, WithJsonSchema({"oneOf": [INPUT, TEXTS]})] = Field(description="A text, or a list of texts.")
    parameters: Parameters | None = None
    options: Options | None = None


class ZeroShotAnswer(BaseModel):
    """The candidate labels of a text, the highest score first."""

    sequence: str = Field(description="The text.")
    labels: list[str]
    scores: list[float]


def _scores(predictions: Sequence[Prediction], function: Activation | None) -> list[Sequence[float]]:
    if function in (None, predictions[0].spec.activation):
        return [prediction.scores for prediction in predictions]
    if function == "none":
        return [prediction.logits for prediction in predictions]
    logits = np.array([prediction.logits for prediction in predictions], dtype=np.float32)
    rows: list[Sequence[float]] = activate(function, logits).tolist()
    return rows


async def _infer(application: Application, request: Request) -> Response:
    wanted = read_for(application, InferenceRequest, request.body, PROBLEMS)
    parameters = wanted.parameters or Parameters()
    if any(getattr(parameters, name) is not None for name in ZERO_SHOT):
        return await _zero_shot(application, wanted.inputs, parameters)
    inputs = _inputs(wanted.inputs, application.classifier.spec)
    classified = await classify_inputs(application, inputs, _truncation(parameters))
    rows = _scores(classified.predictions, parameters.function_to_apply)
    content = [
        ranked(prediction, scores, parameters.top_k)
        for prediction, scores in zip(classified.predictions, rows, strict=True)
    ]
    return Response(dump(content), classified=classified)


def _truncation(parameters: Parameters) -> Truncation | None:
    return None if parameters.truncation is False else "right"


async def _zero_shot(application: Application, inputs: Any, parameters: Parameters) -> Response:
    if parameters.function_to_apply is not None:
        where = "parameters.function_to_apply"
        raise InvalidRequest("does not apply to candidate_labels; leave it out, or set multi_label", where=where)
    labels = parameters.candidate_labels or []
    texts = inputs if isinstance(inputs, list) else [inputs]
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            where = f"inputs[{index}]" if isinstance(inputs, list) else "inputs"
            raise InvalidRequest("must be a string: candidate labels apply to texts, not to pairs", where=where)
    several, template = bool(parameters.multi_label), parameters.hypothesis_template or TEMPLATE
    with naming(inputs, "inputs"):
        found = await zero_shot(
            application, texts, labels, template, several=several, truncation=_truncation(parameters)
        )
    content = []
    for text, scores in zip(texts, found.scores.tolist(), strict=True):
        ranked_labels = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])[: parameters.top_k]
        content.append(
            {
                "sequence": text,
                "labels": [label for label, _ in ranked_labels],
                "scores": [round(score, SCORE_DIGITS) for _, score in ranked_labels],
            }
        )
    return Response(dump(content if isinstance(inputs, list) else content[0]), classified=found.classified)


describe = post(
    "Classify a text, or several, as Hugging Face's Inference API does",
    request=InferenceRequest,
    answer=list[list[LabelScore]] | ZeroShotAnswer | list[ZeroShotAnswer],
    error=MessageResponse,
)


def _schemas(application: Application) -> dict[str, Any]:
    found = schemas(InferenceRequest, LabelScore, ZeroShotAnswer, MessageResponse)
    if entailment(application.classifier.spec) is None:
        for name in ZERO_SHOT:
            del found["Parameters"]["properties"][name]
    return found


HUGGINGFACE = HttpProtocol(
    "huggingface",
    [Route("POST", "/", _infer, describe)],
    lambda error: dump({"error": message(error)}),
    schemas=_schemas,
    title="Hugging Face Inference API",
)
