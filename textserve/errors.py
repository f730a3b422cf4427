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
        where: the part of the request at fault, such as ``texts[3]``; ``None`` for all of it.
        retry_after: seconds after which the same request may succeed; ``None`` if never, or unknown.
    """

    type: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, where: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.retry_after = retry_after


class InvalidRequest(TextserveError):
    """The body is not JSON, not UTF-8, or not in the documented format: a key is missing, a text is not a string."""

    type = "invalid_request"
    status = 400


class EmptyInput(TextserveError):
    """The request has no texts, or a text is empty or only white space."""

    type = "empty_input"
    status = 400


class TooManyTexts(TextserveError):
    """The request has more texts than ``TEXTSERVE_MAX_TEXTS``."""

    type = "too_many_texts"
    status = 413


class TextTooLong(TextserveError):
    """A text has more characters than ``TEXTSERVE_MAX_CHARACTERS``, or more words to explain than
    ``TEXTSERVE_MAX_EXPLAINED_WORDS``.
    """

    type = "text_too_long"
    status = 413


class InputTooLong(TextserveError):
    """A text has more tokens than the model's input, and the request disables truncation."""

    type = "input_too_long"
    status = 413


class BodyTooLarge(TextserveError):
    """The body has more bytes than ``TEXTSERVE_MAX_BODY_BYTES``."""

    type = "body_too_large"
    status = 413


class ReceiveTimeout(TextserveError):
    """The request did not arrive within ``TEXTSERVE_RECEIVE_SECONDS``."""

    type = "receive_timeout"
    status = 408


class UrlTooLong(TextserveError):
    """The URL has more than 16 KiB."""

    type = "url_too_long"
    status = 414


class HeadTooLarge(TextserveError):
    """URL and headers have more than 32 KiB together."""

    type = "headers_too_large"
    status = 431


class UnknownModel(TextserveError):
    """The request names a model or version other than the served one."""

    type = "unknown_model"
    status = 404


class NotFound(TextserveError):
    """The path does not exist."""

    type = "not_found"
    status = 404


class MethodNotAllowed(TextserveError):
    """The path does not support this HTTP method; the header ``Allow`` lists the methods it supports."""

    type = "method_not_allowed"
    status = 405


class Unauthorized(TextserveError):
    """API keys are configured, and the request has none of them."""

    type = "unauthorized"
    status = 401


class Overloaded(TextserveError):
    """The queue is longer than ``TEXTSERVE_MAX_QUEUE_SECONDS`` or ``TEXTSERVE_MAX_WAITING_TOKENS``. Retry after the
    given seconds.
    """

    type = "overloaded"
    status = 429


class DeadlineExceeded(TextserveError):
    """The request was not answered within ``TEXTSERVE_REQUEST_SECONDS`` or the client's own limit."""

    type = "deadline_exceeded"
    status = 504


class NotReady(TextserveError):
    """The model failed its golden texts when it was loaded."""

    type = "not_ready"
    status = 503


class ShuttingDown(TextserveError):
    """The service is stopping and rejects new requests. Retry on another replica."""

    type = "shutting_down"
    status = 503


class Internal(TextserveError):
    """Inference failed for a reason that is not the client's; the server's log has it."""

    type = "internal"
    status = 500
