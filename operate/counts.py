"""Counts of what each version has answered, read from the samples of a Prometheus server."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Values of the label `outcome` of textserve_requests_total (docs/errors.md). Errors of clients are in neither set.
FAILED = frozenset({"internal", "not_ready", "shutting_down", "deadline_exceeded"})
REFUSED = frozenset({"overloaded"})
REQUESTS, SECONDS, LABELS = (
    "textserve_requests_total",
    "textserve_request_seconds_bucket",
    "textserve_predictions_total",
)
# Requests that the proxy sent and the service did not answer; the service cannot count these itself.
UNANSWERED = ("haproxy_server_connection_errors_total", "haproxy_server_response_errors_total")
METRICS = (REQUESTS, SECONDS, LABELS, *UNANSWERED)


@dataclass(frozen=True)
class Sample:
    """The newest value of a series, and its labels; ``__name__`` is the name of the metric."""

    labels: Mapping[str, str]
    value: float


@dataclass
class Counts:
    """What one version has answered since it started, or since an earlier time (:meth:`since`).

    ``seconds`` has, by protocol and upper bound in seconds (``inf`` for all), the number of requests answered within
    the bound; ``labels`` has the number of texts by label.
    """

    answered: float = 0.0
    failed: float = 0.0
    refused: float = 0.0
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """Requests that were answered, failed or refused."""
        return self.answered + self.failed + self.refused

    def since(self, base: Counts) -> Counts:
        """The counts that were added since ``base``."""
        return Counts(
            self.answered - base.answered,
            self.failed - base.failed,
            self.refused - base.refused,
            {
                protocol: {bound: count - base.seconds.get(protocol, {}).get(bound, 0.0) for bound, count in by.items()}
                for protocol, by in self.seconds.items()
            },
            {label: count - base.labels.get(label, 0.0) for label, count in self.labels.items()},
        )

    def restarted(self, base: Counts) -> bool:
        """Whether a counter of the service is below ``base``, which means that its process has restarted.

        ``failed`` does not tell, because the proxy counts a part of it.
        """
        return (
            self.answered < base.answered
            or self.refused < base.refused
            or any(self.labels.get(label, 0.0) < count for label, count in base.labels.items())
            or any(
                self.seconds.get(protocol, {}).get("inf", 0.0) < by.get("inf", 0.0)
                for protocol, by in base.seconds.items()
            )
        )


def count(samples: Iterable[Sample], version: str) -> Counts | None:
    """The counts of a version, found by the label ``version`` of the service and ``server`` of the proxy.

    None if there is no sample of the service, or none of the proxy, because it was not scraped.
    """
    found, scraped = Counts(), set()
    seconds: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for sample in samples:
        name, labels = sample.labels.get("__name__", ""), sample.labels
        if name in UNANSWERED and labels.get("server") == version:
            found.failed += sample.value
            scraped.add("proxy")
        if labels.get("version") != version:
            continue
        scraped.add("service")
        if name == REQUESTS:
            outcome = labels["outcome"]
            found.answered += sample.value * (outcome == "ok")
            found.failed += sample.value * (outcome in FAILED)
            found.refused += sample.value * (outcome in REFUSED)
        elif name == SECONDS:
            bound = "inf" if math.isinf(float(labels["le"])) else str(float(labels["le"]))
            seconds[labels["protocol"]][bound] = sample.value
        elif name == LABELS:
            found.labels[labels["label"]] = sample.value
    found.seconds = dict(seconds)
    return found if len(scraped) == 2 else None
