"""Deploy a signed image: verify its signature with cosign, run it with docker, and move the requests to it.

    python -m scripts.deploy ghcr.io/me/textserve@sha256:… https://github.com/me/textserve/.github/workflows/ci-cd.yaml

The second argument is the address of the workflow that must have signed the image. A signature counts if that workflow
made it on the default branch, main, or on the tag of a release, vX.Y.Z. More arguments name files to add: keys and tls
add deploy/compose.keys.yaml and deploy/compose.tls.yaml, whose comments name their variables; tls works in-place only.

By default the image starts beside the running version, behind the proxy of deploy/rollout, and gets 5, 25, 50 and 100 %
of the requests, as long as it is not found worse. --strategy blue-green gives it 100 % at once; in-place replaces the
container of deploy/compose.yaml without a proxy, and nothing answers for some seconds. On a host with few requests,
--undecided promote promotes the image after --patience seconds, even without enough requests to judge it.

Exit codes: 0 ready, 1 failed (the message says why).
"""

from __future__ import annotations

import sys

from operate.haproxy import HAProxy
from operate.plan import STRATEGIES
from operate.rollout import Mirror, Pace, Where
from operate.state import StateFile, default_file
from release.deploy import deploy
from release.rolling import PORTS, Host, roll
from scripts.command import command, parser
from scripts.rollout import MIRROR_PORT, PROMETHEUS


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("image", metavar="NAME@sha256:DIGEST")
    args.add_argument("signed_by", metavar="WORKFLOW")
    args.add_argument("additions", nargs="*", metavar="ADDITION", help="NAME of a deploy/compose.NAME.yaml: keys, tls")
    args.add_argument("--strategy", choices=["canary", "blue-green", "in-place"], default="canary")
    args.add_argument("--patience", type=float, default=3600.0, help="most seconds of a step (default: %(default)s)")
    args.add_argument("--undecided", choices=["abort", "promote"], default="abort", help="what follows the patience")
    options = args.parse_args(arguments)
    if options.strategy == "in-place":
        deploy(options.image, options.signed_by, options.additions)
        return
    folder = default_file().parent
    where = Where(HAProxy(folder / "haproxy.sock", folder / "servers"), StateFile(default_file()), PROMETHEUS)
    blue, green = (f"http://127.0.0.1:{PORTS[version][0]}" for version in ("blue", "green"))
    pace = Pace(step=options.patience, undecided=options.undecided)
    host = Host(where, Mirror(("127.0.0.1", MIRROR_PORT), (blue, green)), STRATEGIES[options.strategy], pace)
    roll(host, options.image, options.signed_by, options.additions, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
