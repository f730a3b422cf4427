"""The gRPC status code and trailing metadata of each error."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration

from textserve import errors
from textserve.errors import TextserveError
from textserve.grpc.status_pb2 import RetryInfo, Status

# https://grpc.io/docs/guides/status-codes
CODES: Mapping[type[TextserveError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.EmptyInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooManyTexts: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TextTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InputTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # gRPC itself rejects the message with it
    errors.ReceiveTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UrlTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.HeadTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.MethodNotAllowed: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotReady: grpc.StatusCode.UNAVAILABLE,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"

Metadata = tuple[tuple[str, str | bytes], ...]


def metadata(error: TextserveError) -> Metadata:
    """The trailing metadata of an error: its type and, if known, a ``RetryInfo`` as of https://google.aip.dev/193."""
    kind: Metadata = (("x-error-type", error.type),)
    if error.retry_after is None:
        return kind
    delay = Duration()
    delay.FromNanoseconds(round(error.retry_after * 1e9))
    detail = Packed(type_url=RETRY_INFO, value=RetryInfo(retry_delay=delay).SerializeToString())
    status = Status(code=CODES[type(error)].value[0], message=error.full_message, details=[detail])
    return (*kind, ("grpc-status-details-bin", status.SerializeToString()))
