"""Every attack by its name: what one client can send. The tests and the mix take them from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.faults import bodies, grpc_attacks, http_attacks
from tests.faults.sending import Outcomes, Target


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        row: of the table in docs/faults.md; ``held`` for what the service withstood from the start.
        run: does it, within bounds, and returns how often each outcome was seen.
        grpc: whether it goes to the port of gRPC.
        right: the outcomes that are right; empty if only the honest client counts.
    """

    row: str
    run: Callable[[Target], Outcomes]
    grpc: bool = False
    right: frozenset[str] = frozenset()


# A request that is wrong in itself, or too large in what it asks for.
REJECTED = frozenset({"400", "413", "422", "429", "503"})
REJECTED_BY_GRPC = frozenset({"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})
# The protocol lets a service ignore parameters that it does not know.
VALID = {"parameters of OIP": {"200"}, "gRPC parameters": {"OK"}}
TOO_LONG = frozenset({"400", "414", "431", "408", "413"})
# What costs much may be computed, refused, or be too much for any service; never 504 after it was computed.
COSTLY = frozenset({"200", "400", "413", "429", "503"})
NOT_FOUND = frozenset({"400", "404"})
# A connection may be held for the few seconds of the attack, but not for ever: another test.
HELD = frozenset({"held", "closed", "reset", "refused", "400", "408", "413", "429", "503"})

ATTACKS: Mapping[str, Attack] = {
    **{
        name: Attack("1", partial(http_attacks.worst_json, name=name), right=REJECTED | VALID.get(name, set()))
        for name in bodies.JSON
    },
    **{
        name: Attack(
            "1",
            partial(grpc_attacks.worst_message, name=name),
            grpc=True,
            right=REJECTED_BY_GRPC | VALID.get(name, set()),
        )
        for name in bodies.MESSAGES
    },
    "endless header": Attack("2", http_attacks.endless_header, right=TOO_LONG),
    "endless headers": Attack("2", http_attacks.endless_headers, right=TOO_LONG),
    "endless URL": Attack("2", http_attacks.endless_url, right=TOO_LONG),
    "endless trailers": Attack("2", http_attacks.endless_trailers, right=TOO_LONG),
    "endless chunk extensions": Attack("2", http_attacks.endless_chunks, right=TOO_LONG),
    "unfinished bodies": Attack("3", http_attacks.unfinished_bodies, right=HELD),
    "unfinished chunks": Attack("3", http_attacks.unfinished_chunks, right=HELD),
    "unfinished heads": Attack("3", http_attacks.unfinished_heads, right=HELD),
    "unfinished gRPC messages": Attack("3", grpc_attacks.unfinished_messages, grpc=True),
    "150 gRPC messages without a pause": Attack(
        "3", grpc_attacks.many_messages, grpc=True, right=REJECTED_BY_GRPC | {"OK"}
    ),
    "silent gRPC connections": Attack("3", grpc_attacks.silent_connections, grpc=True),
    "8 explanations of long words": Attack("4", http_attacks.long_words, right=COSTLY),
    "40 explanations of long words": Attack("4", http_attacks.many_long_words, right=COSTLY),
    "texts of 20,000 characters": Attack("4", http_attacks.long_texts, right=COSTLY),
    "an explanation of 200 short words": Attack("4b", http_attacks.short_words, right=COSTLY),
    "rapid reset": Attack("9", grpc_attacks.rapid_reset, grpc=True),
    "idle connections": Attack("12", http_attacks.idle_connections),
    "invalid heads": Attack("14", http_attacks.invalid_heads, right=frozenset({"400"})),
    "CL and TE that contradict": Attack("held", http_attacks.contradictions, right=frozenset({"400"})),
    "CONTINUATION without end": Attack("held", grpc_attacks.headers_without_end, grpc=True),
    "empty CONTINUATION": Attack("held", grpc_attacks.empty_continuations, grpc=True),
    "PING": Attack("held", grpc_attacks.pings, grpc=True),
    "SETTINGS": Attack("held", grpc_attacks.settings, grpc=True),
    "1,000 silent streams": Attack("held", grpc_attacks.silent_streams, grpc=True),
    "path traversal": Attack("held", http_attacks.path_traversal, right=NOT_FOUND),
    "1,000 clients that leave": Attack("held", http_attacks.leaving_midway),
}
