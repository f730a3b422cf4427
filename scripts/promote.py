"""Promote the evaluated version of a model if every gate passes, or roll back to the previous champion.

    python -m scripts.promote sentiment-en-head
    python -m scripts.promote sentiment-en-head --rollback

Moves the alias "champion" to the version with the alias "staging" in the registry (MLFLOW_TRACKING_URI, or
build/mlflow.db). A model is not promoted if it

- was not evaluated, or changed since;
- fails a gate: each is printed with the measured value and the margin;
- does not come from the version that is "staging" now, or was verified against another checkpoint;
- was compared with another version than the current champion.

Tags on the version record user, time, previous champion, SHA-256 of the report and commit; the served files, the report
and its page become artifacts of its run. modeling/registry/champion.py describes the tags and repeated rollbacks.

Exit codes: 0 done, 1 something is missing, outdated or unreachable, 2 a gate fails.
"""

from __future__ import annotations

import getpass
import os
import sys
from datetime import UTC, datetime

from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> int | None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--rollback", action="store_true", help="make the previous champion the champion again")
    options = args.parse_args(arguments)
    from modeling.registry import champion, served
    from modeling.registry.promotion import GatesError, promote
    from modeling.registry.versions import CHAMPION, Registry

    files = options.files
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry = Registry.connect(files.build.parents[1])
    if options.rollback:
        name = (served.origin(files) or {"name": files.folder.name})["name"]
        old, new = champion.roll_back(registry, name, by=user, at=now)
        print(f"{name}: {CHAMPION} is version {new.number} again, no longer version {old.number}")
        return None
    try:
        version = promote(files, registry, by=user, at=now)
    except GatesError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{version.name}: {CHAMPION} is version {version.number}")
    return None


if __name__ == "__main__":
    sys.exit(main())
