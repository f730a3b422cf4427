"""The protocol of Hugging Face's text-embeddings-inference for classifiers: ``POST /predict`` and ``GET /info``.

It follows the OpenAPI document (docs/openapi.json of huggingface/text-embeddings-inference, version 1.9) and, for what
that leaves open, the router: too many tokens in a text are a 422, too many texts a 413. ``error_type`` is capitalized
as in the document's schema; its examples differ.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from textserve import __version__, errors
from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError
from textserve.http.formats import LabelScore, classify_inputs, message, messages, ranked, read
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import ELSEWHERE, TEXT, array, get, json_content, post, resolved, schemas

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]

# Status and error_type; all others are failures of the model.
ERRORS: dict[type[TextserveError], tuple[int, ErrorType]] = {
    errors.InvalidRequest: (422, "Validation"),
    errors.TextTooLong: (422, "Validation"),
    errors.InputTooLong: (422, "Validation"),
    errors.RequestTooLarge: (413, "Validation"),
    errors.TooManyTexts: (413, "Validation"),
    errors.BodyTooLarge: (413, "Validation"),
    errors.EmptyInput: (400, "Empty"),
    errors.Overloaded: (429, "Overloaded"),
    errors.NotReady: (503, "Unhealthy"),
    errors.ShuttingDown: (503, "Unhealthy"),
    errors.Unauthorized: (401, "Validation"),
    errors.UnknownModel: (404, "Validation"),
    errors.NotFound: (404, "Validation"),
    errors.ReceiveTimeout: (408, "Validation"),
    errors.UrlTooLong: (414, "Validation"),
    errors.HeadTooLarge: (431, "Validation"),
    errors.MethodNotAllowed: (405, "Validation"),
}
BACKEND: tuple[int, ErrorType] = (424, "Backend")

EXAMPLE = '{"inputs": "…"}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}", f"must be an object: {EXAMPLE}", literal_error="must be Left or Right"
)

ONE_TEXT = array(TEXT, 1)
PAIR = "is a pair, and this model takes single texts; send two texts as [[…], […]]"


def _inputs(value: Any) -> list[str] | str:
    """A text, or the texts of a batch. As in the original, a list of one string is that string."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidRequest("must be a string, or a batch such as [[…], […]]", where="inputs")
    if value and isinstance(value[0], str):
        return _only(value, "inputs")
    return [_only(sequence, f"inputs[{index}]") for index, sequence in enumerate(value)]


def _only(sequence: Any, where: str) -> str:
    match sequence:
        case [str(text)]:
            return text
        case [str(), str()]:
            raise InvalidRequest(PAIR, where=where)
    raise InvalidRequest("must be a list with one string in it", where=where)


class PredictRequest(BaseModel):
    """The body of ``POST /predict``. Unknown keys are ignored, as in the original."""

    model_config = ConfigDict(strict=True)

    inputs: Annotated[
        list[str] | str, PlainValidator(_inputs), WithJsonSchema({"oneOf": [TEXT, ONE_TEXT, {ELSEWHERE: "Batch"}]})
    ] = Field(description="A text, or a batch of texts, each in its own list. A pair is rejected.")
    truncate: bool | None = Field(
        False, description="Cut off the tokens beyond the model's limit; otherwise such a text is rejected."
    )
    truncation_direction: Literal["Left", "Right", "left", "right"] = Field(
        "Right", description="The side that is cut off."
    )
    raw_scores: bool = Field(False, description="Logits instead of probabilities.")


class PredictError(BaseModel):
    """The body of an error."""

    error: str
    error_type: ErrorType


class Labels(BaseModel):
    """The labels of a classifier, both ways."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(BaseModel):
    """The kind of model."""

    classifier: Labels


class Info(BaseModel):
    """The response of ``GET /info``."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str = Field(description="Version of the model in the model store.")
    model_dtype: Literal["int8", "float32"]
    served_model_name: str
    model_type: ModelType
    max_concurrent_requests: int = Field(description="Limit of waiting tokens, which limits the requests.")
    max_input_length: int = Field(description="Limit of tokens per text, special tokens included.")
    max_batch_tokens: int
    max_batch_requests: int
    max_client_batch_size: int = Field(description="Limit of texts per request.")
    auto_truncate: Literal[False]
    tokenization_workers: Literal[1]
    version: str = Field(description="Version of this service.")
    sha: None
    docker_label: None


async def _info(application: Application, request: Request) -> Response:
    spec, settings = application.classifier.spec, application.settings
    name, version = application.tag.split(":", 1)
    labels = Labels(
        id2label={str(index): label for index, label in enumerate(spec.label_names)},
        label2id={label: index for index, label in enumerate(spec.label_names)},
    )
    content = Info(
        model_id=spec.name,
        model_sha=version,
        model_dtype="float32" if spec.quantization.method == "none" else "int8",
        served_model_name=name,
        model_type=ModelType(classifier=labels),
        max_concurrent_requests=settings.max_waiting_tokens,
        max_input_length=spec.tokenization.max_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_requests=settings.max_batch_texts,
        max_client_batch_size=settings.max_texts,
        auto_truncate=False,
        tokenization_workers=1,
        version=__version__,
        sha=None,
        docker_label=None,
    )
    return Response(dump(content.model_dump()), counted=False)


async def _predict(application: Application, request: Request) -> Response:
    wanted = read(PredictRequest, request.body, PROBLEMS, application.settings.max_texts)
    side: Truncation = "left" if wanted.truncation_direction.lower() == "left" else "right"
    classified = await classify_inputs(application, wanted.inputs, side if wanted.truncate else None)
    rows = [
        ranked(prediction, prediction.logits if wanted.raw_scores else prediction.scores)
        for prediction in classified.predictions
    ]
    return Response(dump(rows[0] if isinstance(wanted.inputs, str) else rows), classified=classified)


def _status(error: TextserveError) -> int:
    return ERRORS.get(type(error), BACKEND)[0]


def _error_body(error: TextserveError) -> bytes:
    return dump({"error": message(error), "error_type": ERRORS.get(type(error), BACKEND)[1]})


def _schemas(application: Application) -> dict[str, Any]:
    batch = array(resolved(ONE_TEXT), application.settings.max_texts)
    return {**schemas(PredictRequest, LabelScore, PredictError, Info), "Batch": batch}


describe_predict = post(
    "Classify a text, or a batch, as text-embeddings-inference does",
    request=PredictRequest,
    answer=list[LabelScore] | list[list[LabelScore]],
    error=PredictError,
    status=_status,
)
describe_info = get(
    "The served model and its limits, as text-embeddings-inference has it", json_content(Info), PredictError
)
TEI = HttpProtocol(
    "tei",
    [Route("POST", "/predict", _predict, describe_predict), Route("GET", "/info", _info, describe_info)],
    _error_body,
    status=_status,
    schemas=_schemas,
    title="text-embeddings-inference",
)
