"""Listening on a port. Standard library only: a container's start imports it."""

from __future__ import annotations

import os
import socket


class PortError(OSError):
    """A port is in use or not permitted. The message names it and the setting to change."""


def check_distinct(http: int, grpc: int) -> None:
    """Check that HTTP and gRPC have ports of their own.

    Raises:
        PortError: if both are the same.
    """
    if http == grpc:
        raise PortError(f"port {http} is set for both HTTP and gRPC; set TEXTSERVE_GRPC_PORT to another port, or to 0")


def listen(host: str, port: int, *, name: str, advice: str, backlog: int = 1) -> socket.socket:
    """A socket that listens on ``host`` and ``port``.

    Args:
        host: an IPv4 or IPv6 address.
        port: 1 to 65535, or 0 for any free port.
        name: the protocol, such as ``gRPC``, for the error message.
        advice: what the user can do, for the error message.
        backlog: maximum number of connections waiting to be accepted.

    Raises:
        PortError: if the port is in use or not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OverflowError:
        raise PortError(f"{name}: {port} is not a port; ports are 0 to 65535; {advice}") from None
    except OSError as error:
        # The error's own text repeats the address.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortError(f"{name} cannot listen on port {port} of {host}: {reason}; {advice}") from None
