"""The protocol of Hugging Face's text-embeddings-inference: ``POST /predict``, ``POST /rerank`` and ``GET /info``.

It follows the OpenAPI document (docs/openapi.json of huggingface/text-embeddings-inference, version 1.9) and, for what
that leaves open, the router's code: too many tokens in a text are a 422, too many texts a 413. ``error_type`` is
capitalized as in the document's schema; the document's examples differ.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema

from textserve import __version__, errors
from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError
from textserve.http.formats import (
    SCORE_DIGITS,
    LabelScore,
    classify_inputs,
    message,
    messages,
    ranked,
    read_for,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import ELSEWHERE, TEXT, array, get, json_content, post, resolved, schemas
from textserve.reranking import check_reranks, rank, reranks
from textserve.spec import Input, ModelSpec

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]

# Status and error_type by error; all other errors are failures of the model.
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
RERANK_EXAMPLE = '{"query": "…", "texts": ["…"]}'
RERANK_PROBLEMS = messages(
    f"is missing; send {RERANK_EXAMPLE}",
    f"must be an object: {RERANK_EXAMPLE}",
    literal_error="must be Left or Right",
    list_type="must be a list of strings",
)

ONE_TEXT = array(TEXT, 1)
PAIR = "is a pair, and this model takes single texts; send two texts as [[…], […]]"


def _inputs(value: Any, spec: ModelSpec) -> list[Input] | Input:
    """An input or a list of inputs. As in the original, a list of one string is a text, a list of two is a pair."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidRequest("must be a string, or a batch such as [[…], […]]", where="inputs")
    if value and isinstance(value[0], str):
        return _sequence(value, "inputs", spec)
    return [_sequence(sequence, f"inputs[{index}]", spec) for index, sequence in enumerate(value)]


def _sequence(sequence: Any, where: str, spec: ModelSpec) -> Input:
    pairs = spec.input == "pair"
    match sequence:
        case [str(text)]:
            return text
        case [str(text), str(pair)] if pairs:
            return text, pair
        case [str(), str()]:
            raise InvalidRequest(PAIR, where=where)
    raise InvalidRequest(f"must be a list with {'two strings' if pairs else 'one string'} in it", where=where)


class _Request(BaseModel):
    """The keys that all requests have. Unknown keys are ignored, as in the original."""

    model_config = ConfigDict(strict=True)

    truncate: bool | None = Field(
        False, description="Cut off the tokens beyond the model's limit; otherwise a longer text is rejected."
    )
    truncation_direction: Literal["Left", "Right", "left", "right"] = Field(
        "Right", description="The side that is cut off."
    )
    raw_scores: bool = Field(False, description="Logits instead of probabilities.")

    @property
    def truncation(self) -> Truncation | None:
        """The side to cut, if any."""
        if not self.truncate:
            return None
        return "left" if self.truncation_direction.lower() == "left" else "right"


class PredictRequest(_Request):
    """The body of ``POST /predict``."""

    inputs: Annotated[Any, WithJsonSchema({"oneOf": [{ELSEWHERE: "Sequence"}, {ELSEWHERE: "Batch"}]})] = Field(
        description="A text or pair of texts, whichever the model takes, or a batch, each in its own list."
    )


class RerankRequest(_Request):
    """The body of ``POST /rerank``."""

    query: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]
    texts: Annotated[list[str], FailFast(), WithJsonSchema({ELSEWHERE: "RankedTexts"})] = Field(
        description="The texts to rank, each of which forms a pair with the query."
    )
    return_text: bool = Field(False, description="Return each text beside its score.")


class Rank(BaseModel):
    """A text and how well it fits the query."""

    index: int = Field(ge=0, description="Index of the text in the request.")
    score: float
    text: str = Field("", description="The text, if the request asks for it.")


class PredictError(BaseModel):
    """The body of an error."""

    error: str
    error_type: ErrorType


class Labels(BaseModel):
    """The labels of a classifier by index, and their indices by label."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class Info(BaseModel):
    """The response of ``GET /info``."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str = Field(description="Version of the model in the model store.")
    model_dtype: Literal["int8", "float32"]
    served_model_name: str
    model_type: dict[Literal["classifier", "reranker"], Labels] = Field(
        description="A reranker scores pairs of texts with a number."
    )
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
        model_type={"reranker" if reranks(spec) else "classifier": labels},
        max_concurrent_requests=settings.max_waiting_tokens,
        max_input_length=spec.tokenization.max_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_requests=settings.max_batch_texts,
        max_client_batch_size=application.max_texts,
        auto_truncate=False,
        tokenization_workers=1,
        version=__version__,
        sha=None,
        docker_label=None,
    )
    return Response(dump(content.model_dump()), counted=False)


async def _predict(application: Application, request: Request) -> Response:
    wanted = read_for(application, PredictRequest, request.body, PROBLEMS)
    inputs = _inputs(wanted.inputs, application.classifier.spec)
    classified = await classify_inputs(application, inputs, wanted.truncation)
    rows = [
        ranked(prediction, prediction.logits if wanted.raw_scores else prediction.scores)
        for prediction in classified.predictions
    ]
    return Response(dump(rows if isinstance(inputs, list) else rows[0]), classified=classified)


async def _rerank(application: Application, request: Request) -> Response:
    check_reranks(application.classifier.spec, "/predict")
    wanted = read_for(application, RerankRequest, request.body, RERANK_PROBLEMS)
    ranking = await rank(application, wanted.query, wanted.texts, truncation=wanted.truncation, raw=wanted.raw_scores)
    ranks = [
        {"index": index, "score": round(ranking.scores[index], SCORE_DIGITS)}
        | ({"text": wanted.texts[index]} if wanted.return_text else {})
        for index in ranking.best
    ]
    return Response(dump(ranks), classified=ranking.classified)


def _status(error: TextserveError) -> int:
    return ERRORS.get(type(error), BACKEND)[0]


def _error_body(error: TextserveError) -> bytes:
    return dump({"error": message(error), "error_type": ERRORS.get(type(error), BACKEND)[1]})


def _schemas(application: Application) -> dict[str, Any]:
    spec, limit = application.classifier.spec, application.max_texts
    one, text = resolved(ONE_TEXT), resolved(TEXT)
    pair = {**array(text, 2), "minItems": 2}
    found = {
        **schemas(PredictRequest, LabelScore, PredictError, Info),
        "Sequence": pair if spec.input == "pair" else {"oneOf": [text, one]},
        "Batch": array(pair if spec.input == "pair" else one, limit),
    }
    if reranks(spec):
        found |= {**schemas(RerankRequest, Rank), "RankedTexts": array(text, limit)}
    return found


def _describe_rerank(application: Application) -> dict[str, Any]:
    return describe_rerank(application) if reranks(application.classifier.spec) else {}


describe_predict = post(
    "Classify a text, or a batch, as text-embeddings-inference does",
    request=PredictRequest,
    answer=list[LabelScore] | list[list[LabelScore]],
    error=PredictError,
    status=_status,
)
describe_rerank = post(
    "Rank texts by how well they fit a query, as text-embeddings-inference does",
    request=RerankRequest,
    answer=list[Rank],
    error=PredictError,
    status=_status,
)
describe_info = get(
    "The served model and its limits, as text-embeddings-inference has it", json_content(Info), PredictError
)
TEI = HttpProtocol(
    "tei",
    [
        Route("POST", "/predict", _predict, describe_predict),
        Route("POST", "/rerank", _rerank, _describe_rerank),
        Route("GET", "/info", _info, describe_info),
    ],
    _error_body,
    status=_status,
    schemas=_schemas,
    title="text-embeddings-inference",
)
