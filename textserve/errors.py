"""One exception is one meaning. A protocol turns it into its own status and body; nothing here knows of HTTP bodies.

No message carries a user's text: messages go to logs, and texts do not.
"""

from __future__ import annotations

from typing import ClassVar


class TextserveError(Exception):
    """A request that is not answered with results.

    Attributes:
        type: the name of the meaning, for programs.
        status: the HTTP status that stands for it.
        where: the part of the request that is meant, such as ``texts[3]``; ``None`` if all of it.
        retry_after: seconds after which the same request may succeed; ``None`` if it never will, or nobody knows.
    """

    type: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, where: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.retry_after = retry_after


class InvalidRequest(TextserveError):
    """The body is not JSON, not UTF-8, or not of the documented shape: a key is missing, a text is not a string."""

    type = "invalid_request"
    status = 400


class EmptyInput(TextserveError):
    """There is no text, or a text has nothing in it but white space."""

    type = "empty_input"
    status = 400


class TooManyTexts(TextserveError):
    """One request asks for more texts than ``TEXTSERVE_MAX_TEXTS``."""

    type = "too_many_texts"
    status = 413


class TextTooLong(TextserveError):
    """A text has more characters than ``TEXTSERVE_MAX_CHARACTERS``, or more words to explain than
    ``TEXTSERVE_MAX_EXPLAINED_WORDS``.
    """

    type = "text_too_long"
    status = 413


class InputTooLong(TextserveError):
    """A text has more tokens than the model reads, and the caller asked for it not to be truncated."""

    type = "input_too_long"
    status = 413


class BodyTooLarge(TextserveError):
    """The body has more bytes than ``TEXTSERVE_MAX_BODY_BYTES``."""

    type = "body_too_large"
    status = 413


class UnknownModel(TextserveError):
    """Another model, or another version of it, is asked for than the one that is served; or no such path exists."""

    type = "unknown_model"
    status = 404


class NotFound(TextserveError):
    """The path does not exist."""

    type = "not_found"
    status = 404


class MethodNotAllowed(TextserveError):
    """The path exists, and is not asked with this HTTP method; the header ``Allow`` names those it is asked with."""

    type = "method_not_allowed"
    status = 405


class Unauthorized(TextserveError):
    """API keys are set, and the request carries none of them."""

    type = "unauthorized"
    status = 401


class Overloaded(TextserveError):
    """The queue is longer than ``TEXTSERVE_MAX_QUEUE_SECONDS``, or more tokens wait than
    ``TEXTSERVE_MAX_WAITING_TOKENS``; ``retry_after`` says when to come back.
    """

    type = "overloaded"
    status = 429


class DeadlineExceeded(TextserveError):
    """The request was not answered within ``TEXTSERVE_REQUEST_SECONDS``; what of it was still waiting is dropped."""

    type = "deadline_exceeded"
    status = 504


class NotReady(TextserveError):
    """The service has not passed its golden texts, so it does not answer."""

    type = "not_ready"
    status = 503


class ShuttingDown(TextserveError):
    """The service has been told to stop and takes no new work."""

    type = "shutting_down"
    status = 503


class Internal(TextserveError):
    """Inference failed for a reason that is not the caller's; the log has it."""

    type = "internal"
    status = 500
