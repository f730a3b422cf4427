"""Environment variables. Standard library only: a container's start imports it."""

from __future__ import annotations

import os


def unset_empty(*prefixes: str) -> None:
    """Remove empty variables whose names have one of ``prefixes``: an empty variable counts as not set.

    Compose sets such variables (``${X:-}``), and libraries take them for values: BentoML's home would be the working
    directory.
    """
    for name in [name for name, value in os.environ.items() if not value and name.startswith(prefixes)]:
        del os.environ[name]
