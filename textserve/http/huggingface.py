"""Hugging Face's inference protocol for text classification: ``POST /``.

Requests and responses are those of ``huggingface_hub.InferenceClient(url).text_classification`` and of the Inference
API's ``text-classification`` task. The response is a list of lists even for a single text,
``[[{"label", "score"}, …]]``: of a flat list that client would return the first label only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest
from textserve.http.formats import LabelScore, classify_inputs, message, messages, ranked, read
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import TEXT, TEXTS, post, schemas
from textserve.prediction import Prediction

Transform = Literal["softmax", "sigmoid", "none"]

PROBLEMS = messages(
    'is missing; send {"inputs": "…"}',
    "must be an object",
    extra_forbidden="is not a known key",
    greater_than_equal="must be at least 1",
    literal_error="must be softmax, sigmoid or none",
)


def _inputs(value: Any) -> list[str] | str:
    """A text, or a list of them. Pydantic's errors for a union would not name the index."""
    if not isinstance(value, str | list):
        raise InvalidRequest("must be a string or a list of strings", where="inputs")
    if isinstance(value, list):
        for index, text in enumerate(value):
            if not isinstance(text, str):
                raise InvalidRequest("must be a string", where=f"inputs[{index}]")
    return value


def _whole(value: Any) -> Any:
    """A whole number in either notation: in JSON 2.0 is 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Strict):
    """What the response contains; ``null`` is the default of each."""

    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        None, description="Number of labels, the highest score first; all by default."
    )
    function_to_apply: Transform | None = Field(
        None,
        description="How scores are computed from logits: softmax, the probabilities, which sum to 1; sigmoid of each; "
        "none, the logits themselves.",
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

    inputs: Annotated[list[str] | str, PlainValidator(_inputs), WithJsonSchema({"oneOf": [TEXT, TEXTS]})] = Field(
        description="A text, or a list of them."
    )
    parameters: Parameters | None = None
    options: Options | None = None


class InferenceError(BaseModel):
    """An error in the format of the Inference API."""

    error: str


def _sigmoid(logit: float) -> float:
    # Of two equal forms, the one whose power cannot overflow.
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


SCORES: dict[Transform, Callable[[Prediction], Sequence[float]]] = {
    "softmax": lambda prediction: prediction.scores,
    "sigmoid": lambda prediction: [_sigmoid(logit) for logit in prediction.logits],
    "none": lambda prediction: prediction.logits,
}


async def _infer(application: Application, request: Request) -> Response:
    wanted = read(InferenceRequest, request.body, PROBLEMS, application.settings.max_texts)
    parameters = wanted.parameters or Parameters()
    truncation: Truncation | None = None if parameters.truncation is False else "right"
    classified = await classify_inputs(application, wanted.inputs, truncation)
    scores = SCORES[parameters.function_to_apply or "softmax"]
    content = [ranked(prediction, scores(prediction))[: parameters.top_k] for prediction in classified.predictions]
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
