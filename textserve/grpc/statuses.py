"""The gRPC status code and trailing metadata of each error."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration

from textserve import oip
from textserve.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EmptyInput,
    InputTooLong,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    ShuttingDown,
    TextserveError,
    TextTooLong,
    TooManyTexts,
    Unauthorized,
    UnknownModel,
)
from textserve.grpc.status_pb2 import RetryInfo, Status

# https://grpc.io/docs/guides/status-codes
CODES: Mapping[type[TextserveError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    EmptyInput: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyTexts: grpc.StatusCode.INVALID_ARGUMENT,
    TextTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    InputTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # gRPC itself rejects the message with it
    UnknownModel: grpc.StatusCode.NOT_FOUND,
    NotFound: grpc.StatusCode.NOT_FOUND,
    MethodNotAllowed: grpc.StatusCode.UNIMPLEMENTED,
    Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    Internal: grpc.StatusCode.INTERNAL,
}
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
NANOSECONDS = 1_000_000_000

Metadata = tuple[tuple[str, str | bytes], ...]


def code(error: TextserveError) -> grpc.StatusCode:
    """The status code of an error."""
    return CODES[type(error)]


def metadata(error: TextserveError) -> Metadata:
    """The trailing metadata of an error: its type and, if known, when to retry.

    The latter is a ``google.rpc.RetryInfo``, as clients expect it: https://google.aip.dev/193.
    """
    kind: Metadata = (("x-error-type", error.type),)
    if error.retry_after is None:
        return kind
    nanoseconds = round(error.retry_after * NANOSECONDS)
    delay = Duration(seconds=nanoseconds // NANOSECONDS, nanos=nanoseconds % NANOSECONDS)
    detail = Packed(type_url=RETRY_INFO, value=RetryInfo(retry_delay=delay).SerializeToString())
    status = Status(code=code(error).value[0], message=oip.message(error), details=[detail])
    return (*kind, ("grpc-status-details-bin", status.SerializeToString()))
