"""The log of the service within BentoML's logging."""

from __future__ import annotations

import logging

PACKAGE = "textserve"


def enable() -> None:
    """Log at INFO and above. BentoML's configuration disables the loggers of modules that were imported before it."""
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
    for name in logging.root.manager.loggerDict:
        if name.startswith(f"{PACKAGE}."):
            logging.getLogger(name).disabled = False
