"""The errors of a request. Each protocol maps them to its own status and body.

The documentation's table of errors is generated from these classes and :data:`textserve.grpc.statuses.CODES`. No
message quotes a text: messages are logged, texts are not.
"""

from __future__ import annotations

from typing import ClassVar


class TextserveError(Exception):
    """A request that fails.

    Attributes:
        type: the error's name, for programs.
        status: the HTTP status.
        where: the part of the request at fault, such as ``texts[3]``; ``None`` for the whole request.
        retry_after: seconds after which the same request may succeed; ``None`` if never, or unknown.
    """

    type: ClassVar[str]
    status: ClassVar[int]

    def __init_subclass__(cls, type: str, status: int) -> None:
        cls.type, cls.status = type, status

    def __init__(self, message: str, *, where: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.retry_after = retry_after

    @property
    def full_message(self) -> str:
        """One sentence: the part of the request at fault, if known, and the message."""
        return self.message if self.where is None else f"{self.where} {self.message}"


class InvalidRequest(TextserveError, type="invalid_request", status=400):
    """The body is not JSON, not UTF-8, or not in the documented format: a key is missing, a text is not a string."""


class EmptyInput(TextserveError, type="empty_input", status=400):
    """The request has no texts, or a text is empty or only white space."""


class TooManyTexts(TextserveError, type="too_many_texts", status=413):
    """The request has more texts than ``TEXTSERVE_MAX_TEXTS``."""


class TextTooLong(TextserveError, type="text_too_long", status=413):
    """A text has more characters than ``TEXTSERVE_MAX_CHARACTERS``, or costs more to explain than
    ``TEXTSERVE_MAX_EXPLAINED_TOKENS``.
    """


class InputTooLong(TextserveError, type="input_too_long", status=413):
    """A text has more tokens than the model's input, and the request or the model does not allow truncation."""


class RequestTooLarge(TextserveError, type="request_too_large", status=413):
    """By the measured speed, computing the request would take longer than ``TEXTSERVE_REQUEST_SECONDS``."""


class BodyTooLarge(TextserveError, type="body_too_large", status=413):
    """The body has more bytes than ``TEXTSERVE_MAX_BODY_BYTES``."""


class ReceiveTimeout(TextserveError, type="receive_timeout", status=408):
    """The request did not arrive within ``TEXTSERVE_RECEIVE_SECONDS``."""


class UrlTooLong(TextserveError, type="url_too_long", status=414):
    """The URL has more than 16 KiB."""


class HeadTooLarge(TextserveError, type="headers_too_large", status=431):
    """URL and headers have more than 32 KiB together."""


class UnknownModel(TextserveError, type="unknown_model", status=404):
    """The request names a model or version other than the served one."""


class NotFound(TextserveError, type="not_found", status=404):
    """The path does not exist."""


class MethodNotAllowed(TextserveError, type="method_not_allowed", status=405):
    """The path does not support this HTTP method; the header ``Allow`` lists the methods it supports."""


class Unauthorized(TextserveError, type="unauthorized", status=401):
    """API keys are configured, and the request has none of them."""


class Overloaded(TextserveError, type="overloaded", status=429):
    """The queue is longer than ``TEXTSERVE_MAX_QUEUE_SECONDS`` or ``TEXTSERVE_MAX_WAITING_TOKENS``. Retry after the
    given seconds.
    """


class DeadlineExceeded(TextserveError, type="deadline_exceeded", status=504):
    """The request was not answered within ``TEXTSERVE_REQUEST_SECONDS`` or the client's own limit."""


class NotReady(TextserveError, type="not_ready", status=503):
    """The model failed its golden texts when it was loaded."""


class ShuttingDown(TextserveError, type="shutting_down", status=503):
    """The service is stopping and rejects new requests. Retry on another replica."""


class Internal(TextserveError, type="internal", status=500):
    """Inference failed because of a fault of the service; its log has the details."""
