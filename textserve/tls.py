"""The certificate of HTTP and gRPC, which may be renewed while the service runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from textserve.replaced import ReplacedFiles

logger = logging.getLogger(__name__)


class Certificate:
    """A PEM file with a certificate chain, and one with its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._files = ReplacedFiles(certificate, key)

    def pair(self) -> tuple[bytes, bytes]:
        """The contents of both: key, certificate chain.

        Raises:
            OSError: if a file cannot be read.
        """
        return self._key.read_bytes(), self._certificate.read_bytes()

    def load(self, context: ssl.SSLContext) -> None:
        """Use both in ``context``, for the connections that follow.

        Raises:
            OSError: if a file cannot be read, or they do not fit together.
        """
        context.load_cert_chain(self._certificate, self._key)

    def readable(self) -> bool:
        """Whether both files can be read now, and fit together."""
        try:
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError:
            return False
        return True

    def renewed(self) -> bool:
        """Whether the files have changed since the last call, and are valid. While they are not, the old ones are used.

        Between the replacement of one file and the other they may not fit together: the second is a change again.
        """
        if not self._files.changed():
            return False
        try:
            # Apart from the context in use, which would keep half of an invalid pair.
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError as error:
            logger.error("%s and %s are not used: %s", self._certificate, self._key, error)
            return False
        logger.info("%s was read again", self._certificate)
        return True
