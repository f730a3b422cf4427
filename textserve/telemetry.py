"""What every protocol tells of a request in the same way: its id, where its time went, and what was not foreseen."""

from __future__ import annotations

import logging
import uuid

from textserve.errors import Internal
from textserve.runner import Classified

logger = logging.getLogger(__name__)

# A request id is given back and may be logged: no more than this of it, and printable ASCII only.
REQUEST_ID_BYTES = 128


def request_id(given: bytes) -> bytes:
    """The request's own id, if it can be used, or a new one."""
    if 0 < len(given) <= REQUEST_ID_BYTES and all(32 < byte < 127 for byte in given):
        return given
    return uuid.uuid4().hex.encode()


def server_timing(classified: Classified) -> str:
    """Where the time went, in milliseconds (W3C Server Timing)."""
    return (
        f"tokenization;dur={classified.tokenization_seconds * 1000:.2f}, "
        f"queue;dur={classified.queue_seconds * 1000:.2f}, "
        f"inference;dur={classified.inference_seconds * 1000:.2f}"
    )


def unexpected(error: Exception, path: str) -> Internal:
    """What a caller is told of an error that nobody foresaw; the log says where it happened."""
    # The message may quote the request; where it happened does not.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    line = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
    logger.error("unexpected %s at %s while answering %s", type(error).__name__, line, path)
    return Internal("something went wrong in the service; its log says where")
