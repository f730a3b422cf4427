"""How many connections this process may have, by the file descriptors that it may open."""

from __future__ import annotations

import resource

# Of the model's files, the event loops, standard streams, spans, and connections that are being closed.
RESERVE = 48
LEAST = 4


def raise_limit() -> None:
    """Allow this process as many descriptors as it may allow itself: many systems start with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections(wanted: int) -> int:
    """At most ``wanted`` connections for each of HTTP and gRPC."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(LEAST, min(wanted, (soft - RESERVE) // 2))
