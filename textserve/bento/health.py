"""The health check of the container: exit code 0 if the service is ready, 1 if not.

    python -IS textserve/bento/health.py

Requests ``/readyz`` on the port of HTTP, over TLS if the service uses TLS. It imports the standard library only,
because it starts every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

SECONDS = 2.0


DEFAULT_PORT = 3000
# The port of bentoml.sh if SageMaker starts the container: the health check does not see how it was started.
SAGEMAKER_PORT = 8080


def set_port() -> int | None:
    """The HTTP port in ``PORT``, or in Vertex AI's ``AIP_HTTP_PORT``; ``None`` if neither is set.

    Raises:
        ValueError: if it is not a port number; the message says what to do.
    """
    name = "PORT" if os.environ.get("PORT") else "AIP_HTTP_PORT"
    value = os.environ.get(name)
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise ValueError(f"{name}: {value!r} is not a port; set it to a number from 1 to 65535")
    return int(value)


def http_port() -> int:
    """The HTTP port of the container: :func:`set_port`, or 3000 by default; raises the same error."""
    return set_port() or DEFAULT_PORT


def ready(port: int, *, tls: bool) -> bool:
    """Whether ``/readyz`` on this machine's ``port`` answers 200 within ``SECONDS``."""
    connection: http.client.HTTPConnection
    if tls:
        # The certificate is for another name than 127.0.0.1, and the connection does not leave the container.
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
        port, tls = set_port(), bool(os.environ.get("TEXTSERVE_TLS_CERTIFICATE"))
        healthy = any(ready(asked, tls=tls) for asked in ((port,) if port else (DEFAULT_PORT, SAGEMAKER_PORT)))
    except ValueError as error:
        sys.exit(str(error))
    sys.exit(0 if healthy else 1)
