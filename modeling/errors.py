"""The expected error of the library, and what no message shows."""

from __future__ import annotations

import re


class ModelingError(Exception):
    """A failure that the user can fix. The message names the file or service, the problem and the fix."""


def masked(text: str) -> str:
    """``text`` without what may be secret in its addresses: user and password, and the query; a path has neither."""
    without_users = re.sub(r"(?<=://)(?!/)\S*@", "***@", text)
    return re.sub(r"(://(?!/)[^\s?]*\?)\S+", r"\1***", without_users)
