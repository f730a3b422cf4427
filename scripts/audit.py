"""Look the locked dependencies up in the vulnerability database, by pip-audit, and refuse what is vulnerable.

    python -m scripts.audit build/audit.txt

Takes requirements with their hashes, as `uv export` writes them. It is strict: a package that the database does not
know has not been audited, and is an error like a vulnerable one. Only where the database knows none of them at all, as
behind a mirror of the package index that has no such database, there is nothing to be strict about: that is said, and
is an error on GitHub's machines, where the database can be reached.

Exit codes: 0 nothing known or nothing could be, 1 refused (the message says why).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.errors import ReleaseError
from scripts.command import parser

PIP_AUDIT = str(Path(sys.executable).with_name("pip-audit"))
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Audit:
    """What the database said: how many packages it was asked for, those it does not know, and each vulnerability."""

    asked: int
    unknown: list[str]
    vulnerabilities: list[str]

    @property
    def without_data(self) -> bool:
        """Whether the database knows no package, so that nothing was audited."""
        return len(self.unknown) == self.asked


def run(requirements: Path) -> Audit:
    """Ask pip-audit.

    Raises:
        ReleaseError: with what it says, if it cannot ask.
    """
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command = [PIP_AUDIT, *options, "--requirement", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"{requirements} could not be audited: {error}") from None
    # Exit code 1 is both a vulnerability and a failure; only the first has an answer.
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        raise ReleaseError(f"{requirements} could not be audited: {done.stderr.strip()}") from None
    return read(dependencies)


def read(dependencies: Sequence[Mapping[str, Any]]) -> Audit:
    """What pip-audit found, from the list in its JSON."""
    return Audit(
        asked=len(dependencies),
        unknown=[one["name"] for one in dependencies if "skip_reason" in one],
        vulnerabilities=[
            f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
            for one in dependencies
            for found in one.get("vulns", ())
        ],
    )


def on_github(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a job on a machine of GitHub's, and not one that act runs."""
    return variables.get("GITHUB_ACTIONS") == "true" and variables.get("ACT") != "true"


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("requirements", type=Path, help="a file of requirements with hashes")
    options = args.parse_args(arguments)
    try:
        audit = run(options.requirements)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    if audit.without_data:
        print(f"NOT AUDITED: the vulnerability database that answers here knows none of the {audit.asked} packages")
        return 1 if on_github() else 0
    for vulnerability in audit.vulnerabilities:
        print(vulnerability, file=sys.stderr)
    if audit.unknown:
        print(f"not audited, since the database does not know them: {', '.join(audit.unknown)}", file=sys.stderr)
    if audit.vulnerabilities or audit.unknown:
        return 1
    print(f"no known vulnerability in {audit.asked} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
