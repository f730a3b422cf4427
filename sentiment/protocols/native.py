"""The service's own protocol: ``POST /classify``, and the metrics at ``GET /metrics``.

It is an ASGI middleware in front of BentoML's own routes. BentoML would answer ``/classify`` too (``service.py``
declares it, for the OpenAPI page and BentoML's clients), but at several times the cost of a request, with errors in
three shapes, and with the user's text in the log whenever a request is not valid.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentiment.application import Application
from sentiment.errors import BodyTooLarge, Internal, InvalidRequest, SentimentError
from sentiment.metrics import exposition
from sentiment.runner import Prediction
from sentiment.spec import Meaning

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Six digits: ten times finer than the 1e-4 to which answers are the same, and short.
SCORE_DIGITS = 6

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"texts": ["…"]}',
    "extra_forbidden": "is not a known key; the only one is texts",
    "list_type": "must be a list of strings",
    "string_type": "must be a string",
    "string_unicode": "must be Unicode text; it has half of a surrogate pair",
    "model_type": 'must be an object: {"texts": ["…"]}',
    "model_attributes_type": 'must be an object: {"texts": ["…"]}',
}


class ClassifyRequest(BaseModel):
    """The body of ``POST /classify``."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(description="Texts to classify, at least one.")


class Result(BaseModel):
    """The answer for one text."""

    label: Meaning = Field(description="The label with the highest score.")
    score: float = Field(description="Its probability.")
    scores: dict[Meaning, float] = Field(description="The probability of every label.")
    tokens: int = Field(description="Tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the text was longer than the model reads.")


class ClassifyResponse(BaseModel):
    """The answer of ``POST /classify``."""

    model: str = Field(description="Name and version of the model that answered.")
    results: list[Result] = Field(description="One for each text, in the order asked.")


def response(application: Application, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The answer, as :class:`ClassifyResponse` describes it, in plain dicts and lists."""
    return {"model": application.tag, "results": [_result(application.meanings, one) for one in predictions]}


def _result(meanings: Sequence[Meaning], prediction: Prediction) -> dict[str, Any]:
    scores = {
        meaning: round(score, SCORE_DIGITS) for meaning, score in zip(meanings, prediction.probabilities, strict=True)
    }
    label = max(scores, key=scores.__getitem__)
    return {
        "label": label,
        "score": scores[label],
        "scores": scores,
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
    }


def parse(body: bytes) -> list[str]:
    """The texts of a request's body.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return ClassifyRequest.model_validate_json(body).texts
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else part for part in problem["loc"])
    raise InvalidRequest(PROBLEMS.get(problem["type"], problem["msg"]), where=where or "body")


class NativeProtocol:
    """ASGI middleware that answers ``/classify`` and ``/metrics`` and passes on everything else."""

    def __init__(self, app: App, application: Callable[[], Application]) -> None:
        """Wrap ``app``; ``application()`` is asked for once there are requests."""
        self._app = app
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        path = scope.get("path") if scope["type"] == "http" else None
        if path == "/classify" and scope["method"] == "POST":
            await self._classify(scope, receive, send)
        elif path == "/metrics" and scope["method"] == "GET":
            content = exposition(self._application().registry)
            await _send(send, 200, content, b"text/plain; version=0.0.4; charset=utf-8")
        else:
            await self._app(scope, receive, send)

    async def _classify(self, scope: Scope, receive: Receive, send: Send) -> None:
        application, started = self._application(), time.perf_counter()
        headers: list[tuple[bytes, bytes]] = []
        try:
            body = await _read(scope, receive, application.settings.max_body_bytes)
            answer = response(application, await application.classify(parse(body)))
            status, outcome = 200, "ok"
        except Exception as error:
            refusal = error if isinstance(error, SentimentError) else _unexpected(error)
            answer, status, outcome = _error(refusal), refusal.status, refusal.type
            if refusal.retry_after is not None:
                headers.append((b"retry-after", str(max(1, math.ceil(refusal.retry_after))).encode()))
            if isinstance(refusal, BodyTooLarge):
                headers.append((b"connection", b"close"))
        content = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        application.requests.observe("native", outcome, time.perf_counter() - started)
        await _send(send, status, content, b"application/json", headers)


def _unexpected(error: Exception) -> Internal:
    # The message may quote the request; where it happened does not.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    line = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
    logger.error("unexpected %s at %s while answering /classify", type(error).__name__, line)
    return Internal("something went wrong in the service; its log says where")


def _error(error: SentimentError) -> dict[str, Any]:
    content: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.where is not None:
        content = {"type": error.type, "where": error.where, "message": f"{error.where} {error.message}"}
    return {"error": content}


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body, refused as soon as it is known to be larger than ``limit`` bytes."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    chunks: list[bytes] = []
    size = int(declared) if declared.isdigit() else 0
    received = 0
    more = True
    while more:
        if max(size, received) > limit:
            raise BodyTooLarge(f"has more than {limit} bytes; send fewer texts in one request", where="body")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("ended before all of it had arrived", where="body")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        received += len(chunk)
        more = message.get("more_body", False)
    if received > limit:
        raise BodyTooLarge(f"has more than {limit} bytes; send fewer texts in one request", where="body")
    return b"".join(chunks)


async def _send(
    send: Send, status: int, content: bytes, content_type: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(content)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})
