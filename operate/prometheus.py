"""Reads the newest samples of series from a Prometheus server, by its HTTP API."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence

from operate.counts import Sample
from operate.errors import OperateError

SECONDS = 10.0


def newest(address: str, metrics: Sequence[str]) -> list[Sample]:
    """The newest sample of every series of these metrics.

    Raises :class:`OperateError` if the Prometheus at ``address`` (http://HOST:PORT) does not answer.
    """
    query = urllib.parse.urlencode({"query": f'{{__name__=~"{"|".join(metrics)}"}}'})
    url = f"{address.rstrip('/')}/api/v1/query?{query}"
    if not url.startswith(("http://", "https://")):
        raise OperateError(f"expected the address of a Prometheus, http://HOST:PORT; found: {address}")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:  # noqa: S310  # http or https, as checked
            content = json.load(response)
        return [Sample(series["metric"], float(series["value"][1])) for series in content["data"]["result"]]
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise OperateError(f"{address}: Prometheus does not answer ({reason}); is it running there?") from None
    except (LookupError, TypeError):
        raise OperateError(f"{address}: answers, but not as Prometheus does; what is running there?") from None
