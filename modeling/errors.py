"""The error that the library raises on purpose, and the masking of secrets in messages."""

from __future__ import annotations

import re


class ModelingError(Exception):
    """A failure that the user can fix. The message names the file or service, the problem and the fix."""


def masked(text: str) -> str:
    """``text`` with user, password and query masked in its URLs; a URL without a host, ``file:///…``, has none."""
    without_users = re.sub(r"(?<=://)(?!/)\S*@", "***@", text)
    return re.sub(r"(://(?!/)[^\s?]*\?)\S+", r"\1***", without_users)
