"""Whether the service beside it is ready, for a container's health check: exit code 0 if it is, 1 if it is not.

    python -IS textserve/bento/health.py

Asks ``/readyz`` on ``PORT`` (3000 where it is not set), over TLS if the service talks TLS. It uses the standard library
alone and imports nothing of the service, because it is started every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

SECONDS = 2.0


def http_port() -> int:
    """The port of HTTP in a container: ``PORT``, or 3000 where it is not set.

    Raises:
        ValueError: if it is not a port; the message says what to do.
    """
    value = os.environ.get("PORT") or "3000"
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise ValueError(f"PORT: {value!r} is not a port; set it to a number from 1 to 65535")
    return int(value)


def ready(port: int, *, tls: bool) -> bool:
    """Whether ``/readyz`` on this machine's ``port`` answers 200 within ``SECONDS``."""
    connection: http.client.HTTPConnection
    if tls:
        # Nobody stands between the two: it is the name in the certificate that could not be verified here.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        healthy = ready(http_port(), tls=bool(os.environ.get("TEXTSERVE_TLS_CERTIFICATE")))
    except ValueError as error:
        sys.exit(str(error))
    sys.exit(0 if healthy else 1)
