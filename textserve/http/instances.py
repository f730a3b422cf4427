"""The contract that most platforms share: a request has instances, and its response one prediction for each.

- KServe V1 and TensorFlow Serving: ``GET /v1/models/{model}``, ``POST /v1/models/{model}:predict``
- MLflow's scoring server and SageMaker: ``POST /invocations``
- Vertex AI: the paths in ``AIP_PREDICT_ROUTE`` and ``AIP_HEALTH_ROUTE``

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol, mlflow's ``pyfunc/scoring_server``,
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. None of them defines a prediction:
here it is a result of ``POST /classify``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from textserve import oip
from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError, UnknownModel
from textserve.http.formats import (
    AnyResult,
    MessageResponse,
    TopK,
    as_input,
    classify_inputs,
    message_body,
    messages,
    read_for,
    result,
    result_schema,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import (
    ELSEWHERE,
    STRING,
    TEXT,
    TEXTS,
    array,
    get,
    post,
    refusal,
    resolved,
    schemas,
)
from textserve.spec import Input, ModelSpec

TITLE = "KServe V1, TensorFlow Serving, Vertex AI, SageMaker and MLflow"
EXAMPLE = '{"instances": ["…"]}'
PROBLEMS = messages(
    "is missing",
    f"must be an object; send {EXAMPLE}",
    list_type="must be a list",
    greater_than_equal="must be at least 1",
)
# The keys of a body; exactly one of them has the instances.
FORMATS = ("instances", "inputs", "dataframe_records", "dataframe_split")
# MLflow's error codes by HTTP status.
ERROR_CODES = {
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Lenient(BaseModel):
    """Unknown keys are ignored: platforms add their own."""

    model_config = ConfigDict(strict=True)


class PredictionOptions(_Lenient):
    """What the response contains."""

    truncate: bool = Field(
        True, description="False rejects a text with more tokens than the model reads; otherwise its end is cut off."
    )
    top_k: TopK | None = Field(None, description="Number of scores, the highest first; all by default.")


class Split(_Lenient):
    """A table as pandas writes it with ``orient="split"``; its index is ignored."""

    columns: Annotated[list[Any], WithJsonSchema({ELSEWHERE: "ColumnNames"})]
    data: Annotated[list[Any], WithJsonSchema({ELSEWHERE: "SplitRows"})]


class PredictionsRequest(_Lenient):
    """A body with instances under one of four keys: texts or pairs of texts, whichever the model takes."""

    # The defaults are never read: model_fields_set says which keys the body has.
    instances: Annotated[list[Any], WithJsonSchema({ELSEWHERE: "Instances"})] = []
    inputs: Annotated[Any, WithJsonSchema({ELSEWHERE: "Columns"})] = Field(
        None, description="A text, a list of instances, or an object with a list for each column."
    )
    dataframe_records: Annotated[list[Any], WithJsonSchema({ELSEWHERE: "Instances"})] = []
    dataframe_split: Annotated[Split, WithJsonSchema({ELSEWHERE: "Split"})] = Split(columns=[], data=[])
    parameters: PredictionOptions | None = Field(None, description="Options under Vertex AI's name.")
    params: PredictionOptions | None = Field(None, description="The same options under MLflow's name.")


class PredictionsResponse(BaseModel):
    """One prediction for each instance, in the order of the request."""

    predictions: list[AnyResult]


class InvocationsError(BaseModel):
    """The body of an error, as MLflow has it."""

    error_code: str
    message: str


def _rows(wanted: PredictionsRequest) -> tuple[list[Any], str]:
    """The instances, and the name that errors give to their list."""
    given = [name for name in FORMATS if name in wanted.model_fields_set]
    if len(given) != 1:
        names = ", ".join(FORMATS)
        raise InvalidRequest(f"must have one of {names}, and has {' and '.join(given) or 'none'}", where="body")
    (name,) = given
    value = getattr(wanted, name)
    if isinstance(value, Split):
        return _split(value), "dataframe_split.data"
    if isinstance(value, dict):
        return _columns(value), name
    if isinstance(value, str):
        return [value], name
    if not isinstance(value, list):
        raise InvalidRequest("must be a string, a list, or an object of lists", where=name)
    return value, name


def _split(table: Split) -> list[Any]:
    names = [str(name) for name in table.columns]
    if len(set(names)) != len(names):
        raise InvalidRequest("must have a different name for each column", where="dataframe_split.columns")
    rows = []
    for index, row in enumerate(table.data):
        if not isinstance(row, list) or len(row) != len(names):
            message = f"must be a list of {len(names)} values, one for each column"
            raise InvalidRequest(message, where=f"dataframe_split.data[{index}]")
        rows.append(dict(zip(names, row, strict=True)))
    return rows


def _columns(columns: dict[str, Any]) -> list[Any]:
    lists = {name: [column] if isinstance(column, str) else column for name, column in columns.items()}
    if not lists or not all(isinstance(column, list) for column in lists.values()):
        raise InvalidRequest("must have a list of texts for each column", where="inputs")
    if len({len(column) for column in lists.values()}) != 1:
        raise InvalidRequest("must have the same number of texts in each column", where="inputs")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _instance(value: Any, where: str, spec: ModelSpec) -> Input:
    """A text or pair: as in ``POST /classify``, in a list of its own, or a row of a table."""
    pair = spec.input == "pair"
    if isinstance(value, list):
        if len(value) != (2 if pair else 1) or not all(isinstance(text, str) for text in value):
            raise InvalidRequest(f"must be a list with {'two strings' if pair else 'one string'} in it", where=where)
        return tuple(value) if pair else value[0]
    if isinstance(value, dict) and not pair:
        # The only column of a table, whatever its name.
        if len(value) != 1:
            raise InvalidRequest(f"has {len(value)} columns; send one, as this model takes single texts", where=where)
        (value,) = value.values()
    return as_input(value, where, spec)


async def _predict(application: Application, request: Request) -> Response:
    wanted = read_for(application, PredictionsRequest, request.body, PROBLEMS)
    options = wanted.parameters or wanted.params or PredictionOptions()
    rows, name = _rows(wanted)
    spec = application.classifier.spec
    inputs = [_instance(row, f"{name}[{index}]", spec) for index, row in enumerate(rows)]
    classified = await classify_inputs(application, inputs, "right" if options.truncate else None, name)
    predictions = [result(prediction, options.top_k) for prediction in classified.predictions]
    return Response(dump({"predictions": predictions}), classified=classified)


async def _predict_model(application: Application, request: Request) -> Response:
    oip.check_model(application, request.parameters["model"])
    return await _predict(application, request)


async def _model(application: Application, request: Request) -> Response:
    """The status of the model, with the keys of KServe and of TensorFlow Serving."""
    oip.check_model(application, name := request.parameters["model"])
    ready = application.available
    status = {
        "version": oip.version(application),
        "state": "AVAILABLE" if ready else "UNKNOWN",
        "status": {"error_code": "OK" if ready else "UNAVAILABLE", "error_message": ""},
    }
    content = {"name": name, "ready": ready, "model_version_status": [status]}
    return Response(dump(content), status=200 if ready else 503, counted=False)


async def _health(application: Application, request: Request) -> Response:
    return Response(b"{}", 200 if application.available else 503, counted=False)


def _invocations_error(error: TextserveError) -> bytes:
    return dump({"error_code": ERROR_CODES.get(error.status, "BAD_REQUEST"), "message": error.full_message})


def _schemas(application: Application) -> dict[str, Any]:
    spec, limit = application.classifier.spec, application.max_texts
    pair = spec.input == "pair"
    sequence = {**array(TEXT, 2), "minItems": 2} if pair else array(TEXT, 1)
    # One column of any name, or the two columns of a pair.
    record = {"minProperties": 1, "maxProperties": 1, "additionalProperties": TEXT}
    columns = {"minProperties": 1, "maxProperties": 1, "additionalProperties": {"oneOf": [TEXT, TEXTS]}}
    names = array({}, 1)
    if pair:
        record = {ELSEWHERE: "Pair"}
        columns = {"required": ["text", "text_pair"], "properties": {"text": {}, "text_pair": {}}}
        names = {"enum": [["text", "text_pair"], ["text_pair", "text"]]}
    instance = {"oneOf": [sequence, record]} if pair else {"oneOf": [TEXT, sequence, {"type": "object", **record}]}
    found = schemas(PredictionsRequest, PredictionsResponse, MessageResponse, InvocationsError, Split)
    request = found["PredictionsRequest"]
    request["oneOf"] = [{"required": [name]} for name in FORMATS]
    for name in FORMATS:
        del request["properties"][name]["default"]
    more = {
        "Result": result_schema(spec),
        "Instances": array(instance, limit),
        "Columns": {"oneOf": [*([] if pair else [TEXT]), {ELSEWHERE: "Instances"}, {"type": "object", **columns}]},
        "ColumnNames": names,
        "SplitRows": array(sequence, limit),
    }
    return {**found, **resolved(more)}


def _of_model(operation: dict[str, Any], application: Application) -> dict[str, Any]:
    operation["responses"]["404"] = refusal([UnknownModel], MessageResponse)
    name = application.classifier.spec.name
    operation["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {**STRING, "enum": [name]}}]
    return operation


def _described_model(application: Application) -> dict[str, Any]:
    operation = _of_model(_status(application), application)
    operation["responses"]["503"] = {**operation["responses"]["200"], "description": "The model is not ready."}
    return operation


def _described_prediction(application: Application) -> dict[str, Any]:
    return _of_model(describe(application), application)


describe = post(
    "Classify instances, as KServe V1, TensorFlow Serving and Vertex AI do",
    request=PredictionsRequest,
    answer=PredictionsResponse,
    error=MessageResponse,
)
describe_invocations = post(
    "Classify instances, as MLflow and SageMaker do",
    request=PredictionsRequest,
    answer=PredictionsResponse,
    error=InvocationsError,
)
_status = get(
    "Whether the model is ready, as KServe V1 and TensorFlow Serving have it",
    {"application/json": {"schema": {"type": "object"}}},
    MessageResponse,
)
KSERVE_V1 = HttpProtocol(
    "kserve-v1",
    [
        # First, since the template of the other route would take this path for a model's name.
        Route("POST", "/v1/models/{model}:predict", _predict_model, _described_prediction),
        Route("GET", "/v1/models/{model}", _model, _described_model),
    ],
    message_body,
    schemas=_schemas,
    title=TITLE,
)
INVOCATIONS = HttpProtocol(
    "invocations",
    [Route("POST", "/invocations", _predict, describe_invocations)],
    _invocations_error,
    title=TITLE,
)


def vertex(environment: Mapping[str, str]) -> list[HttpProtocol]:
    """The protocols of Vertex AI on the paths that its variables name, if they are set.

    Another protocol may have the path of predictions too: a body with ``instances`` is then a request of Vertex AI.

    Raises:
        ValueError: if a path does not begin with a slash, or is a template.
    """
    paths = {name: environment.get(name, "") for name in ("AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE")}
    for name, path in paths.items():
        if path and (not path.startswith("/") or "{" in path):
            raise ValueError(f"{name}: must be a path that begins with / and has no {{, such as /predict")
    predict, health = paths.values()
    routes = [Route("POST", predict, _predict, describe, key="instances")] if predict else []
    checks = [Route("GET", health, _health)] if health else []
    return [
        HttpProtocol("vertex", routes, message_body, title=TITLE),
        HttpProtocol("vertex", checks, message_body, open=True),
    ]
