"""How many connections this process may have, given the file descriptors that it may open."""

from __future__ import annotations

import resource

# Descriptors for the model's files, event loops, standard streams, spans, and connections that are being closed.
RESERVE = 48
LEAST = 4


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard limit: on many systems the soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections(wanted: int) -> int:
    """The limit of connections for each of HTTP and gRPC: ``wanted``, or fewer if descriptors are scarce."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(LEAST, min(wanted, (soft - RESERVE) // 2))
