from __future__ import annotations

import socket

import pytest

from textserve.ports import PortError, listen


def test_a_free_port_accepts_connections() -> None:
    with listen("127.0.0.1", 0, name="HTTP", advice="set PORT") as listening:
        socket.create_connection(listening.getsockname()).close()


def test_a_port_in_use_is_named_with_the_reason_and_the_advice() -> None:
    with listen("127.0.0.1", 0, name="HTTP", advice="set PORT") as listening:
        port = listening.getsockname()[1]
        with pytest.raises(
            PortError, match=f"^gRPC cannot listen on port {port} of 127.0.0.1: Address already in use; x"
        ):
            listen("127.0.0.1", port, name="gRPC", advice="x")
