"""What every protocol reports about a request: its id, its timing, and unexpected errors."""

from __future__ import annotations

import logging
import random

from textserve.errors import Internal, TextserveError
from textserve.prediction import Classified

logger = logging.getLogger(__name__)

# A request id is returned and may be logged: at most this long, and printable ASCII only.
REQUEST_ID_BYTES = 128


def request_id(requested: bytes) -> bytes:
    """The client's id if it is valid, else a new one."""
    if 0 < len(requested) <= REQUEST_ID_BYTES and all(32 < byte < 127 for byte in requested):
        return requested
    # Unique, and not a secret: the operating system, which would be asked for a secret, takes longer.
    return b"%032x" % random.getrandbits(128)


def stages(classified: Classified) -> dict[str, float]:
    """The seconds that each stage took."""
    return {
        "tokenization": classified.tokenization_seconds,
        "queue": classified.queue_seconds,
        "inference": classified.inference_seconds,
    }


def measurements(tag: str, classified: Classified) -> dict[str, str]:
    """Response headers: milliseconds of each stage (W3C Server Timing), tokens, and the ``tag`` of the model."""
    timing = [f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages(classified).items()]
    return {
        "server-timing": ", ".join(timing),
        "x-compute-tokens": str(classified.tokens),
        "x-model-version": tag,
    }


def expected(error: Exception, path: str, request: str = "") -> TextserveError:
    """``error`` if it is a :class:`TextserveError`; otherwise log where it was raised, and return :class:`Internal`.

    The log has the ``path`` and, if there is one, the id of the ``request``.

    Removes the traceback of a :class:`TextserveError`: if a function in it has the error in a variable, the cycle would
    keep the request's body in memory until the next garbage collection.
    """
    if isinstance(error, TextserveError):
        error.__traceback__ = error.__context__ = None
        return error
    # The message may quote the request; the position does not.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    line = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
    logger.error("unexpected %s at %s while answering %s %s", type(error).__name__, line, path, request)
    return Internal("unexpected error; the server's log has the details")
