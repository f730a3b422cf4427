"""Hugging Face's inference protocol for text classification: ``POST /``.

What is read and answered is what ``huggingface_hub.InferenceClient(url).text_classification`` sends and expects, and
what the ``text-classification`` task of the Inference API documents. The answer is a list for each text even if there
is one, ``[[{"label", "score"}, …]]``: of a flat list that client would return the first label only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError
from textserve.http.native import SCORE_DIGITS, invalid
from textserve.http.router import Description, HttpProtocol, Request, Response, dump
from textserve.http.schemas import TEXT, TEXTS, answer_schema, operation, reference, schemas
from textserve.runner import Classified, Prediction
from textserve.spec import Meaning

Transform = Literal["softmax", "sigmoid", "none"]

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"inputs": "…"}',
    "extra_forbidden": "is not a known key",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be at least 1",
    "literal_error": "must be softmax, sigmoid or none",
}


def _inputs(value: Any) -> list[str] | str:
    """A text, or a list of them; a place in a list is named, which a union's own errors would not do."""
    if not isinstance(value, str | list):
        raise InvalidRequest("must be a string or a list of strings", where="inputs")
    if isinstance(value, list):
        for place, text in enumerate(value):
            if not isinstance(text, str):
                raise InvalidRequest("must be a string", where=f"inputs[{place}]")
    return value


def _whole(value: Any) -> Any:
    """A whole number however it is written: JSON does not tell 2.0 from 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Strict):
    """How the answer is to be given; ``null`` is the default of each."""

    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        None, description="How many labels, the best first; all of them."
    )
    function_to_apply: Transform | None = Field(
        None,
        description="From the model's outputs to the scores: softmax, the probabilities, which sum to 1; sigmoid of "
        "each by itself; none, the outputs (logits) as they are.",
    )
    truncation: bool | None = Field(
        None, description="False refuses a text with more tokens than the model reads; otherwise its end is cut off."
    )


class Options(_Strict):
    """What the Inference API knows of loading and caching models: accepted, and without effect here."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None


class InferenceRequest(_Strict):
    """The body of ``POST /``."""

    inputs: Annotated[list[str] | str, PlainValidator(_inputs), WithJsonSchema({"oneOf": [TEXT, TEXTS]})] = Field(
        description="A text, or a list of them."
    )
    parameters: Parameters | None = None
    options: Options | None = None


class LabelScore(BaseModel):
    """A label and its score."""

    label: Meaning
    score: float


class InferenceError(BaseModel):
    """An error in the shape of the Inference API."""

    error: str


ANSWER: TypeAdapter[list[list[LabelScore]]] = TypeAdapter(list[list[LabelScore]])


def ranked(prediction: Prediction, scores: Sequence[float]) -> list[dict[str, Any]]:
    """Each label with its score, the highest first."""
    return [{"label": label, "score": round(score, SCORE_DIGITS)} for label, score in prediction.ranked(scores)]


async def classify_inputs(
    application: Application, inputs: list[str] | str, truncation: Truncation | None
) -> Classified:
    """Classify what the caller knows as ``inputs``: a text, or several.

    Raises:
        TextserveError: as :meth:`Application.classify` does, naming ``inputs`` or ``inputs[3]``.
    """
    texts = [inputs] if isinstance(inputs, str) else inputs
    try:
        return await application.classify(texts, truncation=truncation)
    except TextserveError as error:
        if error.where is not None:
            error.where = "inputs" if isinstance(inputs, str) else error.where.replace("texts", "inputs", 1)
        raise


def message(error: TextserveError) -> str:
    """What is wrong in one line, and where, if that is known."""
    return error.message if error.where is None else f"`{error.where}` {error.message}"


def _sigmoid(logit: float) -> float:
    # Of two equal forms the one whose power cannot overflow.
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


SCORES: dict[Transform, Callable[[Prediction], Sequence[float]]] = {
    "softmax": lambda prediction: prediction.probabilities,
    "sigmoid": lambda prediction: [_sigmoid(logit) for logit in prediction.logits],
    "none": lambda prediction: prediction.logits,
}


def parse(body: bytes) -> InferenceRequest:
    """What is asked for.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error, PROBLEMS) from None


async def _infer(application: Application, request: Request) -> Response:
    asked = parse(request.body)
    parameters = asked.parameters or Parameters()
    truncation: Truncation | None = None if parameters.truncation is False else "right"
    classified = await classify_inputs(application, asked.inputs, truncation)
    scores = SCORES[parameters.function_to_apply or "softmax"]
    answer = [ranked(one, scores(one))[: parameters.top_k] for one in classified.predictions]
    return Response(dump(answer), classified=classified)


def _refuse(error: TextserveError) -> bytes:
    return dump({"error": message(error)})


def _describe(application: Application) -> Description:
    post = operation(
        application,
        "Classify a text, or several, as Hugging Face's Inference API does",
        request=reference(InferenceRequest),
        answer=answer_schema(ANSWER),
        error=InferenceError,
    )
    return Description({"/": {"post": post}}, schemas(InferenceRequest, LabelScore, InferenceError))


HUGGINGFACE = HttpProtocol("huggingface", {("POST", "/"): _infer}, _refuse, describe=_describe)
