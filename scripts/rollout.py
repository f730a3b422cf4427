"""Replace one of two versions behind HAProxy by the other, step by step, and go back at once if the new one is worse.

    python -m scripts.rollout start green                        # 5, 25, 50, 100 % of the requests
    python -m scripts.rollout start green --strategy blue-green  # 100 % at once
    python -m scripts.rollout start green --strategy shadow      # mirrored texts only
    python -m scripts.rollout status | promote | abort

`start` judges the candidate at each step by its failures, refusals, latency and labels, read from Prometheus, and by
texts that the proxy mirrors to both versions. If it is interrupted, the traffic stays as it is, and `status`, `promote`
and `abort` work from any terminal. docs/rollout.md describes the checks.

Exit codes: 0 done; 1 failed (the message says why); 3 the candidate was found worse, and gets no requests any more.
"""

from __future__ import annotations

import sys
from pathlib import Path

from operate.checks import Limits
from operate.haproxy import HAProxy
from operate.plan import OTHER, STRATEGIES, Rollout
from operate.rollout import Mirror, Pace, Where, end, roll_out, status
from operate.state import StateFile, default_file
from scripts.command import command, parser

ABORTED = 3
# The addresses in deploy/rollout.
PROMETHEUS, MIRROR_PORT = "http://127.0.0.1:9091", 3009


@command
def main(arguments: list[str] | None = None) -> int | None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("verb", choices=["start", "status", "promote", "abort"])
    args.add_argument("candidate", nargs="?", choices=sorted(OTHER), help="of start: the version to roll out")
    args.add_argument("--strategy", choices=list(STRATEGIES), default="canary")
    args.add_argument("--socket", type=Path, default=default_file().with_name("haproxy.sock"), help="HAProxy's")
    args.add_argument(
        "--server-state", type=Path, default=default_file().with_name("servers"), help="file of HAProxy's weights"
    )
    args.add_argument("--state", type=Path, default=default_file(), help="file of the rollout (default: %(default)s)")
    args.add_argument("--prometheus", default=PROMETHEUS, help="default: %(default)s")
    args.add_argument("--blue", default="http://127.0.0.1:3010", help="HTTP address (default: %(default)s)")
    args.add_argument("--green", default="http://127.0.0.1:3020", help="HTTP address (default: %(default)s)")
    args.add_argument("--mirror-port", type=int, default=MIRROR_PORT, help="where mirrored texts arrive; 0: no mirror")
    args.add_argument("--look", type=float, default=2.0, help="seconds between two looks (default: %(default)s)")
    args.add_argument("--patience", type=float, default=3600.0, help="most seconds of a step (default: %(default)s)")
    args.add_argument("--undecided", choices=["abort", "promote"], default="abort", help="what follows the patience")
    args.add_argument("--disagreement", type=float, default=Limits.disagreement[0], help="good share of changed labels")
    options = args.parse_args(arguments)
    where = Where(HAProxy(options.socket, options.server_state), StateFile(options.state), options.prometheus)
    if options.verb == "start":
        if options.candidate is None:
            args.error("start needs the candidate, blue or green")
        if options.strategy == "shadow" and not options.mirror_port:
            args.error("a shadow needs a mirror port")
        rollout = Rollout(options.candidate, STRATEGIES[options.strategy], mirror=bool(options.mirror_port))
        good = options.disagreement
        limits = Limits(disagreement=(good, good + Limits.disagreement[1] - Limits.disagreement[0]))
        versions = (options.blue, options.green)
        mirror = Mirror(("127.0.0.1", options.mirror_port), versions) if options.mirror_port else None
        pace = Pace(options.look, options.patience, options.undecided)
        rollout = roll_out(where, rollout, limits, pace, mirror, lambda line: print(line, flush=True))
        print(f"{rollout.status}: {rollout.reason}")
        return ABORTED if rollout.status == "aborted" else None
    if options.verb == "status":
        print(status(where))
    else:
        rollout = end(where, "aborted by hand" if options.verb == "abort" else None)
        print(f"{rollout.status}: {rollout.reason}")
    return None


if __name__ == "__main__":
    sys.exit(main())
