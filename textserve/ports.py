"""Whether this process can listen on a port. Only the standard library, since the health check imports it."""

from __future__ import annotations

import os
import socket


class PortError(OSError):
    """A port is not a port, is in use, or is not permitted. The message names it and says what to do."""


def listen(host: str, port: int, *, name: str, advice: str, backlog: int = 1) -> socket.socket:
    """A socket that listens on ``host`` and ``port``.

    Args:
        host: an address, IPv4 or IPv6.
        port: from 1 to 65535.
        name: what listens, such as ``gRPC``.
        advice: what the user can do if it cannot.
        backlog: connections that may wait to be accepted.

    Raises:
        PortError: if the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        # Its own text repeats the address.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortError(f"{name} cannot listen on port {port} of {host}: {reason}; {advice}") from None
