"""The protocol of Hugging Face's text-embeddings-inference for classifiers: ``POST /predict`` and ``GET /info``.

From its OpenAPI document (docs/openapi.json of huggingface/text-embeddings-inference, version 1.9) and, where that is
silent, its router: a text with too many tokens is a validation error, 422, and a batch with too many texts is one too,
413. ``error_type`` has the capitals of the document's schema, which its examples lack.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

from textserve import __version__
from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import (
    BodyTooLarge,
    EmptyInput,
    InputTooLong,
    InvalidRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    ShuttingDown,
    TextserveError,
    TextTooLong,
    TooManyTexts,
    Unauthorized,
    UnknownModel,
)
from textserve.http.huggingface import LabelScore, classify_inputs, message, ranked
from textserve.http.native import invalid
from textserve.http.router import Description, HttpProtocol, Request, Response, dump
from textserve.http.schemas import ELSEWHERE, TEXT, answer_schema, get, operation, reference, resolved, schemas
from textserve.spec import Meaning

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]

# Status and error_type of what is not the model's own failure, which is 424, Backend.
ERRORS: dict[type[TextserveError], tuple[int, ErrorType]] = {
    InvalidRequest: (422, "Validation"),
    TextTooLong: (422, "Validation"),
    InputTooLong: (422, "Validation"),
    TooManyTexts: (413, "Validation"),
    BodyTooLarge: (413, "Validation"),
    EmptyInput: (400, "Empty"),
    Overloaded: (429, "Overloaded"),
    NotReady: (503, "Unhealthy"),
    ShuttingDown: (503, "Unhealthy"),
    Unauthorized: (401, "Validation"),
    UnknownModel: (404, "Validation"),
    MethodNotAllowed: (405, "Validation"),
}
BACKEND: tuple[int, ErrorType] = (424, "Backend")

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"inputs": "…"}',
    "model_type": 'must be an object: {"inputs": "…"}',
    "model_attributes_type": 'must be an object: {"inputs": "…"}',
    "bool_type": "must be true or false",
    "literal_error": "must be Left or Right",
}

ONE_TEXT = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}
PAIR = "is a pair, and this model reads one text at a time; send two texts as [[…], […]]"


def _inputs(value: Any) -> list[str] | str:
    """A text, or the texts of a batch.

    Like the original, a list of one string is taken for that string.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidRequest("must be a string, or a batch such as [[…], […]]", where="inputs")
    if value and isinstance(value[0], str):
        return _one(value, "inputs")
    return [_one(sequence, f"inputs[{place}]") for place, sequence in enumerate(value)]


def _one(sequence: Any, where: str) -> str:
    if not isinstance(sequence, list) or not all(isinstance(text, str) for text in sequence):
        raise InvalidRequest("must be a list with one string in it", where=where)
    if len(sequence) == 2:
        raise InvalidRequest(PAIR, where=where)
    if len(sequence) != 1:
        raise InvalidRequest("must be a list with one string in it", where=where)
    text: str = sequence[0]
    return text


class PredictRequest(BaseModel):
    """The body of ``POST /predict``. Keys that it does not know are passed over, as the original does."""

    model_config = ConfigDict(strict=True)

    inputs: Annotated[
        list[str] | str,
        PlainValidator(_inputs),
        WithJsonSchema({"oneOf": [TEXT, ONE_TEXT, {ELSEWHERE: "Batch"}]}),
    ] = Field(description="A text, or a batch of texts, each in a list of its own. A pair is refused.")
    truncate: bool | None = Field(
        False, description="Cut off what is beyond the tokens that the model reads; otherwise such a text is refused."
    )
    truncation_direction: Literal["Left", "Right", "left", "right"] = Field(
        "Right", description="The side that is cut off."
    )
    raw_scores: bool = Field(False, description="The model's outputs (logits) as they are, not probabilities.")


class PredictError(BaseModel):
    """The body of an error."""

    error: str
    error_type: ErrorType


class Labels(BaseModel):
    """The labels of a classifier, both ways."""

    id2label: dict[str, Meaning]
    label2id: dict[Meaning, int]


class ModelType(BaseModel):
    """What kind of model it is."""

    classifier: Labels


class Info(BaseModel):
    """The answer of ``GET /info``."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str = Field(description="Version of the model in the store.")
    model_dtype: Literal["int8", "float32"]
    served_model_name: str
    model_type: ModelType
    max_concurrent_requests: int = Field(description="Requests are bounded by the tokens that may wait.")
    max_input_length: int = Field(description="Tokens in a text that are read at most, special tokens included.")
    max_batch_tokens: int
    max_batch_requests: int
    max_client_batch_size: int = Field(description="Texts in a request at most.")
    auto_truncate: Literal[False]
    tokenization_workers: Literal[1]
    version: str = Field(description="Of this service.")
    sha: None
    docker_label: None


ANSWER: TypeAdapter[list[LabelScore] | list[list[LabelScore]]] = TypeAdapter(list[LabelScore] | list[list[LabelScore]])


def info(application: Application) -> Info:
    """What is served, and with which limits."""
    spec, settings = application.classifier.spec, application.settings
    name, version = application.tag.split(":", 1)
    labels = Labels(
        id2label={str(place): meaning for place, meaning in enumerate(spec.meanings)},
        label2id={meaning: place for place, meaning in enumerate(spec.meanings)},
    )
    return Info(
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


def parse(body: bytes) -> PredictRequest:
    """What is asked for.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error, PROBLEMS) from None


def _side(asked: PredictRequest) -> Truncation | None:
    if not asked.truncate:
        return None
    return "left" if asked.truncation_direction.lower() == "left" else "right"


async def _predict(application: Application, request: Request) -> Response:
    asked = parse(request.body)
    classified = await classify_inputs(application, asked.inputs, _side(asked))
    answers = [ranked(one, one.logits if asked.raw_scores else one.probabilities) for one in classified.predictions]
    return Response(dump(answers[0] if isinstance(asked.inputs, str) else answers), classified=classified)


async def _info(application: Application, request: Request) -> Response:
    return Response(dump(info(application).model_dump()), counted=False)


def _status(error: TextserveError) -> int:
    return ERRORS.get(type(error), BACKEND)[0]


def _refuse(error: TextserveError) -> bytes:
    return dump({"error": message(error), "error_type": ERRORS.get(type(error), BACKEND)[1]})


def _describe(application: Application) -> Description:
    post = operation(
        application,
        "Classify a text, or a batch, as text-embeddings-inference does",
        request=reference(PredictRequest),
        answer=answer_schema(ANSWER),
        error=PredictError,
        status=_status,
    )
    content = {"application/json": {"schema": reference(Info)}}
    summary = "What is served, and with which limits, as text-embeddings-inference says it"
    paths = {"/predict": {"post": post}, "/info": {"get": get(application, summary, content, PredictError)}}
    batch = {"type": "array", "items": resolved(ONE_TEXT), "minItems": 1, "maxItems": application.settings.max_texts}
    return Description(paths, {**schemas(PredictRequest, LabelScore, PredictError, Info), "Batch": batch})


TEI = HttpProtocol(
    "tei", {("POST", "/predict"): _predict, ("GET", "/info"): _info}, _refuse, status=_status, describe=_describe
)
