"""Write Alertmanager's configuration from the file that lists who is notified of alerts.

    python -m scripts.notifications deploy/notifications.yaml build/alertmanager.yaml

The comments of deploy/notifications.yaml describe the file. Copy it to where only you can read it: the address of the
webhook and the password are secrets, and the written configuration contains them too.

Exit codes: 0 written, 1 the file cannot be read, or a key is wrong.
Next: name the configuration in ALERTMANAGER_CONFIG, and start deploy/compose.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

from release.notifications import Notifications, write
from scripts.command import command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("settings", type=Path, metavar="SETTINGS")
    args.add_argument("target", type=Path, metavar="CONFIGURATION")
    options = args.parse_args(arguments)
    write(Notifications.load(options.settings), options.target)
    print(options.target)


if __name__ == "__main__":
    sys.exit(main())
