"""vLLM's classification, which SGLang has too: ``POST /classify``, ``POST /v1/classify`` and ``GET /v1/models``.

It follows vLLM's ``entrypoints/pooling/classify/protocol.py`` and ``entrypoints/openai/engine/protocol.py``.
``/classify`` has the native protocol as well: a body with ``input`` is a request of vLLM's. ``probs`` are, as in vLLM,
the model's scores: probabilities that sum to 1, for several labels one probability each, or a number.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from textserve import oip
from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError, UnknownModel
from textserve.http.formats import SCORE_DIGITS, Label, Whole, classify_inputs, messages, read_for
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import ELSEWHERE, TEXT, TEXTS, get, json_content, post, schemas
from textserve.spec import Input, ModelSpec

EXAMPLE = '{"input": "…"}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}", f"must be an object: {EXAMPLE}", greater_than_equal="must be -1 or more"
)
NO_PAIRS = "has only single texts in this protocol, and this model takes pairs; use /classify with texts"
# vLLM's names by status; it gives other errors the name of their HTTP status.
ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}


class ClassificationRequest(BaseModel):
    """The body of ``POST /v1/classify``. Unknown keys are ignored, as in the original."""

    model_config = ConfigDict(strict=True)

    model: Annotated[str | None, WithJsonSchema({ELSEWHERE: "ServedModel"})] = Field(
        None, description="Name of the served model, with or without its version."
    )
    input: Annotated[Any, WithJsonSchema({"oneOf": [TEXT, TEXTS]})] = Field(description="A text, or a list of texts.")
    truncate_prompt_tokens: Annotated[Whole | None, Field(ge=-1), WithJsonSchema({ELSEWHERE: "PromptTokens"})] = Field(
        None, description="-1 cuts off the tokens beyond the model's limit; otherwise a longer text is rejected."
    )
    use_activation: bool | None = Field(None, description="False returns logits.")


class ClassificationData(BaseModel):
    """The answer for one text."""

    index: int = Field(ge=0, description="Index of the text in the request.")
    label: Label = Field(description="The label with the highest score; for regression, the number's name.")
    probs: list[float] = Field(description="The score of every label, in the model's order.")
    num_classes: int


class Usage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: None


class ClassificationResponse(BaseModel):
    """The response of ``POST /v1/classify``."""

    id: str
    object: str
    created: int = Field(description="Time of the response, in seconds since 1970.")
    model: str = Field(description="The served model's name.")
    data: list[ClassificationData]
    usage: Usage


class Model(BaseModel):
    """A served model."""

    id: str
    object: str
    created: int
    owned_by: str
    root: str = Field(description="Name and version of the model.")
    parent: None
    max_model_len: int = Field(description="Limit of tokens per text, special tokens included.")
    permission: list[Any]


class ModelList(BaseModel):
    """The response of ``GET /v1/models``."""

    object: str
    data: list[Model]


class ErrorInfo(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None = Field(description="The part of the request at fault, if known.")
    code: int = Field(description="The HTTP status.")


class ClassificationError(BaseModel):
    """The body of an error."""

    error: ErrorInfo


def _inputs(value: Any, spec: ModelSpec) -> list[Input] | Input:
    if spec.input == "pair":
        raise InvalidRequest(NO_PAIRS, where="input")
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidRequest("must be a string or a list of strings", where="input")
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise InvalidRequest("must be a string; token ids are not read", where=f"input[{index}]")
    return value


def _truncation(tokens: int | None, spec: ModelSpec) -> Truncation | None:
    if tokens is not None and 0 <= tokens < spec.tokenization.max_tokens:
        message = f"must be -1, or at least {spec.tokenization.max_tokens}, the model's limit"
        raise InvalidRequest(message, where="truncate_prompt_tokens")
    return None if tokens is None else "right"


async def _classify(application: Application, request: Request) -> Response:
    wanted = read_for(application, ClassificationRequest, request.body, PROBLEMS)
    spec = application.classifier.spec
    if wanted.model:
        oip.check_model(application, *wanted.model.split(":", 1))
    truncation = _truncation(wanted.truncate_prompt_tokens, spec)
    classified = await classify_inputs(application, _inputs(wanted.input, spec), truncation, "input")
    data = []
    for index, prediction in enumerate(classified.predictions):
        scores = prediction.logits if wanted.use_activation is False else prediction.scores
        probs = [round(score, SCORE_DIGITS) for score in scores]
        data.append({"index": index, "label": prediction.label, "probs": probs, "num_classes": len(probs)})
    tokens = classified.tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    content = {
        "id": f"classify-{request.id}",
        "object": "list",
        "created": int(time.time()),
        "model": spec.name,
        "data": data,
        "usage": usage,
    }
    return Response(dump(content), classified=classified)


async def _models(application: Application, request: Request) -> Response:
    spec = application.classifier.spec
    model = {
        "id": spec.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "textserve",
        "root": application.tag,
        "parent": None,
        "max_model_len": spec.tokenization.max_tokens,
        "permission": [],
    }
    return Response(dump({"object": "list", "data": [model]}), counted=False)


def _error_body(error: TextserveError) -> bytes:
    kind = ERROR_TYPES.get(error.status, HTTPStatus(error.status).phrase)
    info = {"message": error.full_message, "type": kind, "param": error.where, "code": error.status}
    return dump({"error": info})


def _schemas(application: Application) -> dict[str, Any]:
    spec = application.classifier.spec
    return {
        **schemas(ClassificationRequest, ClassificationResponse, ClassificationError, ModelList),
        "ServedModel": {"enum": [spec.name, application.tag, "", None]},
        "PromptTokens": {"oneOf": [{"enum": [-1, None]}, {"type": "integer", "minimum": spec.tokenization.max_tokens}]},
    }


_post = post(
    "Classify a text, or several, as vLLM does",
    request=ClassificationRequest,
    answer=ClassificationResponse,
    error=ClassificationError,
    more=[UnknownModel],
)


def describe(application: Application) -> dict[str, Any]:
    """``POST`` of texts; empty for a model of pairs, which this protocol cannot send."""
    return _post(application) if application.classifier.spec.input != "pair" else {}


describe_models = get("The served model, as vLLM has it", json_content(ModelList), ClassificationError)
VLLM = HttpProtocol(
    "vllm",
    [
        Route("POST", "/classify", _classify, describe, key="input"),
        Route("POST", "/v1/classify", _classify, describe),
        Route("GET", "/v1/models", _models, describe_models),
    ],
    _error_body,
    schemas=_schemas,
    title="vLLM and SGLang",
)
