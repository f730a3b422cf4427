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
        """The contents of the key file and of the certificate file, in this order.

        Raises:
            OSError: if a file cannot be read.
        """
        return self._key.read_bytes(), self._certificate.read_bytes()

    def load(self, context: ssl.SSLContext) -> None:
        """Use both files in ``context``, for new connections.

        Raises:
            OSError: if a file cannot be read, or the key does not match the certificate.
        """
        context.load_cert_chain(self._certificate, self._key)

    def readable(self) -> bool:
        """Whether both files can be read now, and match."""
        try:
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError:
            return False
        return True

    def renewed(self) -> bool:
        """Whether the files have changed since the last call, and are valid. Until they are, the old pair is used.

        While only one file has been replaced, they may not match: the replacement of the second is another change.
        """
        if not self._files.changed():
            return False
        try:
            # In a context of its own: the one in use would keep half of an invalid pair.
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError as error:
            logger.error("%s and %s are not used: %s", self._certificate, self._key, error)
            return False
        logger.info("%s was read again", self._certificate)
        return True
