"""Request bodies of the service's native protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence

URL_PATH = "/classify"


def body(texts: Sequence[str]) -> bytes:
    """A request for ``texts`` as UTF-8 JSON."""
    return json.dumps({"texts": list(texts)}, ensure_ascii=False, separators=(",", ":")).encode()
