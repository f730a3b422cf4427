"""The body of a request to this service's own protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence

URL_PATH = "/classify"


def body(texts: Sequence[str]) -> bytes:
    """JSON in UTF-8 that asks for ``texts``."""
    return json.dumps({"texts": list(texts)}, ensure_ascii=False, separators=(",", ":")).encode()
