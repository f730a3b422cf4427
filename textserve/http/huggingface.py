"""Hugging Face's inference protocol for text classification: ``POST /``.

Requests and responses are those of ``huggingface_hub.InferenceClient(url).text_classification`` and of the Inference
API's ``text-classification`` task. The response is a list of lists even for a single text,
``[[{"label", "score"}, …]]``: of a flat list that client would return the first label only.
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
    LabelScore,
    TopK,
    as_input,
    as_inputs,
    classify_inputs,
    is_pair,
    message,
    messages,
    ranked,
    read_for,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import INPUT, TEXTS, post, schemas
from textserve.prediction import Prediction
from textserve.spec import Activation, Input, ModelSpec

PROBLEMS = messages(
    'is missing; send {"inputs": "…"}',
    "must be an object",
    extra_forbidden="is not a known key",
    greater_than_equal="must be at least 1",
    literal_error="must be softmax, sigmoid or none",
)


def _inputs(value: Any, spec: ModelSpec) -> list[Input] | Input:
    """A text, or a list of them. Pydantic's errors for a union would not name the index."""
    if isinstance(value, list):
        return as_inputs(value, "inputs", spec)
    if isinstance(value, str) or is_pair(value, spec):
        return as_input(value, "inputs", spec)
    one, several = ("a string", "strings") if spec.input == "text" else (PAIR_EXAMPLE, "such pairs")
    raise InvalidRequest(f"must be {one} or a list of {several}", where="inputs")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Strict):
    """What the response contains; ``null`` is the default of each."""

    top_k: TopK | None = Field(None, description="Number of labels, the highest score first; all by default.")
    function_to_apply: Activation | None = Field(
        None,
        description="How scores are computed from logits: softmax, the probabilities, which sum to 1; sigmoid of each; "
        "none, the logits themselves. By default as the model does.",
    )
    truncation: bool | None = Field(
        None, description="False rejects a text with more tokens than the model reads; otherwise its end is cut off."
    )


class Options(_Strict):
    """The Inference API's options for loading and caching models: accepted without effect."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None


class InferenceRequest(_Strict):
    """The body of ``POST /``."""

    inputs: Annotated[Any, WithJsonSchema({"oneOf": [INPUT, TEXTS]})] = Field(description="A text, or a list of them.")
    parameters: Parameters | None = None
    options: Options | None = None


class InferenceError(BaseModel):
    """An error in the format of the Inference API."""

    error: str


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
    truncation: Truncation | None = None if parameters.truncation is False else "right"
    inputs = _inputs(wanted.inputs, application.classifier.spec)
    classified = await classify_inputs(application, inputs, truncation)
    rows = _scores(classified.predictions, parameters.function_to_apply)
    content = [
        ranked(prediction, scores, parameters.top_k)
        for prediction, scores in zip(classified.predictions, rows, strict=True)
    ]
    return Response(dump(content), classified=classified)


describe = post(
    "Classify a text, or several, as Hugging Face's Inference API does",
    request=InferenceRequest,
    answer=list[list[LabelScore]],
    error=InferenceError,
)
HUGGINGFACE = HttpProtocol(
    "huggingface",
    [Route("POST", "/", _infer, describe)],
    lambda error: dump({"error": message(error)}),
    schemas=lambda _: schemas(InferenceRequest, LabelScore, InferenceError),
    title="Hugging Face Inference API",
)
